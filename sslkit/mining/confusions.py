"""What a representation confuses: the pairs it puts too near, or too far, over a whole corpus.

With labels the neighbours that should be negatives are those of another class; without, all other samples
are, save those of one group and near-duplicates. Ranks count from 0, the nearest other sample, and leave out
the anchor's own group, as a miner's do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sslkit.errors import ConfigError, DataError
from sslkit.keyed_random import permutation
from sslkit.mining.neighbourhoods import BLOCK, Block, Corpus, Rows

Kind = Literal["confused", "far", "near-duplicate"]
RANK_EDGES = (0, 10, 50, 200, 500)

_NEAR = 64  # neighbours of every sample among which its pairs are looked for
_VOTES = 10  # nearest neighbours that say which classes are confused
_ANCHORS = 4096  # samples whose 500 nearest are counted; the standard error of a share is then below 0.01


class Pair(NamedTuple):
    """Two rows; rank: of the neighbour as the anchor sees it, 0 being the nearest other sample."""

    kind: Kind
    anchor: int
    neighbour: int
    similarity: float
    rank: int


class RankBand(NamedTuple):
    """Ranks first to last: the share of neighbours with the anchor's own class, and their mean similarity."""

    first: int
    last: int
    false_negatives: float
    similarity: float


class ClassPair(NamedTuple):
    """The share of the ten nearest neighbours of class `anchor` that are of class `neighbour`."""

    anchor: int
    neighbour: int
    share: float


@dataclass(frozen=True)
class Confusions:
    """What was found; rows are those of the embeddings.

    pairs: confused ones first, most similar first, then "near-duplicate", then "far" ones, worst first; in
    the pairs of one kind a row stands once. bands, chance: with labels, shares of false negatives by rank and
    for any two samples. classes: most confused first. crowded: share of rows with a neighbour at the cap or
    above. blank: rows without direction, left out; alone: rows whose neighbours were all of their own group.
    index: how neighbours were found.
    """

    pairs: tuple[Pair, ...]
    bands: tuple[RankBand, ...]
    chance: float | None
    classes: tuple[ClassPair, ...]
    crowded: float
    blank: int
    alone: int
    index: str


