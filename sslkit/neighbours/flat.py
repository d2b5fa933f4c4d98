"""Exact nearest neighbours by cosine similarity: FAISS's flat inner-product index on unit vectors.

Thread counts are left alone. The FAISS and torch wheels each bring an OpenMP, and where torch is imported
first `faiss.omp_set_num_threads` sets torch's threads too; OMP_NUM_THREADS governs both from outside.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ArtifactError, ConfigError
from sslkit.neighbours.flat_file import MappedRows, read_flat_header, write_flat
from sslkit.neighbours.searching import search_numpy

_BLOCK = 16_384  # rows looked at together: 8 MB at 128 dimensions, which the cache keeps for all queries
_WHOLE = 1_000  # from so many queries on FAISS multiplies matrices and blocks gain nothing
_FEW = 4  # up to so many queries, allowed rows are read where they lie
_UNIT = 1e-3  # by how much the length of a vector said to be of unit length may be off

_faiss: Any = faiss  # its type information lacks some names and all keyword arguments


class FlatIndex:
    """Vectors of one width by row number, searched exhaustively; rows are 0..len-1 in order of adding.

    path: the file it was opened from, or None.
    """

    factory = "Flat"
    metric = "cosine"

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise ConfigError(f"an index of vectors with {dim} dimensions; at least 1 is needed")
        self._faiss: Any = faiss.IndexFlatIP(dim)
        self._mapped: MappedRows | None = None
        self.path: Path | None = None
        self._shown: weakref.WeakSet[_Shown] = weakref.WeakSet()

    @classmethod
    def build(cls, vectors: NDArray[np.float32]) -> FlatIndex:
        """Index of float32 (N, D) vectors of any length but zero; they are copied and scaled to unit length.

        Raises:
            ConfigError: not float32, not two-dimensional, or no rows.
            ArtifactError: a row is not finite or is all zero; the message names the rows.
        """
        _check_array(vectors, "vectors")
        index = cls(vectors.shape[1])
        index.add(vectors)
        return index

    @classmethod
    def open(cls, path: Path, *, mapped: bool = False) -> FlatIndex:
        """Read a saved index; `mapped` leaves the vectors in the file until a search reads them.

        Raises ArtifactError when the file is missing, cut short, or not a flat inner-product index.
        """
        count, dim = read_flat_header(path)  # FAISS would believe whatever the file says
        index = cls(dim)
        index.path = path
        try:
            index._faiss = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
            index._mapped = MappedRows(path, count, dim) if mapped else None
        except (RuntimeError, OSError, ValueError) as error:
            raise ArtifactError(f"{path} cannot be read: {error}; build the index again") from error
        return index

    @classmethod
    def write(cls, path: Path, blocks: Iterable[NDArray[np.float32]], dim: int, *, unit: bool = False) -> int:
        """Write an index file from float32 (N, D) blocks, one of them in memory at a time; return its length.

        unit: the blocks come from another index and are kept to the bit; else they are scaled as by `add`.
        The file is on the disk when this returns, and is removed when it fails.

        Raises:
            ConfigError: a block has another type or width.
            ArtifactError: a row, named by its number among all, is not finite, is all zero or (`unit`) not of
                unit length; or the file cannot be written.
        """
        index = cls(dim)

        def sound(block: NDArray[np.float32], first: int) -> NDArray[np.float32]:
            scaled = index.unit(block, "vectors", first)
            if not unit:
                return scaled
            off = np.abs(np.einsum("nd,nd->n", block, block) - 1) > _UNIT
            _refuse_rows(off, "vectors", "not of unit length", first)
            return np.ascontiguousarray(block)

        return write_flat(path, blocks, dim, sound)

    def __len__(self) -> int:
        return int(self._faiss.ntotal)

    @property
    def dim(self) -> int:
        """Width D of the vectors."""
        return int(self._faiss.d)

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Append float32 (N, D) vectors; errors as `build`, and ConfigError on a memory-mapped index."""
        if self._mapped is not None:  # FAISS would abort the whole process here
            raise ConfigError(
                "a memory-mapped index cannot grow; open it with mapped=False, add, and save it"
            )
        if len(self._shown):  # they would show freed memory
            raise ConfigError("an index cannot grow while a view of its vectors is held; let go of it first")
        self._faiss.add(self.unit(vectors, "vectors", first=len(self)))

    @property
    def faiss_index(self) -> Any:
        """FAISS's own index, for what is built over it."""
        return self._faiss

    def view(self) -> NDArray[np.float32]:
        """All unit vectors (N, D) without a copy, read-only; of a mapped index they are not aligned."""
        if self._mapped is not None:
            return self._mapped.view
        if not len(self):
            return np.empty((0, self.dim), np.float32)
        shown = _Shown(self._faiss)
        self._shown.add(shown)
        return np.asarray(shown)

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """A copy of the unit vectors at int64 positions (M,), float32 (M, D); ConfigError for others."""
        if positions.dtype != np.int64 or positions.ndim != 1:
            raise ConfigError(f"rows are {positions.dtype} of shape {positions.shape}; int64 (M,) is needed")
        if len(positions) and not 0 <= positions.min() <= positions.max() < len(self):
            raise ConfigError(
                f"rows {positions.min()} to {positions.max()} asked of an index of {len(self)}; "
                f"they run from 0 to {len(self) - 1}"
            )
        return self.view()[positions]

    def blocks(
        self, start: int = 0, stop: int | None = None, rows: int = _BLOCK
    ) -> Iterator[NDArray[np.float32]]:
        """Copies of the unit vectors of rows start..stop in order, at most `rows` together.

        What a mapped file had to bring into memory for a block is given back after it.
        """
        stop = len(self) if stop is None else min(stop, len(self))
        for first in range(start, stop, rows):
            last = min(first + rows, stop)
            block = np.array(self.view()[first:last])
            self.release(first, last)
            yield block

    def release(self, start: int = 0, stop: int | None = None) -> None:
        """Give back the memory into which rows start..stop of a mapped file were read; they stay readable."""
        if self._mapped is not None:
            self._mapped.dropped(start, len(self) if stop is None else stop)

    def search(
        self, queries: NDArray[np.float32], k: int, *, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k nearest rows of float32 (Q, D) queries: rows int64 (Q, k) and similarities float32 (Q, k).

        Most similar first, equal similarities by row number; similarities lie in [-1, 1]. allowed: bool (N,),
        the rows that may be found; where they are fewer than k, rows are -1 and similarities -inf.

        Raises:
            ConfigError: k is not in 1..len (with `allowed`, not at least 1), or an array has another shape or
                type.
            ArtifactError: a query is not finite or is all zero.
        """
        self.check(k, allowed)
        return self.exact(self.unit(queries, "queries"), k, allowed)

    def save(self, path: Path) -> None:
        """Write the index to a file, replacing it; ArtifactError when the file cannot be written."""
        try:
            faiss.write_index(self._faiss, str(path))
        except RuntimeError as error:
            raise ArtifactError(f"the index cannot be written to {path}: {error}") from error

    def reranked(
        self, unit: NDArray[np.float32], candidates: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k most similar of each query's own candidates (Q, C), -1 last: rows and similarities (Q, k).

        unit: queries float32 (Q, D) of unit length. Candidates of shape (1, C) are looked at for every query.
        Each pair's similarity is one sum, which does not depend on what is asked beside it.
        """
        similarities = np.empty((len(unit), k), np.float32)
        rows = np.empty((len(unit), k), np.int64)
        width = candidates.shape[1]
        _faiss.knn_inner_products_by_idx(
            *(faiss.swig_ptr(unit), self._faiss.get_xb(), faiss.swig_ptr(candidates)),
            *(self.dim, len(unit), len(self), width, k),
            *(faiss.swig_ptr(similarities), faiss.swig_ptr(rows)),
            width if len(candidates) == len(unit) else 0,
        )
        return ranked(rows, similarities)

    def check(self, k: int, allowed: NDArray[np.bool_] | None) -> None:
        """Raise ConfigError unless k rows, of those allowed, may be asked for."""
        if k < 1 or (k > len(self) and allowed is None):
            raise ConfigError(f"k={k} neighbours asked of an index of {len(self)}; k may be 1 to {len(self)}")
        if allowed is not None and (allowed.dtype != np.bool_ or allowed.shape != (len(self),)):
            raise ConfigError(
                f"allowed rows are {allowed.dtype} of shape {allowed.shape}; bool ({len(self)},) is needed"
            )

    def exact(
        self, unit: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """`search` of queries that are sound and of unit length."""
        if allowed is None and (len(unit) == 1 or len(unit) >= _WHOLE):
            near, rows = search_numpy(self._faiss)(unit, k)
            return ranked(rows, near)
        positions = None if allowed is None else np.flatnonzero(allowed)
        if positions is not None and len(unit) <= _FEW:
            return self.reranked(unit, positions[None], k)
        heap = faiss.ResultHeap(len(unit), k, keep_max=True)
        view, count = self.view(), len(self) if positions is None else len(positions)
        for start in range(0, count, _BLOCK):
            stop = min(start + _BLOCK, count)
            part = np.arange(start, stop) if positions is None else positions[start:stop]
            block = view[start:stop] if positions is None else view[part]
            near, places = faiss.knn(unit, block, min(k, stop - start), faiss.METRIC_INNER_PRODUCT)
            heap.add_result(near, part[places])
        heap.finalize()
        return ranked(heap.I, heap.D)

    def unit(self, vectors: NDArray[np.float32], kind: str, first: int = 0) -> NDArray[np.float32]:
        """Vectors (N, D) of any length but zero at unit length; errors as `add`, from row `first` on."""
        _check_array(vectors, kind)
        if vectors.shape[1] != self.dim:
            raise ConfigError(f"{kind} have {vectors.shape[1]} dimensions; this index holds {self.dim}")
        _refuse_rows(~np.isfinite(vectors).all(axis=1), kind, "not finite", first)
        # Dividing by the largest entry first keeps the squares of huge and tiny vectors in range.
        largest = np.abs(vectors).max(axis=1, keepdims=True)
        _refuse_rows(largest[:, 0] == 0, kind, "all zero, so without a direction,", first)
        scaled = vectors / largest
        unit: NDArray[np.float32] = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
        return np.ascontiguousarray(unit)


class _Shown:
    """The memory of a FAISS index as an array that keeps the index."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self.__array_interface__ = {
            "version": 3,
            "shape": (index.ntotal, index.d),
            "typestr": np.dtype(np.float32).str,
            "data": (int(index.get_xb()), True),
        }


def ranked(
    rows: NDArray[np.int64], similarities: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Most similar first, equal ones by row number, within [-1, 1]; -1 and -inf where there is no row."""
    np.clip(similarities, -1.0, 1.0, out=similarities)  # rounding gives 1.0000001
    similarities[rows < 0] = -np.inf
    order = np.lexsort((rows, -similarities), axis=1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(similarities, order, axis=1)


def _check_array(vectors: NDArray[Any], kind: str) -> None:
    if vectors.dtype != np.float32 or vectors.ndim != 2:
        raise ConfigError(
            f"{kind} are {vectors.dtype} of shape {vectors.shape}; float32 of shape (N, D) is needed, "
            "for example vectors.astype(np.float32).reshape(-1, D)"
        )
    if 0 in vectors.shape:
        raise ConfigError(f"{kind} have the shape {vectors.shape}: empty; at least one row is needed")


def _refuse_rows(bad: Any, kind: str, what: str, first: int) -> None:
    rows = np.flatnonzero(bad) + first
    if len(rows):
        shown = ", ".join(str(row) for row in rows[:8]) + (" ..." if len(rows) > 8 else "")
        raise ArtifactError(
            f"{len(rows)} of {len(bad)} {kind} are {what} at rows {shown}; embed those samples again "
            "(without float16 autocast) or leave them out"
        )
