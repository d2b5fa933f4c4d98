"""Proposals beside detections: how they travel, and what they are judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sslkit.contracts import Figures, Objects
from sslkit_detection.metrics.detection import DetectionMetrics
from sslkit_detection.metrics.proposals import ProposalRecall


@dataclass(frozen=True)
class Proposed(Objects):
    """Objects found among proposals: float (R, 4) xyxy, best first, wherever anything was suspected."""

    proposals: Tensor | None = None

    @classmethod
    def of(cls, found: Objects, proposals: Tensor) -> Proposed:
        """Objects with the proposals of their image, in the same pixels."""
        return cls(found.boxes, found.labels, found.scores, proposals=proposals)


class ProposingMetrics:
    """The figures of `DetectionMetrics`, and "proposal recall@100" and "@1000" of `ProposalRecall`.

    A prediction that carries no proposals has its boxes for them.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.detections, self.proposals = DetectionMetrics(classes), ProposalRecall()

    def update(self, ids: Sequence[int], predictions: Sequence[Objects], targets: Sequence[Objects]) -> None:
        """Take in samples."""
        self.detections.update(ids, predictions, targets)
        self.proposals.update(ids, [_proposals(prediction) for prediction in predictions], targets)

    def merge(self, other: ProposingMetrics) -> None:
        """Take in what another accumulator has seen of other samples."""
        self.detections.merge(other.detections)
        self.proposals.merge(other.proposals)

    def compute(self) -> Figures:
        """The figures of all samples seen."""
        detections, proposals = self.detections.compute(), self.proposals.compute()
        return Figures({**detections.figures, **proposals.figures}, detections.per_class)


def _proposals(prediction: Objects) -> Objects:
    boxes = getattr(prediction, "proposals", None)
    if boxes is None:
        return prediction
    return Objects(boxes, torch.zeros(len(boxes), dtype=torch.int64))
