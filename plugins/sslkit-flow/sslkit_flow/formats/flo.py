"""Middlebury's .flo (Baker et al. 2011): a magic number, width, height, then (x, y) row by row.

All of it is little endian: float32 202021.25, int32 width, int32 height, float32 (height, width, 2).
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from sslkit.contracts import FlowField
from sslkit.errors import DataError
from sslkit_flow.formats.known import UNKNOWN, known

MAGIC = 202021.25
_HEADER = struct.Struct("<fii")
_LARGEST = 99999
_UNKNOWN_VECTOR = 10 * UNKNOWN


def flo_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header, held against the length of the file; raises DataError."""
    length = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        raise DataError(f"has {length} bytes; the header alone takes {_HEADER.size}")
    magic, width, height = _HEADER.unpack(head)
    if magic != MAGIC:
        raise DataError(f"begins with {magic!r} ({head[:4]!r}); a .flo file begins with {MAGIC} (b'PIEH')")
    if not (0 < width <= _LARGEST and 0 < height <= _LARGEST):
        raise DataError(f"says that it is {width} x {height} pixels; sides are 1..{_LARGEST}")
    wanted = _HEADER.size + 8 * width * height
    if length != wanted:
        raise DataError(f"has {length} bytes; flow of {width} x {height} pixels takes {wanted}")
    return height, width


def read_flo(path: Path) -> FlowField:
    """The field, pixels of unknown motion not valid; raises DataError that says what is wrong."""
    height, width = flo_size(path)
    stored = np.fromfile(path, "<f4", count=2 * width * height, offset=_HEADER.size)
    return known(stored.reshape(height, width, 2))


def write_flo(path: Path, field: FlowField) -> None:
    """Store a field; pixels that are not valid hold 1e10."""
    vectors = field.vectors.detach().cpu().float().numpy().transpose(1, 2, 0)
    if field.valid is not None:
        vectors = np.where(field.valid.cpu().numpy()[..., None], vectors, _UNKNOWN_VECTOR)
    height, width = vectors.shape[:2]
    path.write_bytes(_HEADER.pack(MAGIC, width, height) + vectors.astype("<f4").tobytes())
