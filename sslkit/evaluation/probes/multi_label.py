"""Several labels a sample: one logistic regression for each class, their penalty chosen on a part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sslkit.contracts import Features
from sslkit.errors import DataError
from sslkit.evaluation.class_sets_judged import JudgedSets
from sslkit.evaluation.multi_label import fit_multi_label


class MultiLabel:
    """l2: penalties to try. held_out_share: of the training samples, which choose one.

    max_iterations: of L-BFGS. seed: trial t holds out what seed + t draws. A probability above a half says
    yes.
    """

    fitted: ClassVar[bool] = True
    target: ClassVar[str] = "labels"
    metric: ClassVar[str] = "map"
    higher_is_better: ClassVar[bool] = True
    protocol: ClassVar[str] = "multi-label-lbfgs"

    def __init__(self, *, l2: list[float], held_out_share: float, max_iterations: int, seed: int) -> None:
        self._l2, self._share, self._iterations, self._seed = l2, held_out_share, max_iterations, seed

    def __call__(
        self, train: Features | None, test: Features, classes: Sequence[str], *, trial: int
    ) -> JudgedSets:
        """Fit and score every class of each test sample."""
        assert train is not None
        if train.sets is None or test.sets is None:
            raise DataError(
                "samples have one label each, where any number is asked for; give a list file with several "
                "labels on a line, or data with boxes or masks"
            )
        fitted = fit_multi_label(
            train.embeddings,
            train.sets,
            l2=self._l2,
            held_out_share=self._share,
            max_iterations=self._iterations,
            seed=self._seed + trial,
        )
        return JudgedSets(fitted.logits(test.embeddings), test.sets, classes, threshold=0.0)
