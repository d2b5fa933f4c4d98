"""Shards of inverted lists joined in one file, with a single list of each in memory.

FAISS's `OnDiskInvertedLists` would do the same with two files, of which one holds the other's path.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ArtifactError, ConfigError
from sslkit.neighbours.structure_file import Write, read_description, write_structure_file

MERGED = ("ivf_rabitq", "ivf_sq8")
"""Kinds whose lists can be joined in a file."""

_LISTS = struct.Struct(
    "<4sQQ4s"
)  # FAISS's name of the lists, their number, bytes of a code, how sizes follow
_COUNT = slice(8, 16)  # how many rows there are, behind the index's name and width


def merge_on_disk(parts: Sequence[Path], out: Path) -> int:
    """Join shards into one structure file, rows of each behind those of the ones before; return their number.

    parts: saved structures of kind ivf_sq8 or ivf_rabitq, filled from copies of one trained structure. The
    file is byte for byte the one that a single structure filled with all rows in order would save.

    Raises:
        ConfigError: no parts, or of a kind whose lists cannot be joined in a file.
        ArtifactError: a part is missing, damaged or has learnt other lists, or `out` cannot be written.
    """
    if not parts:
        raise ConfigError("no shards to merge; name at least one saved structure")
    with ExitStack() as stack:
        shards = [_Shard(part, stack.enter_context(part.open("rb"))) for part in _checked(parts)]
        first = shards[0]
        for shard in shards[1:]:
            if (shard.head, shard.described["plan"]) != (first.head, first.described["plan"]):
                raise ArtifactError(
                    f"{shard.path} and {first.path} have not learnt the same lists; fill the shards from "
                    "copies of one trained structure"
                )
        total: int = sum(shard.described["count"] for shard in shards)

        def payload(write: Write) -> None:
            write(first.head[: _COUNT.start] + struct.pack("<q", total) + first.head[_COUNT.stop :])
            sizes: NDArray[np.uint64] = np.sum([shard.sizes for shard in shards], axis=0, dtype=np.uint64)
            write(_sizes(sizes, first.width))
            for number in np.flatnonzero(sizes).tolist():
                rows = []
                begin = 0
                for shard in shards:
                    codes, ids = shard.take(number)
                    write(codes)
                    rows.append(ids + begin)
                    begin += shard.described["count"]
                write(np.concatenate(rows).tobytes())

        described = {**first.described, "count": total}
        write_structure_file(out, {key: described[key] for key in ("plan", "factory", "count")}, payload)
    return total


class _Shard:
    """One file; its lists are taken in order of their numbers."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self._file = path, file
        self.described = read_description(path, checked=True)
        if self.described["plan"]["kind"] not in MERGED:
            raise ConfigError(
                f"{path} is of kind {self.described['plan']['kind']}, whose lists cannot be joined in a "
                f"file; build {' or '.join(MERGED)}"
            )
        index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)  # which its lists do not keep
        held = index.invlists
        self.width = int(held.code_size)
        self.sizes = np.array([held.list_size(number) for number in range(held.nlist)], np.uint64)
        # The lists stand last, and their sizes say where they begin.
        lists = _sizes(self.sizes, self.width)
        data = int(self.sizes.sum()) * (self.width + 8)
        head = self.described["length"] - data - len(lists)
        begin = file.read(head)
        self.head = begin[: _COUNT.start] + bytes(8) + begin[_COUNT.stop :]
        if file.read(len(lists)) != lists:
            raise ArtifactError(f"{path} is laid out in a way that is not known; build it with this FAISS")

    def take(self, number: int) -> tuple[bytes, NDArray[np.int64]]:
        """Codes and row numbers of a list."""
        size = int(self.sizes[number])
        return self._file.read(size * self.width), np.frombuffer(self._file.read(size * 8), np.int64)


def _sizes(sizes: NDArray[np.uint64], width: int) -> bytes:
    """How FAISS's file of inverted lists begins: their number and sizes, of all or of the filled ones."""
    filled = np.flatnonzero(sizes)
    sparse = len(filled) <= len(sizes) // 2
    said = np.stack([filled.astype(np.uint64), sizes[filled]], axis=1).ravel() if sparse else sizes
    begin = _LISTS.pack(b"ilar", len(sizes), width, b"sprs" if sparse else b"full")
    return begin + struct.pack("<Q", len(said)) + said.tobytes()


def _checked(parts: Sequence[Path]) -> Sequence[Path]:
    for part in parts:
        read_description(part)
    return parts
