"""Approximate search over the rows of a flat index: a structure finds candidates, exact vectors rank them.

Whatever found a row, its similarity is one sum over its exact vector (`FlatIndex.reranked`). A filter keeps
recall: few allowed rows are searched exactly, for more the search widens as they thin out, and where it still
comes back with too little that query is searched exactly.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ArtifactError, ConfigError
from sslkit.neighbours.candidates import Finder
from sslkit.neighbours.flat import FlatIndex
from sslkit.neighbours.learning import gathered, sampled, trained
from sslkit.neighbours.plan import USUAL, Effort, Kind, Plan, ladder, planned
from sslkit.neighbours.structure_file import faiss_payload, read_description, write_structure_file

__all__ = ["Effort", "Kind", "Plan", "Structure", "planned"]

_BLOCK_BYTES = 32 << 20  # of the exact vectors, added together
_FEW_ROWS = 1_000  # allowed rows that are always searched exactly,
_FEW_SHARE = 0.02  # and the share of all rows below which they are
_WALK = 20  # steps of a graph cost as much as so many exact similarities
_GLANCE = 2_048  # rows that show how many are nearer than a neighbour
_FAR = 0.01  # share of them
_TYPES = {
    "hnsw": "IndexHNSWFlat",
    "ivf_fastscan": "IndexIVFPQFastScan",
    "ivf_rabitq": "IndexIVFRaBitQ",
    "ivf_sq8": "IndexIVFScalarQuantizer",
}


class Structure:
    """A structure over the rows of `vectors`, row for row; made by `train` and `add`, or by `open`.

    Searches may run in several threads. The neighbours of a query do not depend on what is asked beside it,
    but that inverted lists whose centres are equally near within rounding may be probed in either order.
    """

    def __init__(self, plan: Plan, index: Any, vectors: FlatIndex, *, fixed: bool) -> None:
        self.plan = plan
        self._faiss, self._vectors, self._fixed = index, vectors, fixed
        self._first = 0
        self._finder = Finder(plan, index)
        self._glance: NDArray[np.float32] | None = None

    @classmethod
    def train(
        cls,
        plan: Plan,
        vectors: FlatIndex,
        *,
        sample: int | None = None,
        seed: int = 0,
        excluded: NDArray[np.int64] | None = None,
    ) -> Structure:
        """An empty structure that has learnt from a sample of `vectors`; a graph needs none.

        sample: rows, by default 64 for each list; drawn by key, one from each of so many equal parts of the
        rows. excluded: rows that are not learnt from. The k-means runs on a GPU where there is one.

        Raises ConfigError when the vectors have another width than the plan or the sample is too small.
        """
        if plan.dim != vectors.dim:
            raise ConfigError(
                f"a plan for {plan.dim} dimensions over vectors of {vectors.dim}; make one anew"
            )
        # On unit vectors L2 ranks as the cosine does, and its quantisers find more than the cosine's.
        metric = faiss.METRIC_INNER_PRODUCT if plan.kind == "hnsw" else faiss.METRIC_L2
        index: Any = faiss.index_factory(plan.dim, plan.factory, metric)
        if plan.kind != "hnsw":
            rows = sampled(len(vectors), min(sample or plan.training, len(vectors)), seed)
            if excluded is not None:
                rows = rows[~np.isin(rows, excluded)]
            if len(rows) < plan.lists:
                raise ConfigError(
                    f"{len(rows)} vectors to learn {plan.lists} lists from; take more, or fewer lists"
                )
            trained(index, gathered(vectors, rows))
        return cls(plan, index, vectors, fixed=False)

    @classmethod
    def open(cls, path: Path, vectors: FlatIndex, *, mapped: bool = True, checked: bool = False) -> Structure:
        """Read a saved structure of `vectors`, which are searched with it.

        mapped: leave it in the file where FAISS can (not the fast-scan kind). An unmapped one of inverted
        lists can grow and may hold fewer rows. checked: read every byte and compare its checksum first.

        Raises ArtifactError when the file is missing, damaged, or of other vectors.
        """
        described = read_description(path, checked=checked)
        try:
            plan = Plan(**described["plan"])
        except TypeError as error:
            raise ArtifactError(f"{path} is damaged: {error}; build the index again") from error
        if (
            plan.dim != vectors.dim
            or not 0 <= described["count"] <= len(vectors)
            or (mapped and described["count"] != len(vectors))
        ):
            raise ArtifactError(
                f"{path} is of {described['count']} vectors of {plan.dim} dimensions, and there are "
                f"{len(vectors)} of {vectors.dim}; build the index again"
            )
        flags = (faiss.IO_FLAG_MMAP_IFC if mapped else 0) | faiss.IO_FLAG_SKIP_STORAGE
        try:
            index: Any = faiss.read_index(str(path), flags)
        except RuntimeError as error:
            raise ArtifactError(f"{path} is damaged: {error}; build the index again") from error
        found = (type(index).__name__, index.ntotal, index.d)
        if found != (_TYPES.get(plan.kind), described["count"], plan.dim):
            raise ArtifactError(f"{path} holds {found}, not what its trailer says; build the index again")
        if plan.kind == "hnsw":
            index.storage, index.own_fields = vectors.faiss_index, False
        return cls(plan, index, vectors, fixed=mapped or plan.kind == "hnsw")

    def __len__(self) -> int:
        return int(self._faiss.ntotal)

    @property
    def kind(self) -> Kind:
        """Which of the four structures it is."""
        return self.plan.kind

    @property
    def factory(self) -> str:
        """FAISS's name of the structure."""
        return self.plan.factory

    @property
    def dim(self) -> int:
        """Width D of the vectors."""
        return self.plan.dim

    @property
    def nbytes(self) -> int:
        """Bytes that searching all of it brings into memory, without the exact vectors."""
        index = self._faiss
        if self.kind == "hnsw":
            return int(
                4 * index.hnsw.neighbors.size() + 12 * len(self)
            )  # and where each row's begin, and levels
        return int(self.row_bytes * len(self) + 4 * index.nlist * self.dim)

    @property
    def row_bytes(self) -> int:
        """Bytes of a vector in inverted lists, its number included; 0 of a graph."""
        return 0 if self.kind == "hnsw" else int(self._faiss.code_size) + 8

    def efforts(self) -> tuple[Effort, ...]:
        """Efforts from quick to thorough."""
        return ladder(self.kind, self.plan.lists)

    def add(self, vectors: FlatIndex, start: int, stop: int) -> None:
        """Take rows start..stop of `vectors` in, which are searched with it from now on.

        They follow those that are in. A structure that begins elsewhere than at row 0 is a shard, which can
        be saved and merged but not searched. A graph is linked by chance where FAISS has several threads; all
        else is the same each time.

        Raises ConfigError when the rows do not follow or are not there, or the structure was opened to be
        searched.
        """
        if self._fixed:
            raise ConfigError(
                "a structure that was opened to be searched cannot grow; train one and add to it"
            )
        if vectors.dim != self.dim:
            raise ConfigError(f"vectors of {vectors.dim} dimensions for a structure of {self.dim}")
        follows = self._first + len(self) if len(self) else start
        if start != follows or not 0 <= start <= stop <= len(vectors):
            raise ConfigError(
                f"rows {start} to {stop} of {len(vectors)} for a structure that holds {len(self)} from row "
                f"{self._first} on; the next is row {follows}"
            )
        if not len(self):
            self._first = start
        self._vectors, self._finder, self._glance = vectors, Finder(self.plan, self._faiss), None
        for block in vectors.blocks(start, stop, max(_BLOCK_BYTES // (4 * self.dim), 1)):
            self._faiss.add(block)

    def save(self, path: Path) -> None:
        """Write it to a file, on the disk when this returns; ArtifactError when it cannot be written."""
        described = {"plan": asdict(self.plan), "factory": self.factory, "count": len(self)}
        write_structure_file(path, described, faiss_payload(self._faiss, faiss.IO_FLAG_SKIP_STORAGE))

    def placed(self) -> Structure:
        """On the GPU where there is one that can search this kind and holds it, else as it is."""
        if self.kind != "ivf_sq8" or not faiss.get_num_gpus():
            return self
        try:
            return self.on_gpu()
        except RuntimeError:  # FAISS's word for too little memory there
            return self

    def on_gpu(self) -> Structure:
        """The same structure searched on the GPU, filtered searches excepted; exact ranking stays here.

        Raises ConfigError where there is no GPU, or for a kind FAISS cannot search there.
        """
        if self.kind != "ivf_sq8" or not faiss.get_num_gpus():
            raise ConfigError(
                f"a structure of kind {self.kind} asked onto one of {faiss.get_num_gpus()} GPUs; there must "
                "be one, and of the kinds only ivf_sq8 can be searched there"
            )
        moved = Structure(self.plan, self._faiss, self._vectors, fixed=True)
        moved._finder = Finder(self.plan, self._faiss, faiss.index_cpu_to_all_gpus(self._faiss))
        return moved

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        effort: Effort,
        allowed: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """About the k nearest rows of float32 (Q, D) queries: rows int64 (Q, k), similarities float32 (Q, k).

        Arguments, order and errors as `FlatIndex.search`; also ConfigError for an effort of another kind of
        structure and for one that holds not all vectors. Never fewer than k where so many may be found.
        """
        vectors = self._vectors
        self._check(effort)
        vectors.check(k, allowed)
        unit = vectors.unit(queries, "queries")
        count = effort.candidates * max(k, USUAL)
        there = len(vectors) if allowed is None else int(np.count_nonzero(allowed))
        if count >= there or (allowed is not None and there <= self._few(effort)):
            return vectors.exact(unit, k, allowed)
        candidates = self._finder.candidates(unit, count, effort, allowed, there)
        rows, similarities = vectors.reranked(unit, candidates, k)
        doubtful = rows[:, -1] < 0
        if allowed is not None:
            doubtful |= (candidates[:, count // 2] < 0) | self._far(unit, similarities[:, -1], k / there)
        again = np.flatnonzero(doubtful)
        if len(again):
            rows[again], similarities[again] = vectors.exact(unit[again], k, allowed)
        return rows, similarities

    def _few(self, effort: Effort) -> float:
        """So many allowed rows, or fewer, are searched exactly: it finds all and is no slower."""
        few = max(_FEW_ROWS, _FEW_SHARE * len(self))
        if effort.ef_search is not None:  # a graph is walked past all that is not allowed
            few = max(few, math.sqrt(_WALK * effort.ef_search * len(self)))
        return few

    def _far(self, unit: NDArray[np.float32], last: NDArray[np.float32], share: float) -> NDArray[np.bool_]:
        """Queries (Q,) whose last neighbour (Q,) is farther than many rows that are not allowed.

        Then the filter hides where the query looks, and the structure, which looks there first, cannot be
        trusted. share: of the allowed rows that are neighbours, which says how many rows may be nearer.
        """
        if self._glance is None:
            self._glance = gathered(self._vectors, sampled(len(self), min(_GLANCE, len(self)), seed=0))
        nearer = np.count_nonzero(unit @ self._glance.T > last[:, None], axis=1) / len(self._glance)
        far: NDArray[np.bool_] = nearer > max(_FAR, 4 * share)
        return far

    def _check(self, effort: Effort) -> None:
        if (effort.ef_search is None) != (self.kind != "hnsw") or (effort.probes is None) != (
            self.kind == "hnsw"
        ):
            raise ConfigError(
                f"{effort} asked of a structure of kind {self.kind}; take one of its efforts(), such as "
                f"{self.efforts()[-1]}"
            )
        if self._first or len(self) != len(self._vectors):
            raise ConfigError(
                f"a structure of {len(self)} rows from row {self._first} on cannot search "
                f"{len(self._vectors)} vectors; add the others, or merge the shards, first"
            )
