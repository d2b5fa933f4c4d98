"""Any still image to a square uint8 canvas, and nothing but DecodeError when that fails."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from sslkit.errors import ConfigError, DecodeError

# The content decides which of these decoders runs; an .eps renamed to .jpg must not start Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
_STEMS = "jpg jpeg jpe jfif png webp bmp dib gif tif tiff ppm pgm pbm pnm jp2 j2k avif"
EXTENSIONS = frozenset(f".{stem}" for stem in _STEMS.split())
PIXEL_LIMIT = 178_956_970  # Pillow's own bound on decompression bombs: half a gigabyte once decoded

# Photos are shrunk in two steps: a JPEG inside its cosine transform, a large PNG by a box filter, but never
# below this many times the wanted size; a filter does the rest. Against Pillow's own choice (bicubic, 2.0)
# this took 0.5 to 0.7 of the time on 400-pixel photos, 38 to 42 dB from a full Lanczos resampling.
_REDUCING_GAP = 1.5
_FILTER = Image.Resampling.HAMMING
_BIT_DEPTH_16 = ("I;16", "I;16L", "I;16B", "I;16N")
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Rectangle = tuple[int, int, int, int]


@dataclass(frozen=True)
class ImageHeader:
    """What a file says of itself before it is decoded; width and height are before any EXIF rotation."""

    format: str
    mode: str
    width: int
    height: int


def decode_image(
    content: Path | bytes | np.ndarray, *, canvas: int, channels: int = 3
) -> tuple[np.ndarray, Rectangle]:
    """Decode to pixels, uint8 (channels, canvas, canvas), and the valid (top, left, height, width) in them.

    The longer side is shrunk to fit the canvas, never enlarged; the image lies at the top left, the rest is
    zero. It stands upright (EXIF), transparency lies over white, 16-bit grey is scaled to 8 bits. Arrays are
    uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4). Raises DecodeError whatever is wrong with the content.
    """
    if channels not in (1, 3) or canvas < 1:
        raise ConfigError(
            f"canvas={canvas}, channels={channels}: use a side >= 1 and 1 (grey) or 3 (RGB) channels"
        )
    with _opened(content) as image:
        size = _fitting(image.size, canvas)
        image.draft("L" if channels == 1 else "RGB", _gapped(size))
        image.load()
        orientation = _orientation(image)  # after load: TIFF files come out of it upright already
        small = _eight_bit(image)
        if small.size != size:
            small = small.resize(size, _FILTER, reducing_gap=_REDUCING_GAP)
        if small.mode == "RGBA":
            white = Image.new("RGBA", small.size, "white")
            small = Image.alpha_composite(white, small)
        if orientation in _UPRIGHT:
            small = small.transpose(_UPRIGHT[orientation])
        wanted = "L" if channels == 1 else "RGB"
        if small.mode != wanted:  # converting to the same mode would copy
            small = small.convert(wanted)
        return _on_canvas(small, canvas), (0, 0, small.height, small.width)


def read_header(content: Path | bytes | np.ndarray) -> ImageHeader:
    """Read format, mode and size without decoding; raises DecodeError."""
    with _opened(content) as image:
        return ImageHeader(image.format or "array", image.mode, image.width, image.height)


@contextmanager
def _opened(content: Path | bytes | np.ndarray) -> Iterator[Image.Image]:
    try:
        with _open(content) as image:
            if image.width * image.height > PIXEL_LIMIT:
                raise DecodeError(_too_large(content, f"{image.width}x{image.height}"))
            yield image
    except DecodeError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DecodeError(_too_large(content, "the image")) from error
    except Exception as error:  # a decoder fed damaged bytes may raise anything: struct.error, KeyError, ...
        raise DecodeError(f"{_name(content)}: {_reason(content, error)}") from error


def _open(content: Path | bytes | np.ndarray) -> Image.Image:
    if isinstance(content, np.ndarray):
        return _from_array(content)
    return Image.open(io.BytesIO(content) if isinstance(content, bytes) else content, formats=FORMATS)


def _from_array(array: np.ndarray) -> Image.Image:
    shown = f"array of {array.dtype} {array.shape}"
    flat = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.dtype != np.uint8:
        raise DecodeError(f"{shown}: pixels must be uint8; convert with (255 * x).round().astype('uint8')")
    if flat.size == 0 or not (flat.ndim == 2 or (flat.ndim == 3 and flat.shape[2] in (3, 4))):
        raise DecodeError(f"{shown}: expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    return Image.fromarray(np.ascontiguousarray(flat))


def _fitting(size: tuple[int, int], canvas: int) -> tuple[int, int]:
    longer = max(size)
    if longer <= canvas:
        return size
    width, height = (max(1, round(side * canvas / longer)) for side in size)
    return width, height


def _gapped(size: tuple[int, int]) -> tuple[int, int]:
    return round(size[0] * _REDUCING_GAP), round(size[1] * _REDUCING_GAP)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # damaged EXIF beside sound pixels: take them as they lie
        return 1


def _eight_bit(image: Image.Image) -> Image.Image:
    """The same pixels as L, RGB or RGBA."""
    if image.mode in _BIT_DEPTH_16 or image.mode == "I":
        values = np.asarray(image)
        if image.mode == "I" and (values.min() < 0 or values.max() > 65535):
            raise ValueError(
                f"32-bit integers {values.min()}..{values.max()}; only 0..65535 have a known scale"
            )
        return Image.fromarray(((values.astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode == "F":
        values = np.asarray(image)
        if not (values.min() >= 0 and values.max() <= 1):  # also false for NaN
            raise ValueError(f"floats {values.min():g}..{values.max():g}; only 0..1 have a known scale")
        return Image.fromarray((values * 255).round().astype(np.uint8))
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode == "1":
        return image.convert("L")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _on_canvas(image: Image.Image, canvas: int) -> np.ndarray:
    pixels = np.zeros((len(image.getbands()), canvas, canvas), np.uint8)
    for channel, band in enumerate(image.getbands()):  # three packed bands are faster than one strided copy
        plane = np.frombuffer(image.tobytes("raw", band), np.uint8)
        pixels[channel, : image.height, : image.width] = plane.reshape(image.height, image.width)
    return pixels


def _name(content: Path | bytes | np.ndarray) -> str:
    if isinstance(content, bytes):
        return f"image of {len(content)} bytes"
    return f"array {content.shape}" if isinstance(content, np.ndarray) else str(content)


def _too_large(content: Path | bytes | np.ndarray, what: str) -> str:
    return (
        f"{_name(content)}: {what} has more than {PIXEL_LIMIT:,} pixels; store it smaller or cut it in tiles"
    )


def _reason(content: Path | bytes | np.ndarray, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file; it was moved or deleted"
    if isinstance(error, PermissionError):
        return "permission denied; make the file readable"
    if isinstance(error, UnidentifiedImageError):
        if _is_empty(content):
            return "the file is empty (0 bytes)"
        return f"not an image, or damaged from its first bytes; readable are {', '.join(FORMATS)}"
    return str(error) if isinstance(error, (OSError, ValueError)) and str(error) else repr(error)


def _is_empty(content: Path | bytes | np.ndarray) -> bool:
    try:
        return content.stat().st_size == 0 if isinstance(content, Path) else len(content) == 0
    except OSError:
        return False