def find_confusions(
    embeddings: Tensor,
    labels: Rows | None,
    groups: Rows | None,
    *,
    pairs: int,
    cap: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Confusions:
    """Pairs and tables of float embeddings (N, D) with labels and groups int64 (N,), where known.

    pairs: how many of each kind. cap: without labels, pairs at least this similar are near-duplicates.
    progress: told (blocks done, of how many). Exact up to the size at which a corpus index is no longer; the
    ranks and similarities of the pairs are always of the whole corpus. Raises ConfigError for options out of
    range, DataError where fewer than three rows have a direction.
    """
    if pairs < 1 or not -1 < cap <= 1:
        raise ConfigError(
            f"{pairs} pairs and a cap of {cap}; pairs must be at least 1 and the cap a cosine, such as 0.98"
        )
    corpus = Corpus.of(embeddings, labels, groups)
    sampled = np.sort(corpus.sound[permutation(len(corpus.sound), seed=0, epoch=0)[:_ANCHORS].numpy()])
    blocks = [-(-len(rows) // BLOCK) for rows in (corpus.sound, sampled)]
    total = blocks[0] if labels is None else sum(blocks)
    near = _Nearest.empty(len(embeddings))
    for done, block in enumerate(corpus.neighbours(corpus.sound, _NEAR), start=1):
        near.take(block, labels, cap)
        progress(done, total)
    if near.alone == len(corpus.sound):
        raise DataError("all samples are of one group, so none may be compared; give groups that differ")
    bands: tuple[RankBand, ...] = ()
    if labels is not None:
        corpus.complete(near.own)
        sums = np.zeros((len(RANK_EDGES) - 1, 3))
        for done, block in enumerate(corpus.neighbours(sampled, RANK_EDGES[-1]), start=blocks[0] + 1):
            sums += _band_sums(block, labels)
            progress(done, total)
        bands = _bands(sums)
    return Confusions(
        pairs=tuple(_pairs(corpus, near, pairs)),
        bands=bands,
        chance=None if labels is None else _chance(labels[corpus.sound]),
        classes=() if labels is None else near.confused_classes(labels),
        crowded=float(near.crowded[corpus.sound].mean()),
        blank=len(embeddings) - len(corpus.sound),
        alone=near.alone,
        index=corpus.index.describe(),
    )


def _pairs(corpus: Corpus, near: _Nearest, count: int) -> Iterator[Pair]:
    every = np.arange(len(corpus.vectors))
    other = corpus.similarities(every, near.other)
    sorts: list[tuple[Kind, Rows, NDArray[np.float64]]] = [("confused", near.other, other)]
    if corpus.labels is None:
        duplicate = corpus.similarities(every, near.duplicate)
        sorts.append(("near-duplicate", near.duplicate, duplicate))
    else:
        own = corpus.similarities(every, near.own)
        # How much nearer a sample of another class is than any of its own: only where it is at all.
        behind = np.where(np.isfinite(own) & (other > own), other - np.maximum(own, -1), -np.inf)
        sorts.append(("far", near.own, behind))
    for kind, partners, keys in sorts:
        anchors = _apart(partners, keys, count)
        similarities, ranks = corpus.measured(anchors, partners[anchors])
        for anchor, similarity, rank in zip(anchors, similarities, ranks, strict=True):
            yield Pair(kind, int(anchor), int(partners[anchor]), float(similarity), int(rank))


@dataclass
class _Nearest:
    """For each row (N,) the nearest row of a sort, -1 where none was met; and who is near whom by class."""

    other: Rows
    own: Rows
    duplicate: Rows
    crowded: NDArray[np.bool_]
    votes: list[Rows]
    alone: int = 0

    @classmethod
    def empty(cls, count: int) -> _Nearest:
        other, own, duplicate = np.full((3, count), -1, dtype=np.int64)
        return cls(other, own, duplicate, np.zeros(count, dtype=np.bool_), [])

    def take(self, block: Block, labels: Rows | None, cap: float) -> None:
        self.alone += int((~block.allowed.any(axis=1)).sum())
        near = block.allowed & (block.similarities >= cap)
        self.crowded[block.anchors] = near.any(axis=1)
        if labels is None:
            self.duplicate[block.anchors] = _first(block.rows, near)
            self.other[block.anchors] = _first(block.rows, block.allowed & ~near)
            return
        same = labels[block.rows] == labels[block.anchors][:, None]
        self.other[block.anchors] = _first(block.rows, block.allowed & ~same)
        self.own[block.anchors] = _first(block.rows, block.allowed & same)
        voting = block.allowed & (block.ranks < _VOTES)
        anchors = np.broadcast_to(labels[block.anchors][:, None], block.rows.shape)
        self.votes.append(np.stack([anchors[voting], labels[block.rows][voting]], axis=1))

    def confused_classes(self, labels: Rows) -> tuple[ClassPair, ...]:
        """The ten pairs of classes with the largest shares."""
        votes, counts = np.unique(np.concatenate(self.votes), axis=0, return_counts=True)
        cast = np.zeros(labels.max() + 1)
        np.add.at(cast, votes[:, 0], counts)
        pairs = [
            ClassPair(int(a), int(b), float(count / cast[a]))
            for (a, b), count in zip(votes, counts, strict=True)
            if a != b
        ]
        return tuple(sorted(pairs, key=lambda pair: -pair.share)[:10])


def _first(rows: Rows, wanted: NDArray[np.bool_]) -> Rows:
    """The first wanted row of each line (B, k), -1 where there is none."""
    column = wanted.argmax(axis=1)
    lines = np.arange(len(rows))
    return np.where(wanted[lines, column], rows[lines, column], -1)


def _apart(partners: Rows, keys: NDArray[np.float64], count: int) -> Rows:
    """Up to `count` anchors with the largest finite keys, no row being in two pairs."""
    met: set[int] = set()
    chosen: list[int] = []
    for anchor in np.argsort(-keys, kind="stable").tolist():
        if len(chosen) == count or not np.isfinite(keys[anchor]):
            break
        if not {anchor, int(partners[anchor])} & met:
            met |= {anchor, int(partners[anchor])}
            chosen.append(anchor)
    return np.array(chosen, dtype=np.int64)


def _band_sums(block: Block, labels: Rows) -> NDArray[np.float64]:
    """For each band: neighbours, those of the anchor's class, and the sum of similarities; (bands, 3)."""
    same = labels[block.rows] == labels[block.anchors][:, None]
    sums = []
    for first, after in pairwise(RANK_EDGES):
        within = (block.ranks >= first) & (block.ranks < after)
        sums.append([within.sum(), (within & same).sum(), block.similarities[within].sum(dtype=np.float64)])
    return np.array(sums, dtype=np.float64)


def _bands(sums: NDArray[np.float64]) -> tuple[RankBand, ...]:
    return tuple(
        RankBand(first, after - 1, float(same / count), float(similarity / count))
        for (first, after), (count, same, similarity) in zip(pairwise(RANK_EDGES), sums, strict=True)
        if count
    )


def _chance(labels: Rows) -> float:
    """The share of pairs of samples that are of one class."""
    counts = np.unique(labels, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1)).sum() / (len(labels) * (len(labels) - 1)))
