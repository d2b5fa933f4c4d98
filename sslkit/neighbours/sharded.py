"""A structure filled shard by shard, in one process or in several at once, and joined on the disk.

No more than a shard is in memory while it is built, and while it is searched only what searches touch: so it
goes beyond memory. Kinds whose lists cannot be joined in a file are filled in memory.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path

from sslkit.neighbours.flat import FlatIndex
from sslkit.neighbours.merged import MERGED, merge_on_disk
from sslkit.neighbours.structure import Structure

SHARD_BYTES = 1 << 30
"""A structure that would take more memory than this is filled in shards that each take less."""

SPREAD_ROWS = 200_000
"""Fewer vectors than these are quicker filled by one process than by several."""

PREFIX = ".shards-"

Spread = Callable[[Path, Path, int], None]
"""Has `fill_shard` called for the shards 0..n-1 by several processes: folder, file of the vectors, n."""


def fill(
    structure: Structure, vectors: FlatIndex, *, spread: Spread | None = None, processes: int = 1
) -> Structure:
    """All rows of `vectors` in a trained, empty structure: the same one, or one that stays in its file.

    spread: has the shards filled by `processes` processes. The result is the same to the byte. Shards lie in
    a folder of their own beside the vectors for as long as this takes.
    """
    shards = math.ceil((structure.row_bytes * len(vectors)) / SHARD_BYTES)
    if spread is not None and len(vectors) >= SPREAD_ROWS:
        shards = max(shards, processes)
    if vectors.path is None or structure.kind not in MERGED or shards == 1:
        structure.add(vectors, 0, len(vectors))
        return structure
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=vectors.path.parent) as place:
        folder = Path(place)
        structure.save(folder / "trained.faiss")
        if spread is None:
            for shard in range(shards):
                fill_shard(folder, vectors.path, shard, shards)
        else:
            spread(folder, vectors.path, shards)
        merge_on_disk([folder / f"shard-{shard}.faiss" for shard in range(shards)], folder / "merged.faiss")
        return Structure.open(folder / "merged.faiss", vectors)  # mapped: the file may go


def fill_shard(folder: Path, vectors: Path, shard: int, shards: int) -> None:
    """Write one shard of the structure trained in `folder`: its share of the rows of a file of vectors."""
    rows = FlatIndex.open(vectors, mapped=True)
    structure = Structure.open(folder / "trained.faiss", rows, mapped=False)
    structure.add(rows, shard * len(rows) // shards, (shard + 1) * len(rows) // shards)
    structure.save(folder / f"shard-{shard}.faiss")
