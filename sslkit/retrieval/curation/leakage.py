"""Items of one set that are in another one too, or nearly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ArtifactError, ConfigError
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.curation.duplicates import THRESHOLD
from sslkit.retrieval.curation.neighbours import Progress, meant_ids, nearest_of
from sslkit.retrieval.filters import Where

LADDER = (0.999, 0.99, 0.98, 0.95, 0.9)
"""Thresholds of which is told how many items reach them."""

_ROUNDING = 1e-6  # of the cosine of copies


@dataclass(frozen=True)
class Leaks:
    """What of N items another set holds too.

    ids: int64 (N,), ascending; nearest: id of the most similar item of the other set, int64 (N,), -1 where
    none was found; similarities: cosines float32 (N,), -inf there; threshold: least cosine at which an item
    is taken for leaked; others: size of the other set.
    """

    ids: NDArray[np.int64]
    nearest: NDArray[np.int64]
    similarities: NDArray[np.float32]
    threshold: float
    others: int

    @property
    def rows(self) -> NDArray[np.int64]:
        """Places in `ids` of what leaked, int64, most similar first."""
        leaked = np.flatnonzero(self.similarities >= self.threshold - _ROUNDING)
        return leaked[np.argsort(-self.similarities[leaked].round(5), kind="stable")]

    def count(self, threshold: float) -> int:
        """Items whose nearest reaches a threshold."""
        return int((self.similarities >= threshold - _ROUNDING).sum())


def leaks(
    index: Index,
    other: Index,
    *,
    where: Where | None = None,
    other_where: Where | None = None,
    threshold: float = THRESHOLD,
    exact: bool = False,
    progress: Progress | None = None,
) -> Leaks:
    """Of each item of `index` that `where` means the nearest of `other` that `other_where` means.

    Both may be the same index in two parts without a common item. N searches in the other index.

    Raises:
        ConfigError: the threshold is out of range, or two parts of one index share an item.
        ArtifactError: the indexes are of different models, or one changed meanwhile.
        DataError: nothing is meant.
    """
    if not -1 <= threshold <= 1:
        raise ConfigError(f"threshold={threshold}: a cosine of -1 to 1 is needed, such as {THRESHOLD}")
    if index.model_hash != other.model_hash:
        raise ArtifactError(
            f"{index.path} was made by model {index.model_hash} and {other.path} by {other.model_hash}; only "
            "vectors of one model can be compared: embed both with the same"
        )
    ids, others = meant_ids(index, where), meant_ids(other, other_where)
    if index.path.resolve() == other.path.resolve() and len(both := np.intersect1d(ids, others)):
        raise ConfigError(
            f"{len(both)} items are in both parts of {index.path}: {index.items(both[:1])[0].name!r}; "
            "the conditions of the two must exclude each other"
        )
    nearest = np.empty(len(ids), np.int64)
    similarities = np.empty(len(ids), np.float32)
    for rows, found, near in nearest_of(
        index, ids, 1, among=other, where=other_where, exact=exact, progress=progress
    ):
        nearest[rows], similarities[rows] = found[:, 0], near[:, 0]
    return Leaks(ids, nearest, similarities, threshold, len(others))
