"""Collects the ranked classes of a classifier, sample by sample, for its figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sslkit.contracts import ClassLabel, Figures
from sslkit.evaluation.judged import Ranked
from sslkit.evaluation.metrics import rank_classes


class ClassMetric:
    """`top1`, `top5`, `mean_class` and the top1 of each class, as `Ranked` has them; NaN without any sample.

    It keeps the five best classes of each sample, so that ranks can share out any test.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.rankings: dict[int, tuple[int, ...]] = {}
        self.labels: dict[int, int] = {}

    def update(
        self, ids: Sequence[int], predictions: Sequence[ClassLabel], targets: Sequence[ClassLabel]
    ) -> None:
        """Take in samples; a prediction without scores is sure of its class."""
        scores = torch.stack([self._scores(prediction) for prediction in predictions])
        for id, ranking, target in zip(ids, rank_classes(scores).tolist(), targets, strict=True):
            self.rankings[int(id)], self.labels[int(id)] = tuple(ranking), target.label

    def merge(self, other: ClassMetric) -> None:
        """Take in what another accumulator has seen of other samples."""
        self.rankings |= other.rankings
        self.labels |= other.labels

    def judged(self) -> Ranked:
        """All samples by id; raises DataError where there is none."""
        ids = sorted(self.rankings)
        ranking = torch.tensor([self.rankings[id] for id in ids], dtype=torch.int64)
        labels = torch.tensor([self.labels[id] for id in ids], dtype=torch.int64)
        return Ranked(ranking.reshape(len(ids), -1), labels, self.classes)

    def compute(self) -> Figures:
        """The figures of all samples seen."""
        if not self.rankings:
            return Figures(dict.fromkeys(("top1", "top5", "mean_class"), math.nan))
        return self.judged().figures()

    def _scores(self, prediction: ClassLabel) -> Tensor:
        if prediction.scores is None:
            return torch.arange(len(self.classes)) == prediction.label
        return prediction.scores
