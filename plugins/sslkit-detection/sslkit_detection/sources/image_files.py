"""Image files beside annotations: where they may lie, and what their headers say."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from sslkit.errors import DataError

SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".png",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".jp2",
        ".avif",
    }
)
# The content decides which decoder looks at a file; none of these starts another program.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
_ORIENTATION_TAG = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)


@dataclass(frozen=True)
class Stored:
    """Width and height as an image file stores them; lying: EXIF says that it is shown turned by 90°."""

    width: int
    height: int
    lying: bool

    @property
    def upright(self) -> tuple[int, int]:
        """(width, height) as the image is shown and decoded."""
        return (self.height, self.width) if self.lying else (self.width, self.height)


def read_stored(path: Path) -> Stored:
    """Read the header alone, no pixel; raises DataError that says why it cannot be read."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return Stored(image.width, image.height, _orientation(image) in _ON_ITS_SIDE)
    except FileNotFoundError as error:
        raise DataError("no such image file") from error
    except Exception as error:  # a decoder fed damaged bytes may raise anything
        raise DataError(f"not readable as an image ({type(error).__name__})") from error


def why_refused(name: str) -> str | None:
    """Why a file name found in annotations must not be followed, or None when it stays in its folder."""
    if not name or "\0" in name:
        return "an empty name, or one with a NUL, is no path"
    plain = name.replace("\\", "/")
    if plain.startswith("/") or plain[1:2] == ":":
        return "an absolute path; write it relative to the folder of images"
    if posixpath.normpath(plain).split("/")[0] == "..":
        return "a path that leaves the folder of images; write it relative to that folder"
    return None


def images_below(folder: Path) -> list[str]:
    """Paths inside `folder` of all its image files, sorted, with forward slashes; no hidden ones."""
    return sorted(_files_below(folder, SUFFIXES))


def files_below(folder: Path, suffix: str) -> list[str]:
    """Paths inside `folder` of files that end in `suffix`, sorted, with forward slashes; no hidden ones."""
    return sorted(_files_below(folder, frozenset({suffix})))


def stem(name: str) -> str:
    """A path without its suffix: what an image and its annotations share."""
    return posixpath.splitext(name)[0]


def _files_below(folder: Path, suffixes: frozenset[str]) -> Iterator[str]:
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = Path(where).relative_to(folder)
        for name in names:
            if not name.startswith(".") and posixpath.splitext(name)[1].lower() in suffixes:
                yield (inside / name).as_posix()


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF beside sound pixels: they are taken as they lie
        return 1
