"""Unequal classes: fitted to a long tail, judged on the test set as it is, with and without a remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.contracts import Curve, Features, Figures
from sslkit.data.label_draws import draw_long_tail, repeated_to_balance
from sslkit.errors import ConfigError
from sslkit.evaluation.class_means import centred_unit, rank_by_class_mean
from sslkit.evaluation.judged import class_means, named
from sslkit.evaluation.linear import Loss, fit_penalised, weighted_over_samples
from sslkit.evaluation.metrics import check_labels

METHODS = ("plain", "oversampling", "weights_mean", "weights_sum", "class_mean")


@dataclass(frozen=True)
class ByClass:
    """Means over classes of the share of their test samples that a method has right.

    right: float64 (M,) by method. labels: int64 (M,) in 0..K-1. groups: classes int64 by name of the group,
    which may be none.
    """

    right: Mapping[str, Tensor]
    labels: Tensor
    classes: Sequence[str]
    groups: Mapping[str, np.ndarray]
    curves: Mapping[str, Curve] = field(default_factory=dict)
    predicted: Tensor | None = None

    @property
    def count(self) -> int:
        """M, the number of test samples."""
        return len(self.labels)

    def figures(self, rows: np.ndarray | None = None) -> Figures:
        """mean_class_METHOD over all classes and GROUP_METHOD over some; per class those of the first method.

        Classes without a test sample do not count, a group without one has no figure.
        """
        labels, right = self._columns
        chosen = slice(None) if rows is None else rows
        shares = {
            method: class_means(column[chosen], labels[chosen], len(self.classes))
            for method, column in right.items()
        }
        found = {f"mean_class_{method}": float(np.nanmean(of)) for method, of in shares.items()}
        for group, members in self.groups.items():
            for method, of in shares.items():
                known = of[members][~np.isnan(of[members])]
                if len(known):
                    found[f"{group}_{method}"] = float(known.mean())
        return Figures(found, named(next(iter(shares.values())), self.classes))

    @cached_property
    def _columns(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return self.labels.numpy(), {method: column.numpy() for method, column in self.right.items()}


class LongTail:
    """imbalance: how many times fewer training samples the last class has than the first.

    methods: remedies to compare, "plain" among them, which is what backbones are compared by. l2,
    max_iterations: of the logistic regressions by L-BFGS.

    plain: logistic regression as it is. oversampling: rows repeated until all classes are as large as the
    largest. weights_mean, weights_sum: classes weighted by 1 / their number, the weights scaled to sum to K
    (Cui et al., CVPR 2019, section 4), the weighted losses divided by the number of samples, or by the sum of
    their weights as torch does. Over the whole set that is one factor: the first lets the penalty weigh more.
    class_mean: the nearest mean of a class, which does not know how many samples it is of.
    """

    fitted: ClassVar[bool] = True
    target: ClassVar[str] = "label"
    metric: ClassVar[str] = "mean_class_plain"
    higher_is_better: ClassVar[bool] = True
    protocol: ClassVar[str] = "long-tail"

    def __init__(self, *, imbalance: float, methods: list[str], l2: float, max_iterations: int) -> None:
        if "plain" not in methods or not set(methods) <= set(METHODS) or len(set(methods)) < len(methods):
            raise ConfigError(
                f"methods={methods}; give plain, whose mean_class counts, and any of {', '.join(METHODS[1:])}"
            )
        self._imbalance, self._l2, self._iterations = imbalance, l2, max_iterations
        self._methods = sorted(methods, key=METHODS.index)

    def __call__(
        self, train: Features | None, test: Features, classes: Sequence[str], *, trial: int
    ) -> ByClass:
        """Draw a long tail of the training samples, and classify each test sample by every method."""
        assert train is not None
        check_labels(train.labels, len(train), len(classes))
        check_labels(test.labels, len(test), len(classes))
        drawn = train[torch.from_numpy(draw_long_tail(train.labels.numpy(), self._imbalance, trial=trial))]
        said = {method: self._classify(method, drawn, test, len(classes), trial) for method in self._methods}
        right = {method: (guesses == test.labels).double() for method, guesses in said.items()}
        counts = torch.bincount(drawn.labels, minlength=len(classes)).numpy()
        return ByClass(
            right,
            test.labels,
            classes,
            groups=thirds(counts),
            curves={method: _curve(counts, column, test.labels) for method, column in right.items()},
            predicted=said["plain"],
        )

    def _classify(self, method: str, drawn: Features, test: Features, classes: int, trial: int) -> Tensor:
        if method == "class_mean":
            centre = drawn.embeddings.double().mean(dim=0).float()
            known, judged = (centred_unit(part.embeddings, centre) for part in (drawn, test))
            return rank_by_class_mean(known, drawn.labels, judged, classes=classes)[:, 0]
        probe = fit_penalised(
            drawn.embeddings,
            drawn.labels,
            classes=classes,
            l2=self._l2,
            max_iterations=self._iterations,
            loss=_loss(method, drawn.labels, classes, trial),
        )
        return probe.rank(test.embeddings)[:, 0]


def balancing_weights(counts: Tensor) -> Tensor:
    """1 / counts (K,), scaled to sum to the number of classes; 0 for a class without a sample."""
    inverse = torch.where(counts > 0, 1 / counts.clamp(min=1), 0.0)
    return (inverse / inverse.sum() * (counts > 0).sum()).float()


def thirds(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Classes by their number of training samples: the most (head), the fewest (tail), the rest (medium)."""
    occur = np.flatnonzero(counts)
    order = occur[np.argsort(-counts[occur], kind="stable")]
    third = max(round(len(order) / 3), 1)
    return {"head": order[:third], "medium": order[third:-third], "tail": order[-third:]}


def _loss(method: str, labels: Tensor, classes: int, trial: int) -> Loss:
    if method == "oversampling":
        rows = torch.from_numpy(repeated_to_balance(labels.numpy(), trial=trial))
        return lambda logits, labels: F.cross_entropy(logits[rows], labels[rows])
    weights = balancing_weights(torch.bincount(labels, minlength=classes))
    if method == "weights_mean":
        return lambda logits, labels: weighted_over_samples(logits, labels, weights)
    return torch.nn.CrossEntropyLoss(weights) if method == "weights_sum" else F.cross_entropy


def _curve(counts: np.ndarray, right: Tensor, labels: Tensor) -> Curve:
    shares = class_means(right.numpy(), labels.numpy(), len(counts))
    order = np.argsort(counts, kind="stable")
    order = order[(counts[order] > 0) & ~np.isnan(shares[order])]
    return Curve(
        tuple(counts[order].astype(float).tolist()),
        tuple(shares[order].tolist()),
        "training samples of the class",
        "share of its test samples",
    )
