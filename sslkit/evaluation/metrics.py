"""Classification figures from ranked classes: top-1, top-5, per class, confusion matrix.

A ranking is int64 (N, R), the R best classes of every sample, best first. Ranking classes once, with ties
decided there (the lower class first), makes every figure that follows free of ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from sslkit.contracts import Score
from sslkit.errors import DataError

RANKED = 5  # classes kept per sample: what top-5 needs


@dataclass(frozen=True)
class Figures:
    """top1, top5, mean_class: shares in 0..1. per_class: float64 (K,), NaN where a class has no sample.

    mean_class: mean of `per_class` over classes that occur. confusion: int64 (K, K), rows are true classes.
    """

    top1: float
    top5: float
    mean_class: float
    per_class: Tensor
    confusion: Tensor


def rank_classes(scores: Tensor, count: int = RANKED) -> Tensor:
    """The best classes of scores (N, K), best first, ties by class number: int64 (N, min(count, K))."""
    return torch.sort(scores, dim=1, descending=True, stable=True).indices[:, :count]


def top_share(ranking: Tensor, labels: Tensor, k: int) -> float:
    """Share of samples whose label is among the first k ranked classes; with K < k classes it is 1."""
    hits = (ranking[:, :k] == labels[:, None]).any(dim=1)
    return float(hits.double().mean())


def figures(ranking: Tensor, labels: Tensor, classes: int) -> Figures:
    """All figures of a ranking (N, R) against labels int64 (N,) in 0..classes-1.

    Raises DataError when there is no sample, sizes differ, or a label is out of range (-1 means unknown).
    """
    check_labels(labels, ranking.shape[0], classes)
    confusion = multiclass_confusion_matrix(ranking[:, 0], labels, num_classes=classes)
    per_class = confusion.diagonal().double() / confusion.sum(dim=1).double()
    return Figures(
        top1=top_share(ranking, labels, 1),
        top5=top_share(ranking, labels, RANKED),
        mean_class=float(per_class.nanmean()),
        per_class=per_class,
        confusion=confusion,
    )


def score(subject: str, ranking: Tensor, labels: Tensor, class_names: Sequence[str]) -> Score:
    """One row of a result table; classes without a test sample are left out of `per_class`."""
    found = figures(ranking, labels, len(class_names))
    per_class = dict(zip(class_names, found.per_class.tolist(), strict=True))
    return Score(
        subject=subject,
        figures={"top1": found.top1, "top5": found.top5, "mean_class": found.mean_class},
        per_class={name: share for name, share in per_class.items() if share == share},
    )


def check_labels(labels: Tensor, count: int, classes: int) -> None:
    """Raise DataError unless labels are `count` > 0 integers in 0..classes-1."""
    if labels.shape != (count,) or count == 0:
        raise DataError(
            f"{tuple(labels.shape)} labels for {count} samples; one label per sample, at least one"
        )
    wrong = int(((labels < 0) | (labels >= classes)).sum())
    if wrong:
        raise DataError(
            f"{wrong} of {count} labels are outside 0..{classes - 1} (-1 means unknown); "
            "leave those samples out or give them a class"
        )
