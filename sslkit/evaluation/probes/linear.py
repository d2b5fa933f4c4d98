"""Logistic regression on all training samples, its penalty chosen on a part of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sslkit.contracts import Features
from sslkit.evaluation.judged import Ranked
from sslkit.evaluation.linear import fit_linear


class Linear:
    """l2: penalties to try. held_out_share: of the training samples, which choose one.

    max_iterations: of L-BFGS. seed: trial t holds out what seed + t draws.
    """

    fitted: ClassVar[bool] = True
    target: ClassVar[str] = "label"
    metric: ClassVar[str] = "top1"
    higher_is_better: ClassVar[bool] = True
    protocol: ClassVar[str] = "linear-lbfgs"

    def __init__(self, *, l2: list[float], held_out_share: float, max_iterations: int, seed: int) -> None:
        self._l2, self._share, self._iterations, self._seed = l2, held_out_share, max_iterations, seed

    def __call__(
        self, train: Features | None, test: Features, classes: Sequence[str], *, trial: int
    ) -> Ranked:
        """Fit and rank the classes of each test sample."""
        assert train is not None
        fitted = fit_linear(
            train.embeddings,
            train.labels,
            classes=len(classes),
            l2=self._l2,
            held_out_share=self._share,
            max_iterations=self._iterations,
            seed=self._seed + trial,
        )
        return Ranked(fitted.rank(test.embeddings), test.labels, classes)
