"""Weighted k-nearest-neighbour classification (Wu et al. 2018, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sslkit.contracts import Features
from sslkit.evaluation.judged import Ranked
from sslkit.evaluation.knn import knn_classify


class KNN:
    """k: neighbours that vote, each with weight exp(similarity / temperature); nothing is drawn."""

    fitted: ClassVar[bool] = True
    target: ClassVar[str] = "label"
    metric: ClassVar[str] = "top1"
    higher_is_better: ClassVar[bool] = True
    protocol: ClassVar[str] = "knn-20"

    def __init__(self, *, k: int, temperature: float) -> None:
        self._k, self._temperature = k, temperature

    def __call__(
        self, train: Features | None, test: Features, classes: Sequence[str], *, trial: int
    ) -> Ranked:
        """Rank the classes of each test sample; every trial is alike."""
        assert train is not None
        votes = knn_classify(
            train.embeddings,
            train.labels,
            test.embeddings,
            k=self._k,
            temperature=self._temperature,
            classes=len(classes),
        )
        return Ranked(votes.ranking, test.labels, classes)
