"""One mask file to the number of a class in every pixel; and what the header of an image file says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sslkit.contracts import IGNORE
from sslkit.errors import DataError

# The content decides which decoder looks at a file; none of these starts another program.
_FORMATS = ("PNG", "BMP", "TIFF", "PPM", "GIF", "JPEG", "WEBP", "JPEG2000", "AVIF")
# Of masks. The others blur labels, and those who write GIF number its palette anew.
_FAITHFUL = _FORMATS[:4]
_ORIENTATION_TAG = 0x0112
_ON_ITS_SIDE = (5, 6, 7, 8)
# Pillow stretches greys of fewer bits to 0..255; this takes it back.
_STRETCHED = {"L;4": 17, "L;2": 85}


@dataclass(frozen=True)
class Header:
    """Width and height as stored; orientation: EXIF's 1..8, 1 is upright, 5..8 lie on their side."""

    width: int
    height: int
    orientation: int

    @property
    def stored(self) -> tuple[int, int]:
        """(width, height) as the file has them."""
        return self.width, self.height

    @property
    def upright(self) -> tuple[int, int]:
        """(width, height) as the image is shown and decoded."""
        lying = self.orientation in _ON_ITS_SIDE
        return (self.height, self.width) if lying else (self.width, self.height)


def read_header(path: Path) -> Header:
    """Reads no pixel; raises DataError that says why it cannot be read."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return Header(image.width, image.height, _orientation(image))
    except Exception as error:
        raise _unreadable(error) from error


def read_ids(path: Path) -> np.ndarray:
    """Greys or palette indices, uint8 (H, W), never colours; raises DataError for files of anything else."""
    mode, pixels = _read(path)
    if mode in ("P", "PA", "L", "LA", "1", "I", "I;16", "I;16B", "I;16L"):
        ids = pixels if pixels.ndim == 2 else pixels[..., 0]
        if ids.size and (ids.max() > IGNORE or ids.min() < 0):
            worst = ids.max() if ids.max() > IGNORE else ids.min()
            raise DataError(f"holds id {worst}; ids are 0..254, and {IGNORE} is ignored")
        return ids.astype(np.uint8)
    raise DataError(
        f"has pixels of mode {mode}, not ids; say which colour is which class with colours=FILE, "
        "or store ids as 8-bit grey"
    )


def read_colours(path: Path) -> np.ndarray:
    """Colours as r << 16 | g << 8 | b, int64 (H, W); greys and palettes as the colours they show."""
    mode, pixels = _read(path, as_colours=True)
    if mode != "RGB":
        raise DataError(f"has pixels of mode {mode}, which are no 8-bit colours; store it as RGB PNG")
    codes: np.ndarray = pixels.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    return codes


def _read(path: Path, *, as_colours: bool = False) -> tuple[str, np.ndarray]:
    """Mode and pixels of a mask, greys of few bits as stored unless colours are wanted."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.format not in _FAITHFUL:
                raise DataError(f"is a {image.format}, which may change labels; store masks as PNG")
            if as_colours and image.mode in ("1", "L", "LA", "P", "PA", "RGBA"):
                return "RGB", np.array(image.convert("RGB"))
            packings = [str(tile[3]) for tile in image.tile]  # gone once the pixels are read
            mode, pixels = image.mode, np.array(image)
    except DataError:
        raise
    except Exception as error:
        raise _unreadable(error) from error
    for packing, factor in _STRETCHED.items():
        if any(packing in told for told in packings):
            pixels = pixels // factor
    return mode, pixels


def _unreadable(error: Exception) -> DataError:
    """A decoder fed damaged bytes may raise anything."""
    if isinstance(error, FileNotFoundError):
        return DataError("no such file")
    return DataError(f"not readable as an image ({type(error).__name__})")


def _orientation(image: Image.Image) -> int:
    try:
        told = int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF beside sound pixels: they are taken as they lie
        return 1
    return told if 1 <= told <= 8 else 1
