"""Measuring a search structure: recall of held-out queries with its interval, times and memory."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.neighbours.flat import FlatIndex
from sslkit.neighbours.plan import Effort
from sslkit.neighbours.structure import Structure

LEVEL = 1.959964  # standard deviations of a 95 % interval
_SPARE = 16  # neighbours asked for beyond k, to take the places of held-out rows
_TIE = 2e-6  # similarities closer than this may have been told apart by rounding alone
_SINGLES = 100  # queries timed one by one
_SECONDS = 1.0  # spent on them, more or less
_FEWEST = 5
_WARM = 5  # searched before, so that what is first read from the disk is not timed


@dataclass(frozen=True)
class Trial:
    """One structure at one effort, measured; a line of the trade-off table.

    kind, factory: the structure, "flat" for exact search. effort: None where there is nothing to choose.
    rows: how many it was measured on. recall: mean share of the true k nearest that it finds, and its 95 %
    interval low to high over queries. milliseconds: one query by itself, median; batch_milliseconds: for each
    of a batch of queries. nbytes: memory, as `Wanted.memory` counts it. build_seconds: training and adding.
    chosen: what the index will use. note: what else there is to say.
    """

    kind: str
    factory: str
    effort: Effort | None
    rows: int
    recall: float
    low: float
    high: float
    milliseconds: float
    batch_milliseconds: float
    nbytes: int
    build_seconds: float
    chosen: bool = False
    note: str = ""

    def expected(self, rows: int) -> Trial:
        """What a trial on a sample lets expect of `rows`, the recall being the same.

        Lists are as many as the root of the rows, so that a probe scans as many rows as the root of them. A
        graph is searched in about their logarithm (Malkov and Yashunin 2018, section 4.2.1).
        """
        grown = rows / self.rows
        slower = math.log(rows) / math.log(self.rows) if self.kind == "hnsw" else math.sqrt(grown)
        return replace(
            self, rows=rows, milliseconds=self.milliseconds * slower, nbytes=math.ceil(self.nbytes * grown)
        )

    def in_words(self, k: int) -> str:
        """One line for a log; k of the recall."""
        return (
            f"{self.factory}: recall@{k} {self.recall:.3f} ({self.low:.3f} to {self.high:.3f}), "
            f"{self.milliseconds:.2f} ms a query, {self.nbytes / 2**20:.1f} MiB, built in "
            f"{self.build_seconds:.1f} s"
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Trial:
        """The trial of a `to_dict`."""
        effort = None if plain["effort"] is None else Effort(**plain["effort"])
        return cls(**{**plain, "effort": effort})


class HeldOut:
    """Queries (Q, D) and what they must find among the rows of `vectors`: their k nearest, exactly.

    rows: where the queries stand in `vectors`, int64 (Q,); None when they are not among them. Inverted lists
    are asked with all of these rows left out, which for them is as if they were not there. A graph that
    leaves them out still comes past them and sees their neighbours (recall .986 for .965 with a queue of 16),
    so each query is asked as any other would be and leaves out itself alone; its links remain (.972).
    """

    def __init__(
        self, vectors: FlatIndex, queries: NDArray[np.float32], k: int, rows: NDArray[np.int64] | None = None
    ) -> None:
        self.vectors, self.queries, self.rows = vectors, queries, rows
        self.k = min(k, len(vectors) - (0 if rows is None else len(rows)))
        spare = 0 if rows is None else _SPARE
        began = time.perf_counter()
        found, near = vectors.search(queries, min(self.k + spare, len(vectors)))
        self._seconds = (time.perf_counter() - began) / len(queries)
        # Similarities of each query with the last of its k nearest, (Q,).
        self._edges = near[:, self.k - 1]
        if rows is not None:
            self._edges_of_all = near[
                :, self.k
            ]  # of all but itself, which is the first or equal to those before
            self._allowed = np.ones(len(vectors), dtype=np.bool_)
            self._allowed[rows] = False
            self._edges = self._edges_without(found, near)

    def _edges_without(self, found: NDArray[np.int64], near: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of the rows that are not held out."""
        order = np.cumsum(self._allowed[found], axis=1)
        edges: NDArray[np.float32] = near[np.arange(len(near)), np.argmax(order == self.k, axis=1)]
        few = np.flatnonzero(order[:, -1] < self.k)
        if len(few):
            edges[few] = self.vectors.search(self.queries[few], self.k, allowed=self._allowed)[1][:, -1]
        return edges

    def shares(self, structure: Structure, effort: Effort) -> NDArray[np.float64]:
        """The share of its k nearest that each query finds, float64 (Q,).

        A row found counts when it is as similar as the k-th nearest (as in ANN-Benchmarks, Aumüller et al.
        2020), so that of equal vectors any will do; the similarity is computed here once more.
        """
        edges, more, allowed = self._edges, 0, None
        if self.rows is not None and structure.kind == "hnsw":
            edges, more = self._edges_of_all, 1
        elif self.rows is not None:
            allowed = self._allowed
        found, _ = structure.search(self.queries, self.k + more, effort=effort, allowed=allowed)
        near = np.full(found.shape, -np.inf, dtype=np.float32)
        there = found >= 0
        if there.any():
            candidates = self.vectors.rows(found[there])
            near[there] = np.einsum("nd,nd->n", candidates, self.queries[np.nonzero(there)[0]])
        if allowed is not None:
            near[there & ~allowed[found]] = -np.inf
        elif self.rows is not None:
            near[found == self.rows[:, None]] = -np.inf
        hits = np.count_nonzero(near >= edges[:, None] - _TIE, axis=1)
        share: NDArray[np.float64] = np.minimum(hits, self.k) / self.k
        return share

    def milliseconds(self, search: Callable[[NDArray[np.float32]], Any]) -> float:
        """The median time of one query searched by itself."""
        for at in range(min(_WARM, len(self.queries))):
            search(self.queries[at : at + 1])
        times: list[float] = []
        while len(times) < _SINGLES and (len(times) < _FEWEST or sum(times) < _SECONDS):
            at = len(times) % len(self.queries)
            began = time.perf_counter()
            search(self.queries[at : at + 1])
            times.append(time.perf_counter() - began)
        return 1e3 * statistics.median(times)

    def trial(self, structure: Structure, effort: Effort, build_seconds: float) -> Trial:
        """Measure a structure over all of `vectors`."""

        def search(queries: NDArray[np.float32]) -> Any:
            return structure.search(queries, self.k, effort=effort)

        recall, low, high = interval(self.shares(structure, effort), self.k)
        began = time.perf_counter()
        search(self.queries)
        batch = 1e3 * (time.perf_counter() - began) / len(self.queries)
        return Trial(
            structure.kind,
            structure.factory,
            effort,
            len(self.vectors),
            recall,
            low,
            high,
            self.milliseconds(search),
            batch,
            structure.nbytes + (self._exact_bytes if structure.kind == "hnsw" else 0),
            build_seconds,
        )

    def exact_trial(self) -> Trial:
        """Exact search over all of `vectors`."""
        one = self.milliseconds(lambda queries: self.vectors.search(queries, self.k))
        batch = 1e3 * self._seconds
        return Trial(
            "flat", "Flat", None, len(self.vectors), 1.0, 1.0, 1.0, one, batch, self._exact_bytes, 0.0
        )

    @property
    def _exact_bytes(self) -> int:
        return len(self.vectors) * self.vectors.dim * 4


def interval(shares: NDArray[np.float64], k: int) -> tuple[float, float, float]:
    """Mean of the shares (Q,) of k neighbours found, and the ends of its 95 % interval over queries.

    Wilson's (1927) interval of a proportion, for as many independent neighbours as have the variance seen
    between queries (the effective sample size of Korn and Graubard 1998): at least Q, where the neighbours of
    a query are all found or all missed, at most Q k. Unlike a bootstrap it has a width when every share is 1.
    """
    count = len(shares)
    mean = float(shares.mean())
    variance = float(shares.var(ddof=1)) if count > 1 else 0.0
    size = mean * (1 - mean) / variance * count if variance > 0 else count
    size = min(max(size, count), count * k)
    square = LEVEL**2 / size
    centre = (mean + square / 2) / (1 + square)
    reach = LEVEL / (1 + square) * math.sqrt(mean * (1 - mean) / size + square / (4 * size))
    return mean, max(centre - reach, 0.0), min(centre + reach, 1.0)
