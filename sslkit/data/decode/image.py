"""Any still image to a square uint8 canvas, and nothing but DecodeError when that fails."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError

from sslkit.contracts import Content, Frames, Moment, Refused
from sslkit.data.decode.planes import eight_bit, opened_planes, planar_format
from sslkit.errors import ConfigError, DecodeError

# The content decides which of these decoders runs; an .eps renamed to .jpg must not start Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
PIXEL_LIMIT = 178_956_970  # Pillow's own bound on decompression bombs: half a gigabyte once decoded
DECODER = f"1, Pillow {PIL.__version__}"
"""Changes when the same file may give other pixels."""

# Photos are shrunk in two steps: a JPEG inside its cosine transform, a large PNG by a box filter, but never
# below this many times the wanted size; a filter does the rest. Against Pillow's own choice (bicubic, 2.0)
# this took 0.5 to 0.7 of the time on 400-pixel photos, 38 to 42 dB from a full Lanczos resampling.
_REDUCING_GAP = 1.5
_FILTER = Image.Resampling.HAMMING
_PICTURES = (1, 3)  # channels of what people look at; any other number is an array of planes
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
Still = Path | bytes | np.ndarray


@dataclass(frozen=True)
class ImageHeader:
    """What a file says of itself before it is decoded; width and height are before any EXIF rotation."""

    format: str
    mode: str
    width: int
    height: int


def decode_image(content: Content, *, canvas: int, channels: int = 3) -> tuple[np.ndarray, Rectangle]:
    """Decode to pixels, uint8 (channels, canvas, canvas), and the valid (top, left, height, width) in them.

    The longer side is shrunk to fit the canvas, never enlarged; the image lies at the top left, the rest is
    zero. It stands upright (EXIF), transparency lies over white, 16-bit grey is scaled to 8 bits. Arrays are
    uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4). A .npy file is uint8, uint16, or floats in 0..1, of shape
    (H, W), (H, W, C) or (C, H, W).

    Other numbers of channels than 1 and 3 are read from .npy files, TIFF files of as many bands or pages, and
    arrays, all of the types and shapes of .npy files; band by band, as they lie. The axis of that length
    holds the channels, the last one if both could.

    Raises DecodeError whatever is wrong with the content.
    """
    if channels < 1 or canvas < 1:
        raise ConfigError(f"canvas={canvas}, channels={channels}: use a side and a number of channels >= 1")
    still = _still(content)
    with _only_decode_errors(still):
        if channels not in _PICTURES:
            return _decoded_planes(still, canvas, channels)
        with _opened(still) as image:
            size = fitting(image.size, canvas)
            image.draft("L" if channels == 1 else "RGB", _gapped(size))
            image.load()
            orientation = _orientation(image)  # after load: TIFF files come out of it upright already
            small = _shrunk(_eight_bit(image), size)
            if small.mode == "RGBA":
                white = Image.new("RGBA", small.size, "white")
                small = Image.alpha_composite(white, small)
            if orientation in _UPRIGHT:
                small = small.transpose(_UPRIGHT[orientation])
            wanted = "L" if channels == 1 else "RGB"
            if small.mode != wanted:  # converting to the same mode would copy
                small = small.convert(wanted)
            return _on_canvas(small, canvas), (0, 0, small.height, small.width)


def read_header(content: Content, *, channels: int = 3) -> ImageHeader:
    """Read format, mode and size without decoding; raises DecodeError.

    The mode of an array of planes is its depth and type, such as "5 x uint16".
    """
    still = _still(content)
    with _only_decode_errors(still):
        if channels in _PICTURES and (isinstance(still, np.ndarray) or planar_format(still) != "NPY"):
            with _opened(still) as image:
                return ImageHeader(image.format or "array", image.mode, image.width, image.height)
        if planar_format(still) is None:
            raise _without_planes(still, channels)
        with opened_planes(still) as planes:
            height, width, depth = planes.sides(_depths(channels))
            return ImageHeader(planes.format, f"{depth} x {planes.dtype}", width, height)


def _still(content: Content) -> Still:
    if isinstance(content, Refused):
        raise DecodeError(content.reason)
    if isinstance(content, Moment):
        raise DecodeError(f"{content.path}: a part of a video; videos are read by the clip reader")
    if isinstance(content, Frames):
        raise DecodeError(f"{len(content.images)} images that belong together; they are read one by one")
    return content


@contextmanager
def _only_decode_errors(content: Still) -> Iterator[None]:
    try:
        yield
    except DecodeError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DecodeError(_too_large(content, "the image")) from error
    except Exception as error:  # a decoder fed damaged bytes may raise anything: struct.error, KeyError, ...
        raise DecodeError(f"{_name(content)}: {_reason(content, error)}") from error


@contextmanager
def _opened(content: Still) -> Iterator[Image.Image]:
    with _open(content) as image:
        if image.width * image.height > PIXEL_LIMIT:
            raise DecodeError(_too_large(content, f"{image.width}x{image.height}"))
        yield image


def _open(content: Still) -> Image.Image:
    if isinstance(content, np.ndarray):
        return _from_array(content)
    try:
        return Image.open(io.BytesIO(content) if isinstance(content, bytes) else content, formats=FORMATS)
    except UnidentifiedImageError:
        if planar_format(content) is None:
            raise
    with opened_planes(content) as planes:  # .npy, and TIFF of bands that Pillow has no mode for
        bands = list(planes.bands(_PICTURES))
    return Image.fromarray(bands[0] if len(bands) == 1 else np.stack(bands, axis=-1))


def _decoded_planes(content: Still, canvas: int, channels: int) -> tuple[np.ndarray, Rectangle]:
    if planar_format(content) is None:
        raise _without_planes(content, channels)
    with opened_planes(content) as planes:
        height, width, _ = planes.sides((channels,))
        size = fitting((width, height), canvas)
        pixels = np.zeros((channels, canvas, canvas), np.uint8)
        for channel, band in enumerate(planes.bands((channels,))):
            small = _shrunk(Image.fromarray(np.ascontiguousarray(band)), size)
            pixels[channel, : size[1], : size[0]] = np.asarray(small)
    return pixels, (0, 0, size[1], size[0])


def _without_planes(content: Still, channels: int) -> DecodeError:
    with _opened(content) as image:
        return DecodeError(
            f"{_name(content)}: {image.format} of mode {image.mode} has no {channels} channels; use "
            f"data.channels=3, or .npy or TIFF files of {channels} channels"
        )


def _depths(channels: int) -> tuple[int, ...]:
    return _PICTURES if channels in _PICTURES else (channels,)


def _shrunk(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, _FILTER, reducing_gap=_REDUCING_GAP)


def _from_array(array: np.ndarray) -> Image.Image:
    shown = f"array of {array.dtype} {array.shape}"
    flat = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if array.dtype != np.uint8:
        raise DecodeError(f"{shown}: pixels must be uint8; convert with (255 * x).round().astype('uint8')")
    if flat.size == 0 or not (flat.ndim == 2 or (flat.ndim == 3 and flat.shape[2] in (3, 4))):
        raise DecodeError(f"{shown}: expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    return Image.fromarray(np.ascontiguousarray(flat))


def fitting(size: tuple[int, int], canvas: int) -> tuple[int, int]:
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
        return Image.fromarray(eight_bit(values.astype(np.uint16)))
    if image.mode == "F":
        return Image.fromarray(eight_bit(np.asarray(image)))
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


def _name(content: Still) -> str:
    if isinstance(content, bytes):
        return f"image of {len(content)} bytes"
    return f"array {content.shape}" if isinstance(content, np.ndarray) else str(content)


def _too_large(content: Still, what: str) -> str:
    return (
        f"{_name(content)}: {what} has more than {PIXEL_LIMIT:,} pixels; store it smaller or cut it in tiles"
    )


def _reason(content: Still, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file; it was moved or deleted"
    if isinstance(error, PermissionError):
        return "permission denied; make the file readable"
    if isinstance(error, UnidentifiedImageError):
        if _is_empty(content):
            return "the file is empty (0 bytes)"
        return f"not an image, or damaged from its first bytes; readable are {', '.join(FORMATS)}, NPY"
    return str(error) if isinstance(error, (OSError, ValueError)) and str(error) else repr(error)


def _is_empty(content: Still) -> bool:
    try:
        return content.stat().st_size == 0 if isinstance(content, Path) else len(content) == 0
    except OSError:
        return False
