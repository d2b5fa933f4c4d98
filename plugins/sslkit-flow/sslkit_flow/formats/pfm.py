"""Portable float maps, as FlyingThings3D stores flow (Mayer et al. 2016): text header, rows from the bottom.

`PF`, width, height and a scale, whose sign tells the byte order (negative is little endian), then float32
(height, width, 3): x, y and a channel without meaning.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from sslkit.contracts import FlowField
from sslkit.errors import DataError
from sslkit_flow.formats.known import known

_HEADER = re.compile(rb"(P[Ff])\s+(\d{1,9})\s+(\d{1,9})\s+([-+]?\d[\d.eE+-]*)[ \t\r]*\n")
_LONGEST_HEADER = 128


def pfm_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header, held against the length of the file; raises DataError."""
    height, width, _, _ = _header(path)
    return height, width


def read_pfm(path: Path) -> FlowField:
    """The field; raises DataError that says what is wrong."""
    height, width, order, start = _header(path)
    stored = np.fromfile(path, f"{order}f4", count=3 * width * height, offset=start)
    return known(stored.reshape(height, width, 3)[::-1, :, :2].astype(np.float32))


def write_pfm(path: Path, field: FlowField, *, little_endian: bool = True) -> None:
    """Store a field; the format knows no pixels of unknown motion, which hold 1e10."""
    vectors = field.vectors.detach().cpu().float().numpy()
    if field.valid is not None:
        vectors = np.where(field.valid.cpu().numpy(), vectors, 1e10)
    rows = np.stack([*vectors, np.zeros_like(vectors[0])], axis=-1)[::-1]
    head = f"PF\n{rows.shape[1]} {rows.shape[0]}\n{-1.0 if little_endian else 1.0}\n"
    path.write_bytes(head.encode() + rows.astype("<f4" if little_endian else ">f4").tobytes())


def _header(path: Path) -> tuple[int, int, str, int]:
    """Height, width, byte order (< or >) and where the pixels begin."""
    length = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_LONGEST_HEADER)
    found = _HEADER.match(head)
    if not found:
        raise DataError(f"begins with {head[:16]!r}; a .pfm file of flow begins with b'PF', width, height")
    if found[1] != b"PF":
        raise DataError("is a map of one channel (Pf); flow has three (PF), of which the last is not read")
    width, height = int(found[2]), int(found[3])
    try:
        scale = float(found[4])
    except ValueError:
        scale = 0.0
    if not scale or not width or not height:
        raise DataError(
            f"says {width} x {height} pixels and scale {found[4].decode()!r}; none of them can be 0"
        )
    wanted = found.end() + 12 * width * height
    if length != wanted:
        raise DataError(f"has {length} bytes; flow of {width} x {height} pixels takes {wanted}")
    return height, width, "<" if scale < 0 else ">", found.end()
