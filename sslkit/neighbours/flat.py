"""Exact nearest neighbours by cosine similarity: FAISS's flat inner-product index on unit vectors.

Thread counts are left alone. The FAISS and torch wheels each bring an OpenMP, and where torch is imported
first `faiss.omp_set_num_threads` sets torch's threads too; OMP_NUM_THREADS governs both from outside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ArtifactError, ConfigError
from sslkit.neighbours.searching import search_numpy


class FlatIndex:
    """Vectors of one width by row number, searched exhaustively; rows are 0..len-1 in order of adding."""

    factory = "Flat"
    metric = "cosine"

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise ConfigError(f"an index of vectors with {dim} dimensions; at least 1 is needed")
        self._faiss: Any = faiss.IndexFlatIP(dim)
        self._mapped = False

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
        if not path.is_file():
            raise ArtifactError(f"no index file at {path}; build the index again or correct the path")
        try:
            loaded = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
        except RuntimeError as error:
            raise ArtifactError(
                f"{path} is damaged or no FAISS index: {error}; build the index again"
            ) from error
        if not isinstance(loaded, faiss.IndexFlatIP):
            raise ArtifactError(
                f"{path} holds a {type(loaded).__name__}; only IndexFlatIP can be opened here"
            )
        index = cls(loaded.d)
        index._faiss, index._mapped = loaded, mapped
        return index

    def __len__(self) -> int:
        return int(self._faiss.ntotal)

    @property
    def dim(self) -> int:
        """Width D of the vectors."""
        return int(self._faiss.d)

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Append float32 (N, D) vectors; errors as `build`, and ConfigError on a memory-mapped index."""
        if self._mapped:  # FAISS would abort the whole process here
            raise ConfigError(
                "a memory-mapped index cannot grow; open it with mapped=False, add, and save it"
            )
        self._faiss.add(self._unit(vectors, "vectors", first=len(self)))

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k nearest rows of float32 (Q, D) queries: rows int64 (Q, k) and similarities float32 (Q, k).

        Most similar first, equal similarities by row number; similarities lie in [-1, 1].

        Raises:
            ConfigError: k is not in 1..len, or the queries have another width or type.
            ArtifactError: a query is not finite or is all zero.
        """
        if not 1 <= k <= len(self):
            raise ConfigError(f"k={k} neighbours asked of an index of {len(self)}; k may be 1 to {len(self)}")
        similarities, rows = search_numpy(self._faiss)(self._unit(queries, "queries"), k)
        np.clip(similarities, -1.0, 1.0, out=similarities)  # rounding gives 1.0000001
        order = np.lexsort((rows, -similarities), axis=1)
        return np.take_along_axis(rows, order, axis=1), np.take_along_axis(similarities, order, axis=1)

    def save(self, path: Path) -> None:
        """Write the index to a file, replacing it; ArtifactError when the file cannot be written."""
        try:
            faiss.write_index(self._faiss, str(path))
        except RuntimeError as error:
            raise ArtifactError(f"the index cannot be written to {path}: {error}") from error

    def _unit(self, vectors: NDArray[np.float32], kind: str, first: int = 0) -> NDArray[np.float32]:
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
