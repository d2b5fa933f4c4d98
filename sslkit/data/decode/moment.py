"""A part of a video, wherever its frames lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sslkit.contracts import Moment, Painter
from sslkit.data.decode.frames_folder import decode_frames_folder, list_frames
from sslkit.data.decode.image import Rectangle, Still, decode_image, read_header
from sslkit.data.decode.video import Decoder, decode_clips, probe_video
from sslkit.errors import DecodeError


def decode_moment(
    moment: Moment, times: np.ndarray, *, canvas: int, channels: int = 3, decoder: Decoder = "pyav"
) -> tuple[np.ndarray, Rectangle]:
    """Frames of the moment's video at seconds (M, T): uint8 (M, T, channels, canvas, canvas), and rectangle.

    The path is a video file, which `decoder` reads, a folder of frames, or what paints them. Raises
    DecodeError.
    """
    if not isinstance(moment.path, Path):
        return _painted(moment.path, times, canvas=canvas, channels=channels)
    if moment.path.is_dir():
        return decode_frames_folder(moment.path, times, moment.rate, canvas=canvas, channels=channels)
    return decode_clips(moment.path, times, canvas=canvas, channels=channels, decoder=decoder)


def moment_size(moment: Moment, *, channels: int = 3) -> tuple[int, int]:
    """(height, width) of the video's frames as displayed, from its first one; raises DecodeError."""
    if not isinstance(moment.path, Path):
        frames = _frames(moment.path, np.zeros(1))
        return frames.shape[1], frames.shape[2]
    if moment.path.is_dir():
        return still_size(list_frames(moment.path)[0], channels=channels)
    header = probe_video(moment.path)
    return header.height, header.width


def still_size(content: Still, *, channels: int = 3) -> tuple[int, int]:
    """(height, width) of an image as it stands upright, which a header does not tell; raises DecodeError."""
    header = read_header(content, channels=channels)
    largest = max(header.height, header.width)
    _, (_, _, height, width) = decode_image(content, canvas=largest, channels=channels)
    return height, width


def _painted(
    painter: Painter, times: np.ndarray, *, canvas: int, channels: int
) -> tuple[np.ndarray, Rectangle]:
    seconds, places = np.unique(times, return_inverse=True)
    shown = [decode_image(frame, canvas=canvas, channels=channels) for frame in _frames(painter, seconds)]
    pixels = np.stack([frame for frame, _ in shown])[places.reshape(times.shape)]
    return pixels, shown[0][1]


def _frames(painter: Painter, seconds: np.ndarray) -> np.ndarray:
    """What a painter makes of seconds (T,): uint8 (T, H, W, C); raises DecodeError for anything else."""
    frames = painter(seconds)
    if frames.dtype != np.uint8 or frames.ndim != 4 or len(frames) != len(seconds):
        raise DecodeError(
            f"{painter!r} painted {frames.dtype} {frames.shape} at {len(seconds)} times; uint8 "
            f"({len(seconds)}, height, width, channels) is expected"
        )
    return frames
