"""Nearest neighbours among the filled slots of a bank: exact, inverted lists with fast scan, or HNSW.

Whatever finds the candidates, similarities are computed again from the float16 vectors, each pair by the same
sum, so that equal vectors have equal similarities and a result does not depend on the other queries. No BLAS
of numpy's is called, which has threads of its own, so a build with one thread may run beside a training step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from sslkit.errors import ArtifactError, ConfigError
from sslkit.keyed_random import permutation
from sslkit.neighbours.lists import IVF_ROWS as IVF_ROWS
from sslkit.neighbours.lists import LIST_SAMPLE, list_count, subspace_count
from sslkit.neighbours.searching import search_numpy

Kind = Literal["auto", "flat", "ivf", "hnsw"]

FLAT_ROWS = 32_768
"""Above this many vectors `auto` takes inverted lists, which are then clearly quicker than exact search."""

GPU_FLAT_ROWS = 8_000_000
"""The same on a GPU, which holds this many of 128 dimensions in 4 GB; the other kinds stay on the CPU."""

_BLOCK = 65_536  # rows made float32 at a time
_SCAN = 8_192  # rows looked at together when ties are settled
_PAIRS = 4_096  # query and candidate pairs re-ranked together, to stay in the cache
_SPARE = 8  # candidates beyond k that show whether more rows tie with the last one
_TIE = 2e-6  # similarities closer than this may have been told apart by rounding alone
_GPU_K = 2_048 - _SPARE  # FAISS's limit on what a GPU index returns

_parameters: Any = faiss  # its type information lacks the keyword arguments


class CorpusIndex:
    """The k most similar rows of a corpus, by cosine; made by `build`.

    kind: "flat", "ivf" or "hnsw". note: why `auto` took not what the size of the corpus asks for, or None.
    """

    def __init__(
        self, vectors: NDArray[np.float16], rows: NDArray[np.int64], kind: str, note: str | None, on_gpu: bool
    ) -> None:
        self.kind, self.note, self.on_gpu = kind, note, on_gpu
        self._vectors, self._rows = vectors, rows
        self._scales = np.empty(len(rows), np.float32)
        self.factory, self._faiss = _empty(kind, vectors, rows, on_gpu)
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            block, self._scales[part] = _float32(vectors, rows[part])
            self._faiss.add(block)

    @classmethod
    def build(
        cls,
        vectors: NDArray[np.float16],
        filled: NDArray[np.int64],
        *,
        kind: Kind = "auto",
        threads: int | None = None,
    ) -> CorpusIndex:
        """Index over the rows `filled` (F,) of float16 unit vectors (M, P), which are kept by reference.

        threads: of FAISS while it builds (HNSW always uses one), put back afterwards; None leaves them alone.
        The same vectors, kind and threads give the same index.

        Raises:
            ConfigError: another type or shape, no row or a repeated or unknown one, an unknown kind, or
                kind="ivf" with fewer than 624 rows.
            ArtifactError: a row is not finite or is all zero.
        """
        rows = _checked_rows(vectors, filled)
        on_gpu = torch.cuda.is_available() and faiss.get_num_gpus() > 0
        chosen, note = _choose(kind, len(rows), len(vectors), GPU_FLAT_ROWS if on_gpu else FLAT_ROWS)
        with _threads(1 if chosen == "hnsw" else threads):
            return cls(vectors, rows, chosen, note, on_gpu and chosen == "flat")

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def dim(self) -> int:
        """Width P of the vectors."""
        return int(self._vectors.shape[1])

    def describe(self) -> str:
        """One line for a log: the structure and how much of the corpus it covers."""
        where = " on the GPU" if self.on_gpu else ""
        return f"{self.factory}{where} over {len(self):,} of {len(self._vectors):,} x {self.dim}"

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The k most similar rows of float32 (Q, P) queries: rows int64 (Q, k), cosines float32 (Q, k).

        Most similar first, equal similarities by row number. Where there are fewer than k, and for a query
        that is not finite or is all zero, rows are -1 and similarities -inf. "flat" is exact; the others rank
        exactly what they found.

        Raises ConfigError for another type or shape, k < 1, or more than a GPU index can return.
        """
        self._check(queries, k)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        similarities = np.full((len(queries), k), -np.inf, dtype=np.float32)
        unit, sound = _unit(queries)
        if len(sound):
            positions, near = self._nearest(unit, min(k, len(self)))
            rows[sound, : positions.shape[1]] = np.where(positions >= 0, self._rows[positions], -1)
            similarities[sound, : positions.shape[1]] = near
        return rows, similarities

    def _nearest(self, unit: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        count, effort = self._effort(k)
        positions = search_numpy(self._faiss)(unit, count, params=effort)[1]
        positions, near = _ranked(positions, self._cosines(unit, positions))
        if self.kind == "flat":
            self._settle_ties(unit, positions, near, k)
        return positions[:, :k], near[:, :k]

    def _effort(self, k: int) -> tuple[int, Any]:
        """How many candidates to ask of FAISS for k neighbours, and how hard it should look."""
        if self.kind == "flat":
            return min(k + _SPARE, len(self)), None
        count = min(max(2 * k, k + 100), len(self))
        if self.kind == "hnsw":
            return count, _parameters.SearchParametersHNSW(efSearch=max(count, 64))
        lists = self._faiss.nlist
        # A sixteenth of the lists, and more where those would hold too few candidates.
        probes = min(max(lists // 16, 8, -(-8 * count * lists // len(self))), lists)
        return count, _parameters.SearchParametersIVF(nprobe=probes)

    def _cosines(self, unit: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Exact similarities of each query with its own candidates (Q, C); -inf where a position is -1."""
        near = np.empty(positions.shape, dtype=np.float32)
        step = max(_PAIRS // positions.shape[1], 1)
        buffer = np.empty((step, positions.shape[1], self.dim), dtype=np.float32)
        for start in range(0, len(unit), step):
            part = slice(start, start + step)
            rows = self._rows[positions[part]]
            block = _widened(self._vectors[rows], buffer[: len(rows)])
            # einsum without a path sums every pair on its own; BLAS would round by the place in the matrix.
            near[part] = np.einsum("qcp,qp->qc", block, unit[part]) * self._scales[positions[part]]
        np.clip(near, -1.0, 1.0, out=near)  # rounding gives 1.0000001
        near[positions < 0] = -np.inf
        return near

    def _settle_ties(
        self, unit: NDArray[np.float32], positions: NDArray[np.int64], near: NDArray[np.float32], k: int
    ) -> None:
        """Where more rows tie with the k-th than FAISS returned, keep the lowest of them, in place."""
        if positions.shape[1] == len(self):
            return
        tied = np.flatnonzero(near[:, k - 1] - near[:, -1] <= _TIE)
        found: list[list[int]] = [[] for _ in tied]
        edges = near[tied, k - 1]
        for start in range(0, len(self), _SCAN):
            if all(len(rows) >= k for rows in found):  # a collapsed corpus ends here in its first block
                break
            block, _ = _float32(self._vectors, self._rows[start : start + _SCAN])
            inside = np.abs(np.einsum("qp,np->qn", unit[tied], block) - edges[:, None]) <= _TIE
            for rows, hits in zip(found, inside, strict=True):
                rows.extend((np.flatnonzero(hits)[: k - len(rows)] + start).tolist())
        for query, rows in zip(tied, found, strict=True):
            # What lies above the tie is among FAISS's candidates.
            both = np.union1d(positions[query], np.asarray(rows, dtype=np.int64))[None]
            ordered, values = _ranked(both, self._cosines(unit[query : query + 1], both))
            positions[query, :k], near[query, :k] = ordered[0, :k], values[0, :k]

    def _check(self, queries: NDArray[np.float32], k: int) -> None:
        if queries.dtype != np.float32 or queries.ndim != 2 or queries.shape[1] != self.dim:
            raise ConfigError(
                f"queries are {queries.dtype} of shape {queries.shape}; float32 (Q, {self.dim}) is needed"
            )
        if k < 1:
            raise ConfigError(f"k={k} neighbours asked for; at least 1 is needed")
        if self.on_gpu and min(k, len(self)) > _GPU_K:
            raise ConfigError(
                f"k={k} neighbours asked of a GPU index, which returns at most {_GPU_K}; ask for fewer or "
                "build one of kind ivf"
            )


def _choose(kind: Kind, filled: int, corpus: int, flat_rows: int) -> tuple[str, str | None]:
    """The kind to build, and a note where it is not what the size of the corpus asks for."""
    if kind not in ("auto", "flat", "ivf", "hnsw"):
        raise ConfigError(f"an index of kind '{kind}'; it is one of auto, flat, ivf, hnsw")
    if kind == "ivf" and filled < IVF_ROWS:
        raise ConfigError(
            f"an index of kind ivf over {filled} vectors; it needs at least {IVF_ROWS}: use kind auto or flat"
        )
    if kind != "auto":
        return kind, None
    if filled > flat_rows or corpus <= flat_rows:
        return ("ivf" if filled > flat_rows else "flat"), None
    return "flat", (
        f"{filled:,} of {corpus:,} vectors are there, too few for inverted lists to be worth while; exact "
        "search is used until more are"
    )


def _empty(kind: str, vectors: NDArray[np.float16], rows: NDArray[np.int64], on_gpu: bool) -> tuple[str, Any]:
    """FAISS's name of the structure, and one that has learnt what it must and holds nothing yet."""
    dim = vectors.shape[1]
    if kind == "ivf":
        lists = list_count(len(rows))
        # On unit vectors L2 ranks as the cosine does, and its quantiser finds more than that of inner
        # products: recall@10 among 22 candidates .90 against .68.
        factory = f"IVF{lists},PQ{subspace_count(dim)}x4fs"
        index: Any = faiss.index_factory(dim, factory, faiss.METRIC_L2)
        index.cp.max_points_per_centroid = LIST_SAMPLE
        count = min(len(rows), max(LIST_SAMPLE * lists, 4096))
        sample = np.sort(permutation(len(rows), seed=0, epoch=0)[:count].numpy())
        index.train(_float32(vectors, rows[sample])[0])
        return factory, index
    if kind == "hnsw":
        return "HNSW32", faiss.index_factory(dim, "HNSW32,Flat", faiss.METRIC_INNER_PRODUCT)
    return "Flat", _on_gpu(faiss.IndexFlatIP(dim)) if on_gpu else faiss.IndexFlatIP(dim)


def _checked_rows(vectors: NDArray[np.float16], filled: NDArray[np.int64]) -> NDArray[np.int64]:
    if vectors.dtype != np.float16 or vectors.ndim != 2 or 0 in vectors.shape:
        raise ConfigError(f"vectors are {vectors.dtype} of shape {vectors.shape}; float16 (M, P) is needed")
    if filled.dtype != np.int64 or filled.ndim != 1 or not len(filled):
        raise ConfigError(f"rows are {filled.dtype} of shape {filled.shape}; int64 (F,) is needed, F > 0")
    rows = np.unique(filled)  # in order, so that places in the index are ordered as row numbers are
    if len(rows) < len(filled) or rows[0] < 0 or rows[-1] >= len(vectors):
        raise ConfigError(
            f"rows to index repeat or run from {rows[0]} to {rows[-1]}; each may be given once, within 0 to "
            f"{len(vectors) - 1}"
        )
    return rows


def _float32(
    vectors: NDArray[np.float16], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows as unit float32 vectors, and the factors that made them so: float16 is off by some 1e-4."""
    block = _widened(vectors[rows], np.empty((len(rows), vectors.shape[1]), dtype=np.float32))
    norms = np.sqrt(np.einsum("np,np->n", block, block))
    bad = ~(np.isfinite(norms) & (norms > 0))
    if bad.any():
        raise ArtifactError(
            f"{int(bad.sum())} vectors to index are not finite or all zero, the first at row "
            f"{rows[bad][0]}; leave them out of `filled`"
        )
    scales = (1 / norms).astype(np.float32)
    block *= scales[:, None]
    return block, scales


def _widened(half: NDArray[np.float16], out: NDArray[np.float32]) -> NDArray[np.float32]:
    torch.from_numpy(out).copy_(torch.from_numpy(half))  # some 20 times quicker than numpy's cast
    return out


def _unit(queries: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The queries that have a direction, at unit length, and where they stand."""
    largest = np.abs(queries).max(axis=1, initial=0)
    sound = np.flatnonzero(np.isfinite(largest) & (largest > 0))
    scaled = queries[sound] / largest[sound, None]  # squares of huge and tiny entries stay in range
    scaled /= np.sqrt(np.einsum("qp,qp->q", scaled, scaled))[:, None]
    return np.ascontiguousarray(scaled), sound


def _ranked(
    positions: NDArray[np.int64], near: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    order = np.lexsort((positions, -near), axis=1)
    return np.take_along_axis(positions, order, axis=1), np.take_along_axis(near, order, axis=1)


def _on_gpu(index: Any) -> Any:
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(256 << 20)  # the default would take 1.5 GB from training
    return faiss.index_cpu_to_gpu(resources, torch.cuda.current_device(), index)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """FAISS's threads for what the calling thread does; OpenMP keeps the number for each thread."""
    torch.get_num_threads()  # its first call in a thread sets the number there, so let it be before ours
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
