"""What is in a set: groups of similar items, by spherical k-means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, rel_entr

from sslkit.errors import ConfigError
from sslkit.neighbours.kmeans import SAMPLE, drawn, spherical_kmeans
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.curation.neighbours import BLOCK, Progress, meant_ids
from sslkit.retrieval.filters import Where

MOST = 256
"""Clusters that `auto` tries at most; it also leaves ten items to a cluster."""

_TRIED_ON = 8192  # items on which numbers of clusters are compared
_LEAST = 10  # items of the sample to a cluster
_FINER = 6  # numbers tried between the two beside the best


@dataclass(frozen=True)
class Clusters:
    """K clusters of N items, the largest first.

    ids: int64 (N,), ascending; of: cluster of each, int64 (N,); similarities: cosine with its centre, float32
    (N,); centres: float32 (K, D), unit; trials: what `auto` tried, {clusters: silhouette}.
    """

    ids: NDArray[np.int64]
    of: NDArray[np.int64]
    similarities: NDArray[np.float32]
    centres: NDArray[np.float32]
    trials: dict[int, float]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Items of each cluster, int64 (K,), descending."""
        return np.bincount(self.of, minlength=len(self.centres))

    def members(self, cluster: int) -> NDArray[np.int64]:
        """Places in `ids` of a cluster's items, the nearest to its centre first: they represent it."""
        rows = np.flatnonzero(self.of == cluster)
        return rows[np.argsort(-self.similarities[rows], kind="stable")]


def clustered(
    index: Index,
    count: int | None,
    *,
    where: Where | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Clusters:
    """Part the items that `where` means into `count` clusters; None tries numbers and takes the clearest.

    Centres are learnt from at most 256 items for each, drawn by key; then each item goes to the nearest: time
    O(N K D) and memory O(256 K D + N), whatever the index's structure.

    Raises ConfigError for more clusters than items, DataError when nothing is meant.
    """
    ids = meant_ids(index, where)
    if count is not None and not 1 <= count <= len(ids):
        raise ConfigError(f"{count} clusters of {len(ids)} items; there may be 1 to {len(ids)}")
    trials: dict[int, float] = {}
    if count is None:
        trials = silhouettes(index.vectors(ids[drawn(len(ids), _TRIED_ON, seed)]), seed=seed)
        count = max(trials, key=lambda tried: trials[tried]) if trials else 1
    sample = index.vectors(ids[drawn(len(ids), SAMPLE * count, seed)])
    centres = spherical_kmeans(sample, count, seed=seed)
    of, similarities = np.empty(len(ids), np.int64), np.empty(len(ids), np.float32)
    for start in range(0, len(ids), BLOCK):
        part = slice(start, start + BLOCK)
        of[part], similarities[part] = assigned(index.vectors(ids[part]), centres)
        if progress is not None:
            progress(min(start + BLOCK, len(ids)), len(ids))
    order = np.argsort(-np.bincount(of, minlength=count), kind="stable")
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    return Clusters(ids, rank[of], similarities, centres[order], trials)


def assigned(
    vectors: NDArray[np.float32], centres: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The nearest centre of each vector, int64 (N,), and the cosine with it, float32 (N,)."""
    near = vectors @ centres.T
    of = near.argmax(1)
    return of, np.clip(near[np.arange(len(of)), of], -1, 1)


def silhouettes(vectors: NDArray[np.float32], *, seed: int = 0) -> dict[int, float]:
    """How clearly unit vectors (N, D) part into several numbers of clusters: {clusters: silhouette}.

    Numbers grow by a factor of root two from 2 to N / 10, 256 at most; then those beside the best are tried.
    """
    most = min(MOST, len(vectors) // _LEAST)
    tried: dict[int, float] = {}

    def attempt(counts: Sequence[int]) -> None:
        for count in counts:
            if count not in tried:
                tried[count] = silhouette(vectors, spherical_kmeans(vectors, count, seed=seed))

    ladder = sorted({round(2 ** (step / 2)) for step in range(2, 40)} & set(range(2, most + 1)))
    attempt(ladder)
    if ladder:
        best = max(ladder, key=lambda count: tried[count])
        beside = [pair for pair in pairwise(ladder) if best in pair]
        attempt([round(x) for low, high in beside for x in np.linspace(low, high, _FINER // 2 + 2)[1:-1]])
    return dict(sorted(tried.items()))


def silhouette(vectors: NDArray[np.float32], centres: NDArray[np.float32]) -> float:
    """Mean of (b - a) / max(a, b), where a and b are the cosine distances to the nearest and the next centre.

    The simplified silhouette: Hruschka, de Castro and Campello, "Evolutionary Algorithms for Clustering
    Gene-Expression Data", ICDM 2004, after Rousseeuw 1987. Raises ConfigError for fewer than two centres.
    """
    if len(centres) < 2:
        raise ConfigError("a silhouette of one cluster; it needs two at least")
    distances = np.sort(np.maximum(1 - (vectors @ centres.T).astype(np.float64), 0), axis=1)[:, :2]
    return float(np.mean((distances[:, 1] - distances[:, 0]) / np.maximum(distances[:, 1], 1e-12)))


def purity(of: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Share of items of their cluster's most frequent class; grows with the number of clusters."""
    return float(_shares(of, labels).max(1).sum())


def mutual_information(of: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """Normalised mutual information of clusters and classes, 0 to 1: by the mean of both entropies.

    Strehl and Ghosh, "Cluster Ensembles", JMLR 2002. It too grows with the number of clusters; 1 where both
    are one group.
    """
    both = _shares(of, labels)
    of_clusters, of_classes = both.sum(1), both.sum(0)
    mutual = rel_entr(both, np.outer(of_clusters, of_classes)).sum()
    mean = (entr(of_clusters).sum() + entr(of_classes).sum()) / 2
    return float(mutual / mean) if mean > 0 else 1.0


def _shares(of: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the items of each cluster and class."""
    counts = np.zeros((int(of.max()) + 1, int(labels.max()) + 1))
    np.add.at(counts, (of, labels), 1)
    return counts / len(of)
