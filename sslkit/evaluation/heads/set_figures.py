"""Collects the scores of a classifier of many labels, sample by sample, for its figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from sslkit.contracts import ClassSet, Figures
from sslkit.evaluation.class_sets_judged import JudgedSets

PRESENT = 0.5
"""Above this probability a class is said to be there."""


class SetMetric:
    """`map`, `micro_f1`, `lrap` and the average precision of each class, as `JudgedSets` has them.

    NaN without any sample.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.samples: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def update(
        self, ids: Sequence[int], predictions: Sequence[ClassSet], targets: Sequence[ClassSet]
    ) -> None:
        """Take in samples; a prediction without scores is sure of its classes."""
        for id, said, target in zip(ids, predictions, targets, strict=True):
            scores = said.present.float() if said.scores is None else said.scores
            self.samples[int(id)] = (scores.numpy(), target.present.numpy())

    def merge(self, other: SetMetric) -> None:
        """Take in what another accumulator has seen of other samples."""
        self.samples |= other.samples

    def judged(self) -> JudgedSets:
        """All samples by id, at least one."""
        rows = [self.samples[id] for id in sorted(self.samples)]
        scores, present = (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
        return JudgedSets(scores, present, self.classes, threshold=PRESENT)

    def compute(self) -> Figures:
        """The figures of all samples seen."""
        if not self.samples:
            return Figures(dict.fromkeys(("map", "micro_f1", "lrap"), math.nan))
        return self.judged().figures()
