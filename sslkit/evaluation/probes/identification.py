"""Identification: whose is this sample? Its class is looked up in a gallery of few samples of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sslkit.contracts import Curve, Features
from sslkit.errors import ConfigError, DataError
from sslkit.evaluation.judged import PerSample
from sslkit.evaluation.metrics import check_labels
from sslkit.evaluation.unit_rows import unit_rows
from sslkit.keyed_random import hashed, word

_AT_ONCE = 512
"""Samples that are looked up together."""
_DRAWN_RANKS = 20  # of the curve


class Identification:
    """gallery: samples of each class that are known, a draw of the trial; all others are looked up.

    A class is as alike as the nearest of its known samples. rank1, rank5: shares whose class is the most
    alike, or among five; of equal classes the lower comes first. left_out: share of the test samples whose
    class has no more than `gallery` of them; they are neither known nor looked up.
    """

    fitted: ClassVar[bool] = False
    target: ClassVar[str] = "label"
    metric: ClassVar[str] = "rank1"
    higher_is_better: ClassVar[bool] = True
    protocol: ClassVar[str] = "identification-1"

    def __init__(self, *, gallery: int) -> None:
        if gallery < 1:
            raise ConfigError(f"gallery={gallery}: at least one sample of each class must be known")
        self._gallery = gallery

    def __call__(
        self, train: Features | None, test: Features, classes: Sequence[str], *, trial: int
    ) -> PerSample:
        """Look up every sample that is not known; raises DataError where less than two classes can be."""
        check_labels(test.labels, len(test), len(classes))
        rows = unit_rows(test.embeddings)
        keys = hashed(trial, word("gallery"), test.ids).numpy()
        labels = test.labels.numpy()
        by_class = np.lexsort((keys, labels))
        ordered = labels[by_class]
        place = np.empty(len(labels), np.int64)  # of a sample within its class, in the order drawn
        place[by_class] = np.arange(len(labels)) - np.searchsorted(ordered, ordered)
        enough = np.bincount(labels)[labels] > self._gallery
        # By class, so that the known samples of each stand together.
        known = by_class[(enough & (place < self._gallery))[by_class]]
        wanted = torch.from_numpy(np.flatnonzero(enough & (place >= self._gallery)))
        columns = np.unique(labels[known])
        if len(columns) < 2:
            raise DataError(
                f"{len(columns)} of {len(np.unique(labels))} classes have more than gallery={self._gallery} "
                "test samples; two are needed, so give more samples of each class or a smaller gallery"
            )
        own = torch.from_numpy(np.searchsorted(columns, labels[wanted.numpy()]))
        ranks, nearest = _looked_up(rows[wanted], rows[torch.from_numpy(known)], own, len(columns))
        rank = torch.full((len(labels),), torch.nan, dtype=torch.float64)
        rank[wanted] = ranks.double()
        predicted = test.labels.clone()  # the known are what they are
        predicted[wanted] = torch.from_numpy(columns)[nearest]
        return PerSample(
            {
                "rank1": _within(rank, 1),
                "rank5": _within(rank, 5),
                "left_out": torch.from_numpy(~enough).double(),
            },
            groups=test.labels,
            classes=classes,
            curves={"cmc": _curve(ranks, len(columns))},
            predicted=predicted,
        )


def _looked_up(queries: Tensor, known: Tensor, own: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """The rank from 1 of the own class of each query, and the best class; known: (classes * gallery, D)."""
    ranks, nearest = [], []
    for some, theirs in zip(torch.split(queries, _AT_ONCE), torch.split(own, _AT_ONCE), strict=True):
        alike = (some @ known.T).view(len(some), classes, -1).amax(dim=2)
        mine = alike.gather(1, theirs[:, None])
        earlier = torch.arange(classes) < theirs[:, None]
        ranks.append(1 + ((alike > mine) | ((alike == mine) & earlier)).sum(dim=1))
        nearest.append(alike.sort(dim=1, descending=True, stable=True).indices[:, 0])
    return torch.cat(ranks), torch.cat(nearest)


def _within(rank: Tensor, most: int) -> Tensor:
    return torch.where(rank.isnan(), rank, (rank <= most).double())


def _curve(ranks: Tensor, classes: int) -> Curve:
    """The cumulative match characteristic: how many have their class among the first so many."""
    upto = range(1, min(classes, _DRAWN_RANKS) + 1)
    shares = tuple(float((ranks <= most).double().mean()) for most in upto)
    return Curve(tuple(map(float, upto)), shares, "rank", "share found")
