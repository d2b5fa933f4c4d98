"""The endings of the names of files that can be decoded; importing them loads no decoder."""

from __future__ import annotations

_IMAGES = "jpg jpeg jpe jfif png webp bmp dib gif tif tiff ppm pgm pbm pnm jp2 j2k avif npy"
EXTENSIONS = frozenset(f".{stem}" for stem in _IMAGES.split())
"""Still images, and arrays of many channels."""

_VIDEOS = "mp4 m4v mov 3gp 3g2 avi mkv webm mpg mpeg m2v ts mts m2ts flv wmv asf ogv nut"
VIDEO_EXTENSIONS = frozenset(f".{stem}" for stem in _VIDEOS.split())
"""Videos."""
