"""Scores of classes, any number of which a sample is of: figures for any resample of the samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from sslkit.contracts import Curve, Figures
from sslkit.evaluation.judged import named


class AveragePrecision:
    """Scores in order, made once, so that average precision under any weights takes a few sums.

    AP is the sum over thresholds of precision times the recall won there. Equal scores are accepted together:
    precision is that at the end of their tie, whatever their order.
    """

    def __init__(self, scores: np.ndarray, present: np.ndarray) -> None:
        """scores: (M, K), no NaN; present: bool (M, K)."""
        order = np.argsort(-scores.T, axis=1, kind="stable")
        ordered = np.take_along_axis(scores.T, order, axis=1)
        tied = np.zeros(ordered.shape, bool)  # with the next
        tied[:, :-1] = ordered[:, 1:] == ordered[:, :-1]
        self._order = order.astype(np.int32)
        self._classes, self._places = np.nonzero(np.take_along_axis(present.T, order, axis=1))
        self._ends = _ends_of_ties(tied)[self._classes, self._places]
        # Of each positive: the last positive of its class that is accepted with it.
        count = max(1, scores.shape[0])
        numbers = self._classes * count + self._places
        self._upto = np.searchsorted(numbers, self._classes * count + self._ends, side="right") - 1
        self._firsts = np.searchsorted(self._classes, self._classes)

    def of(self, weights: np.ndarray | None = None) -> np.ndarray:
        """AP of each column, float64 (K,), NaN where no positive weighs anything; weights: whole, (M,)."""
        columns = len(self._order)
        if weights is None:
            seen = self._ends + 1.0
            held = np.ones(len(self._classes))
        else:
            ordered = weights.astype(np.int32)[self._order]
            seen = np.cumsum(ordered, axis=1, dtype=np.int32)[self._classes, self._ends].astype(np.float64)
            held = ordered[self._classes, self._places].astype(np.float64)
        hits = np.cumsum(held)
        inside = hits[self._upto] - hits[self._firsts] + held[self._firsts]
        precision = np.divide(inside, seen, out=np.zeros_like(inside), where=seen > 0)
        won = np.bincount(self._classes, held * precision, minlength=columns)
        whole = np.bincount(self._classes, held, minlength=columns)
        found: np.ndarray = np.divide(won, whole, out=np.full(columns, np.nan), where=whole > 0)
        return found


class JudgedSets:
    """map, micro_f1, lrap, and the average precision of each class.

    map: mean of `AveragePrecision` over the classes that a sample is of. micro_f1: of all samples and classes
    together, where a score above `threshold` says yes. lrap: mean over samples of any class of the average
    precision of their classes among all (label ranking average precision, Tsoumakas et al. 2010).
    """

    def __init__(self, scores: Tensor, sets: Tensor, classes: Sequence[str], *, threshold: float) -> None:
        """scores: (M, K); sets: bool (M, K)."""
        values, present = scores.double().numpy(), sets.numpy()
        said = values > threshold
        self._classes = classes
        self._of_classes = AveragePrecision(values, present)
        self._of_samples = AveragePrecision(values.T, present.T).of()
        self._right = (said & present).sum(axis=1)
        self._wrong = (said ^ present).sum(axis=1)

    @property
    def count(self) -> int:
        """M, the number of test samples."""
        return len(self._right)

    @property
    def curves(self) -> Mapping[str, Curve]:
        """There is none."""
        return {}

    @property
    def predicted(self) -> Tensor | None:
        """No single class is said."""
        return None

    def figures(self, rows: np.ndarray | None = None) -> Figures:
        """Shares in 0..1; NaN where no sample is of any class."""
        chosen = slice(None) if rows is None else rows
        times = None if rows is None else np.bincount(rows, minlength=self.count)
        found = self._of_classes.of(times)
        right, wrong = int(self._right[chosen].sum()), int(self._wrong[chosen].sum())
        return Figures(
            {
                "map": _mean(found),
                "micro_f1": 2 * right / (2 * right + wrong) if right + wrong else np.nan,
                "lrap": _mean(self._of_samples[chosen]),
            },
            named(found, self._classes),
        )


def _ends_of_ties(tied: np.ndarray) -> np.ndarray:
    """The last place of the tie each place is in, int64 like `tied`, which says whether the next is equal."""
    width = tied.shape[1]
    ends = np.where(tied, width, np.arange(width))
    found: np.ndarray = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    return found


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
