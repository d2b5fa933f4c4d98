"""The file of a flat index: FAISS's own format, checked before FAISS trusts it, written without holding it.

A header of 45 bytes and then the vectors, float32, row after row. The header makes their addresses odd, so a
view of a mapped file is not aligned: numpy and FAISS read it as it is, other code may want a copy.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ArtifactError

_HEADER = struct.Struct("<4siqqq?iQ")  # name, width, rows, two unused, trained, metric, floats that follow
_NAME = b"IxFI"
_UNUSED = 1 << 20


class MappedRows:
    """The vectors of a flat file, read through a memory map that is this object's own."""

    def __init__(self, path: Path, count: int, dim: int) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.view: NDArray[np.float32] = np.frombuffer(
            self._map, np.float32, count * dim, _HEADER.size
        ).reshape(count, dim)

    def dropped(self, start: int, stop: int) -> None:
        """Give the pages of rows start..stop back; they are read again when needed."""
        if hasattr(self._map, "madvise"):  # on Windows there is none, and nothing is given back
            width = self.view.shape[1] * 4
            first = (_HEADER.size + start * width) // mmap.PAGESIZE * mmap.PAGESIZE
            length = min(_HEADER.size + stop * width, len(self._map)) - first
            if length > 0:
                self._map.madvise(mmap.MADV_DONTNEED, first, length)


def read_flat_header(path: Path) -> tuple[int, int]:
    """Rows and width of a flat file, whose size is checked against them.

    Raises ArtifactError when the file is missing, cut short, too long, or not a flat inner-product index.
    """
    if not path.is_file():
        raise ArtifactError(f"no index file at {path}; build the index again or correct the path")
    try:
        with path.open("rb") as file:
            head, size = file.read(_HEADER.size), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}; correct its permissions") from error
    if head[:4] in (b"IxF2", b"IxFl"):
        kind = "IndexFlatL2" if head[:4] == b"IxF2" else "IndexFlat"
        raise ArtifactError(f"{path} holds an {kind}; only IndexFlatIP can be opened here")
    if len(head) < _HEADER.size or head[:4] != _NAME:
        raise ArtifactError(f"{path} is damaged or no flat FAISS index; build the index again")
    _, dim, count, _, _, trained, metric, floats = _HEADER.unpack(head)
    sound = dim > 0 and count >= 0 and trained and metric == faiss.METRIC_INNER_PRODUCT
    if not sound or floats != count * dim or size != _HEADER.size + 4 * floats:
        raise ArtifactError(
            f"{path} is damaged: it says {count} vectors of {dim} dimensions, which take "
            f"{_HEADER.size + 4 * max(count * dim, 0)} bytes, and has {size}; build the index again"
        )
    return count, dim


def write_flat(
    path: Path, blocks: Iterable[NDArray[np.float32]], dim: int, unit: Callable[[Any, int], Any]
) -> int:
    """Write blocks (N, D), each made sound by `unit(block, first row)`, and return the number of rows.

    A file that is not whole does not open; when anything fails, none is left.
    """
    count = 0
    try:
        with path.open("wb") as file:
            file.write(_header(0, dim, torn=True))
            for block in blocks:
                if len(block):
                    file.write(memoryview(unit(block, count)).cast("B"))
                    count += len(block)
            file.seek(0)
            file.write(_header(count, dim))
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        with suppress(OSError):  # a folder on the way may be a file: then there is nothing to remove
            path.unlink()
        if isinstance(error, OSError):
            raise ArtifactError(f"the index cannot be written to {path}: {error}") from error
        raise
    return count


def _header(count: int, dim: int, *, torn: bool = False) -> bytes:
    metric = faiss.METRIC_INNER_PRODUCT
    return _HEADER.pack(_NAME, dim, count, _UNUSED, _UNUSED, not torn, metric, count * dim)
