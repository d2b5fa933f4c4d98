"""The neighbours of every row of a corpus, block by block, with ranks counted as a miner counts them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sslkit.errors import DataError
from sslkit.mining.choice import ranked
from sslkit.neighbours.corpus import CorpusIndex

Rows = NDArray[np.int64]

BLOCK = 1024
"""Queries at a time."""

_LARGEST_GROUP = 1000  # neighbours asked for beyond the others, since a group may hold the nearest ones
_SCAN = 8192  # rows compared at a time
_PAIRS = 1 << 24  # similarities held at a time
_TIE = 1e-6  # what rounding makes of equal similarities


class Block(NamedTuple):
    """Anchors (B,) with their k nearest rows (B, k), nearest first, -1 where there is none.

    ranks: among other samples, see `ranked`, -1 where not `allowed`: the anchor itself and its group.
    """

    anchors: Rows
    rows: Rows
    similarities: NDArray[np.float32]
    ranks: Rows
    allowed: NDArray[np.bool_]


@dataclass(frozen=True)
class Corpus:
    """Embeddings as float16 unit vectors (N, D), zero where one has no direction, with an index over them.

    sound: the rows that have one, in order. labels, groups: int64 (N,), or None where unknown.
    """

    vectors: NDArray[np.float16]
    sound: Rows
    labels: Rows | None
    groups: Rows | None
    index: CorpusIndex

    @classmethod
    def of(cls, embeddings: Tensor, labels: Rows | None, groups: Rows | None) -> Corpus:
        """From embeddings of any float type and length; DataError where fewer than three can be compared."""
        largest = embeddings.abs().amax(dim=1)
        sound = np.flatnonzero(((largest > 0) & largest.isfinite()).numpy())
        if len(sound) < 3:
            raise DataError(
                f"{len(sound)} of {len(embeddings)} embeddings are finite and not all zero; at least 3 are "
                "needed to compare"
            )
        vectors = np.zeros(embeddings.shape, np.float16)
        for start in range(0, len(sound), _SCAN):
            rows = sound[start : start + _SCAN]
            vectors[rows] = F.normalize(embeddings[rows].float() / largest[rows, None], dim=1).numpy()
        return cls(vectors, sound, labels, groups, CorpusIndex.build(vectors, sound))

    def unit(self, rows: Rows) -> Tensor:
        """Float32 unit vectors (R, D)."""
        return F.normalize(torch.from_numpy(self.vectors[rows]).float(), dim=1)

    def neighbours(self, anchors: Rows, count: int) -> Iterator[Block]:
        """Blocks of anchors with at least `count` neighbours each, where there are so many."""
        together = 1 if self.groups is None else int(np.unique(self.groups, return_counts=True)[1].max())
        k = min(count + min(together, _LARGEST_GROUP), len(self.sound))
        own = torch.arange(len(self.vectors))
        groups = own if self.groups is None else torch.from_numpy(self.groups)
        for start in range(0, len(anchors), BLOCK):
            block = anchors[start : start + BLOCK]
            rows, similarities = self.index.search(self.vectors[block].astype(np.float32), k)
            ranks, allowed = ranked(
                torch.from_numpy(rows), own[block], groups[block], None if self.groups is None else groups
            )
            yield Block(block, rows, similarities, ranks.numpy(), allowed.numpy())

    def complete(self, own: Rows) -> None:
        """Find, in place and exactly, the nearest of each row's own class where `own` (N,) is -1."""
        assert self.labels is not None
        lost = self.sound[own[self.sound] < 0]
        for label in np.unique(self.labels[lost]):
            members = self.sound[self.labels[self.sound] == label]
            anchors = lost[self.labels[lost] == label]
            candidates = self.unit(members).T
            step = max(_PAIRS // len(members), 1)
            for start in range(0, len(anchors), step):
                block = anchors[start : start + step]
                near = (self.unit(block) @ candidates).numpy()
                near[self._together(block, members)] = -np.inf
                best = near.argmax(axis=1)
                there = np.isfinite(near[np.arange(len(block)), best])
                own[block[there]] = members[best[there]]

    def measured(self, anchors: Rows, others: Rows) -> tuple[NDArray[np.float32], Rows]:
        """Exact similarities (P,) and ranks (P,) of pairs of rows, over the whole corpus."""
        queries = self.unit(anchors)
        similarities = (queries * self.unit(others)).sum(1).numpy()
        ranks = np.zeros(len(anchors), dtype=np.int64)
        for start in range(0, len(self.sound), _SCAN):
            rows = self.sound[start : start + _SCAN]
            nearer = (queries @ self.unit(rows).T).numpy() > similarities[:, None] + _TIE
            ranks += (nearer & ~self._together(anchors, rows)).sum(axis=1)
        return np.minimum(similarities, 1.0), ranks

    def similarities(self, anchors: Rows, others: Rows) -> NDArray[np.float64]:
        """Of pairs of rows (P,); -inf where the other is -1."""
        similarities = np.full(len(anchors), -np.inf)
        there = np.flatnonzero(others >= 0)
        for start in range(0, len(there), _SCAN):
            part = there[start : start + _SCAN]
            similarities[part] = (self.unit(anchors[part]) * self.unit(others[part])).sum(1).numpy()
        return similarities

    def _together(self, anchors: Rows, rows: Rows) -> NDArray[np.bool_]:
        """Whether rows are the anchors themselves or of their group: bool (A, R)."""
        of = np.arange(len(self.vectors)) if self.groups is None else self.groups
        same: NDArray[np.bool_] = of[anchors][:, None] == of[rows][None, :]
        return same
