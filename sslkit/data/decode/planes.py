"""Arrays of any number of channels: .npy files, TIFF files of several bands or pages, arrays in memory."""

from __future__ import annotations

import io
import logging
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile

BYTE_LIMIT = 536_870_910  # of an array at 8 bits a value: half a gigabyte, as of pictures

_NPY = b"\x93NUMPY"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF
_DEFLATE = (8, 32946)
# None, LZW, deflate and PackBits. Of the others a few bytes may become gigabytes.
_READABLE = (1, 5, *_DEFLATE, 32773)
_SURE, _PIECE = 2**20, 2**16  # bytes of deflate; they become a thousand times as many at most

# What is wrong with a file is told once, by DecodeError; tifffile would tell it on standard error as well.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
logging.getLogger("tifffile").propagate = False


@dataclass(frozen=True)
class Planes:
    """An array whose header is read and whose values are not; `format` is NPY, TIFF or array."""

    format: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    _read: Callable[[], np.ndarray]

    def sides(self, depths: Sequence[int]) -> tuple[int, int, int]:
        """Height, width and number of channels, one of `depths`.

        The last axis holds the channels if its length is one of them, else the first; (H, W) is one channel.
        Raises ValueError for shapes and types that cannot be read, and for more than BYTE_LIMIT values.
        """
        if self.dtype.kind != "f" and _bits(self.dtype) not in (8, 16):
            raise ValueError(
                f"values of type {self.dtype} have no known scale; store uint8, uint16, or floats in 0..1"
            )
        axis = self._channel_axis(depths)
        if math.prod(self.shape) > BYTE_LIMIT:
            mend = "store it smaller or cut it in tiles"
            raise ValueError(f"an array {self.shape} has more than {BYTE_LIMIT:,} values; {mend}")
        sides = self.shape if axis is None else (*self.shape[:axis], *self.shape[axis + 1 :])
        return sides[0], sides[1], 1 if axis is None else self.shape[axis]

    def bands(self, depths: Sequence[int]) -> Iterator[np.ndarray]:
        """Each channel as uint8 (H, W); values are read at the first. Raises as `sides` does."""
        self.sides(depths)
        axis = self._channel_axis(depths)
        values = self._read()
        for band in (values,) if axis is None else np.moveaxis(values, axis, 0):
            yield eight_bit(band)

    def _channel_axis(self, depths: Sequence[int]) -> int | None:
        if min(self.shape, default=0) < 1:
            raise ValueError(f"an array {self.shape} holds no pixels")
        if len(self.shape) == 2 and 1 in depths:
            return None
        if len(self.shape) == 3:
            for axis in (2, 0):
                if self.shape[axis] in depths:
                    return axis
        wanted = " or ".join(map(str, depths))
        raise ValueError(f"an array {self.shape} has no axis of {wanted} channels; {_mend(self.shape)}")


def planar_format(content: Path | bytes | np.ndarray) -> str | None:
    """NPY or TIFF by the first bytes, "array" for an array in memory, None for anything else."""
    if isinstance(content, np.ndarray):
        return "array"
    if isinstance(content, bytes):
        return _format(content[:8])
    with content.open("rb") as file:
        return _format(file.read(8))


@contextmanager
def opened_planes(content: Path | bytes | np.ndarray) -> Iterator[Planes]:
    """The array of content that `planar_format` knows; damaged files raise whatever numpy or tifffile do."""
    if isinstance(content, np.ndarray):
        yield Planes("array", content.dtype, content.shape, lambda: content)
        return
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        if planar_format(content) == "NPY":
            yield _npy(file)
        else:
            # OME files may name further files to be opened; what an image is, is in one file here.
            with tifffile.TiffFile(file, is_ome=False, _multifile=False) as tiff:
                yield _tiff(tiff)


def eight_bit(values: np.ndarray) -> np.ndarray:
    """uint8 as it is, uint16 by 255/65535, floats by 255; raises ValueError for floats outside 0..1."""
    if _bits(values.dtype) == 8:
        return values
    if _bits(values.dtype) == 16:
        return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if not (values.min() >= 0 and values.max() <= 1):  # also false for NaN
        raise ValueError(f"floats {values.min():g}..{values.max():g}; only 0..1 have a known scale")
    return np.asarray((values * 255).round().astype(np.uint8))


def _bits(dtype: np.dtype[Any]) -> int:
    """Of an unsigned integer, in either order of its bytes; 0 for other types."""
    return 8 * dtype.itemsize if dtype.kind == "u" else 0


def _format(start: bytes) -> str | None:
    if start.startswith(_NPY):
        return "NPY"
    return "TIFF" if start.startswith(_TIFF) else None


def _mend(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return "data.channels=1 would read it"
    if len(shape) == 3:
        return f"data.channels={min(shape[0], shape[2])} would read it"
    return "store it as (H, W, C) or (C, H, W)"


def _npy(file: BinaryIO) -> Planes:
    """The header of a .npy file, version 1 or 2 (NEP 1); objects are never unpickled."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"a .npy file of version {version[0]}.{version[1]}; store plain numbers")
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, by_columns, dtype = readers[version](file)
    start = file.tell()
    stop = start + math.prod(shape) * dtype.itemsize
    length = file.seek(0, io.SEEK_END)

    def read() -> np.ndarray:
        # Read, not mapped: a disk that fails raises an error here, and would kill the process there.
        if stop > length:
            raise ValueError(f"truncated: {length} bytes of {stop}; copy the file again")
        file.seek(start)
        return np.frombuffer(file.read(stop - start), dtype).reshape(shape, order="F" if by_columns else "C")

    return Planes("NPY", dtype, tuple(shape), read)


def _tiff(tiff: tifffile.TiffFile) -> Planes:
    """The first series of a TIFF file: one page of several bands, or pages of one size; as it lies."""
    series = tiff.series[0]
    page = series.keyframe
    if page.compression not in _READABLE:
        name = getattr(page.compression, "name", page.compression)
        raise ValueError(f"a TIFF file compressed by {name}; store it with deflate or uncompressed")
    if series.dtype is None:
        raise ValueError("a TIFF file without a type of values; store uint8, uint16, or floats in 0..1")

    def read() -> np.ndarray:
        if page.compression in _DEFLATE:
            _check_deflate(tiff, series)
        try:
            return np.asarray(series.asarray(maxworkers=1))
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            raise ValueError(f"{error}: install it, or store the file with deflate") from error

    return Planes("TIFF", series.dtype, tuple(series.shape), read)


def _check_deflate(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    """Refuse strips that unpack to more than any array may hold; tifffile unpacks each without a bound."""
    most = max(series.nbytes, BYTE_LIMIT)
    for page in series.pages:
        for start, length in (
            zip(page.dataoffsets, page.databytecounts, strict=True) if page is not None else ()
        ):
            if length <= _SURE:
                continue
            tiff.filehandle.seek(start)
            strip, unpacked = zlib.decompressobj(), 0
            for _ in range(0, length, _PIECE):
                unpacked += len(strip.decompress(tiff.filehandle.read(_PIECE)))
                if unpacked > most:
                    raise ValueError(f"a strip unpacks to more than {most:,} bytes; store it uncompressed")
