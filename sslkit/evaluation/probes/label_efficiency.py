"""Linear probes on a small, a larger and the whole part of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from sslkit.contracts import Curve, Features
from sslkit.data.label_draws import draw_share
from sslkit.errors import ConfigError
from sslkit.evaluation.judged import PerSample
from sslkit.evaluation.linear import LinearProbe, fit_linear, fit_penalised
from sslkit.evaluation.metrics import check_labels

COUNTS = 0.1
"""The share of the labels in the figure that counts, `top1_10pct`."""


class LabelEfficiency:
    """shares: parts of the labels, drawn class by class, 0.1 among them. The rest as in the probe `linear`.

    l2: penalties to try. held_out_share: of the drawn samples, which choose one. Where it is not one sample
    of the rarest class, nothing is held out and the strongest penalty taken: the stronger it is, the more a
    logistic regression ranks as the means of the classes do, which needs nothing to be chosen.
    """

    fitted: ClassVar[bool] = True
    target: ClassVar[str] = "label"
    metric: ClassVar[str] = "top1_10pct"
    higher_is_better: ClassVar[bool] = True
    protocol: ClassVar[str] = "label-efficiency"

    def __init__(
        self, *, shares: list[float], l2: list[float], held_out_share: float, max_iterations: int
    ) -> None:
        if COUNTS not in shares or len(set(shares)) < len(shares):
            raise ConfigError(
                f"shares={shares}; give different parts of the labels, {COUNTS} among them, whose top-1 "
                "counts, such as [0.01, 0.1, 1]"
            )
        if not l2:
            raise ConfigError("l2=[]; give at least one penalty, such as [1e-2, 1.0]")
        self._shares, self._l2 = sorted(shares), l2
        self._held_out, self._iterations = held_out_share, max_iterations

    def __call__(
        self, train: Features | None, test: Features, classes: Sequence[str], *, trial: int
    ) -> PerSample:
        """Of each test sample, whether the probe of each share classifies it rightly."""
        assert train is not None
        check_labels(train.labels, len(train), len(classes))
        check_labels(test.labels, len(test), len(classes))
        said, drawn = {}, []
        for share in self._shares:
            rows = torch.from_numpy(draw_share(train.labels.numpy(), share, trial=trial))
            drawn.append(len(rows))
            said[share] = self._fit(train[rows], len(classes), trial).rank(test.embeddings)[:, 0]
        right = {share: (guesses == test.labels).double() for share, guesses in said.items()}
        first = sorted(
            self._shares, key=lambda share: share != COUNTS
        )  # classes are told apart by what counts
        return PerSample(
            {f"top1_{100 * share:g}pct": right[share] for share in first},
            groups=test.labels,
            classes=classes,
            curves={
                "labels": Curve(
                    tuple(float(count) for count in drawn),
                    tuple(float(right[share].mean()) for share in self._shares),
                    "labels",
                    "top-1",
                )
            },
            predicted=said[COUNTS],
        )

    def _fit(self, drawn: Features, classes: int, trial: int) -> LinearProbe:
        least = min(int(count) for count in torch.bincount(drawn.labels) if count)
        if round(least * self._held_out) == 0:
            return fit_penalised(
                drawn.embeddings,
                drawn.labels,
                classes=classes,
                l2=max(self._l2),
                max_iterations=self._iterations,
            )
        return fit_linear(
            drawn.embeddings,
            drawn.labels,
            classes=classes,
            l2=self._l2,
            held_out_share=self._held_out,
            max_iterations=self._iterations,
            seed=trial,
        )
