"""The nearest others of every item of an index: what most questions about a data set begin with.

An index is asked block by block with its own search structure: for N items time is that of N searches, memory
N x k numbers. Nothing of N x N is ever held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ArtifactError, ConfigError, DataError
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.filters import Where

Progress = Callable[[int, int], None]
"""Told of items that are done, and of all of them."""

BLOCK = 4096
"""Items whose neighbours are asked for at a time."""

_IN_MEMORY = 256 << 20  # bytes


@dataclass(frozen=True)
class Graph:
    """The k nearest others of N items, most similar first.

    ids: int64 (N,), ascending; places: int64 (N, k), where the neighbours stand in `ids`, -1 where fewer were
    found; similarities: cosines float32 (N, k), -inf there.
    """

    ids: NDArray[np.int64]
    places: NDArray[np.int64]
    similarities: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)


def meant_ids(index: Index, where: Where | None) -> NDArray[np.int64]:
    """Ids of the items that a question is about, int64 (N,), ascending; DataError when there is none."""
    ids = index.select(where) if where else index.ids()
    if not len(ids):
        what = "the condition means no item of" if where else "there is no item in"
        raise DataError(f"{what} {index.path}; ask about at least one")
    return ids


def neighbour_graph(
    index: Index,
    k: int,
    *,
    where: Where | None = None,
    exact: bool = False,
    progress: Progress | None = None,
) -> Graph:
    """The k nearest others of each item that `where` means, among those items.

    exact: compare every pair, O(N^2 D), instead of asking the index's search structure.

    Raises:
        ConfigError: k < 1, or there are not so many others.
        DataError: nothing is meant.
        ArtifactError: the index changed meanwhile.
    """
    ids = meant_ids(index, where)
    if not 1 <= k < len(ids):
        raise ConfigError(
            f"{k} neighbours of each asked among {len(ids)} items; there may be 1 to {len(ids) - 1}"
        )
    places = np.empty((len(ids), k), np.int64)
    similarities = np.empty((len(ids), k), np.float32)
    rows = np.arange(len(ids))
    for some, found, near in neighbours_of(index, ids, rows, k, where=where, exact=exact, progress=progress):
        places[some], similarities[some] = found, near
    return Graph(ids, places, similarities)


def neighbours_of(
    index: Index,
    ids: NDArray[np.int64],
    rows: NDArray[np.int64],
    k: int,
    *,
    where: Where | None = None,
    exact: bool = False,
    progress: Progress | None = None,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
    """The k nearest others of some `rows` (R,) of `ids`, which `where` means, in blocks.

    Rows int64 (B,), places of the found in `ids` int64 (B, k) and cosines float32 (B, k).
    """
    for some, found, near in nearest_of(index, ids[rows], k + 1, where=where, exact=exact, progress=progress):
        places = np.where(found < 0, -1, np.searchsorted(ids, found))
        yield rows[some], *_without_self(places, near, rows[some])


def nearest_of(
    index: Index,
    ids: NDArray[np.int64],
    k: int,
    *,
    among: Index | None = None,
    where: Where | None = None,
    exact: bool = False,
    progress: Progress | None = None,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
    """The k nearest of the items `ids` (N,) of an index, themselves included, among those that `where` means.

    In blocks: rows of `ids` int64 (B,), found ids int64 (B, k) and cosines float32 (B, k). among: another
    index of the same model to look in. Raises ArtifactError when an index changes meanwhile.
    """
    among = among or index
    before = index.generation, among.generation
    for start in range(0, len(ids), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(ids)))
        vectors = index.vectors(ids[rows])
        found, near = among.nearest(vectors, k, model_hash=index.model_hash, where=where, exact=exact)
        if (index.generation, among.generation) != before:
            raise ArtifactError(f"the index {index.path} changed while it was looked at; ask again")
        yield rows, found, near
        if progress is not None:
            progress(int(rows[-1]) + 1, len(ids))


def _without_self(
    places: NDArray[np.int64], near: NDArray[np.float32], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """One column less: the item itself, or the last one where copies of the item left no room for it."""
    own = places == rows[:, None]
    own[:, -1] |= ~own.any(1)
    shape = len(rows), places.shape[1] - 1
    return places[~own].reshape(shape), near[~own].reshape(shape)


def vectors_of(index: Index, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Unit vectors of many items, float32 (N, D); more than 256 MiB lie in a file, gone with the array."""
    shape = len(ids), index.dim
    vectors: NDArray[np.float32]
    if len(ids) * index.dim * 4 <= _IN_MEMORY:
        vectors = np.empty(shape, np.float32)
    else:
        with TemporaryFile() as file:
            vectors = np.memmap(file, np.float32, "w+", shape=shape)
    for start in range(0, len(ids), BLOCK):
        vectors[start : start + BLOCK] = index.vectors(ids[start : start + BLOCK])
    return vectors


def labels_of(index: Index, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Class numbers of items, int64 (N,), -1 where there is none."""
    labels = np.empty(len(ids), np.int64)
    for start in range(0, len(ids), BLOCK):
        items = index.items(ids[start : start + BLOCK].tolist())
        labels[start : start + BLOCK] = [-1 if item.label is None else item.label for item in items]
    return labels
