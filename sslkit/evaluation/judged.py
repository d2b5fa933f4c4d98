"""What probes say of test samples, in the forms that can be summed up again on any resample of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from torch import Tensor

from sslkit.contracts import Curve, Figures
from sslkit.evaluation.metrics import RANKED, check_labels


@dataclass(frozen=True)
class Ranked:
    """Ranked classes of test samples: top1, top5 and mean_class, and top1 of each class.

    ranking: int64 (M, R), best first, ties already decided; labels: int64 (M,) in 0..K-1.
    """

    ranking: Tensor
    labels: Tensor
    classes: Sequence[str]
    curves: Mapping[str, Curve] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_labels(self.labels, self.ranking.shape[0], len(self.classes))

    @property
    def count(self) -> int:
        """M, the number of test samples."""
        return self.ranking.shape[0]

    @property
    def predicted(self) -> Tensor:
        """The best class of each sample."""
        return self.ranking[:, 0]

    def figures(self, rows: np.ndarray | None = None) -> Figures:
        """Shares in 0..1; a class without a sample has no figure and does not count in mean_class."""
        labels, first, five = (column if rows is None else column[rows] for column in self._columns)
        shares = class_means(first, labels, len(self.classes))
        return Figures(
            {
                "top1": float(first.mean()),
                "top5": float(five.mean()),
                "mean_class": float(np.nanmean(shares)),
            },
            named(shares, self.classes),
        )

    @cached_property
    def _columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels, and whether the best and the five best classes hold them."""
        hits = self.ranking == self.labels[:, None]
        five = hits[:, :RANKED].any(dim=1)
        return self.labels.numpy(), hits[:, 0].double().numpy(), five.double().numpy()


@dataclass(frozen=True)
class PerSample:
    """Figures that are means over test samples.

    values: float64 (M,) by name, NaN for samples that do not count. groups: int64 (M,), the class of each
    sample, for the first figure class by class.
    """

    values: Mapping[str, Tensor]
    groups: Tensor | None = None
    classes: Sequence[str] = ()
    curves: Mapping[str, Curve] = field(default_factory=dict)
    predicted: Tensor | None = None

    @property
    def count(self) -> int:
        """M, the number of test samples."""
        return len(next(iter(self.values.values())))

    def figures(self, rows: np.ndarray | None = None) -> Figures:
        """Means over the samples that count."""
        columns = {name: column if rows is None else column[rows] for name, column in self._columns.items()}
        per_class: dict[str, float] = {}
        if self.groups is not None:
            groups = self.groups.numpy() if rows is None else self.groups.numpy()[rows]
            per_class = named(
                class_means(next(iter(columns.values())), groups, len(self.classes)), self.classes
            )
        return Figures({name: _mean(column) for name, column in columns.items()}, per_class)

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        return {name: column.double().numpy() for name, column in self.values.items()}


def class_means(values: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Means of values float64 (M,), NaN not counting, over the samples of each class: float64 (K,).

    labels: int64 (M,) in 0..K-1, or -1 for none. NaN where a class has no sample that counts.
    """
    counts = (labels >= 0) & ~np.isnan(values)
    total = np.bincount(labels[counts], minlength=classes)
    summed = np.bincount(labels[counts], weights=values[counts], minlength=classes)
    means: np.ndarray = np.divide(summed, total, out=np.full(classes, np.nan), where=total > 0)
    return means


def named(of_classes: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Figures (K,) by class name, without those that are NaN."""
    return {name: one for name, one in zip(classes, of_classes.tolist(), strict=True) if one == one}


def _mean(column: np.ndarray) -> float:
    counting = column[~np.isnan(column)]
    return float(counting.mean()) if len(counting) else float("nan")
