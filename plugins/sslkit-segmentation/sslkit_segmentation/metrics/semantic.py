"""Figures of semantic segmentation from one matrix of counts.

Shapes: K classes, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sslkit.contracts import IGNORE, Figures, SemanticMap
from sslkit.errors import DataError


class SemanticMetric:
    """Counts pixels by true and predicted class over all samples, int64 (K, K), and divides once, at the end.

    `mIoU`: mean over classes of intersection / union, as of PASCAL VOC (Everingham et al. 2015, section
    4.2.3): of all pixels together, not a mean of each image's. `pixel accuracy`: share of pixels that are
    right. `mean accuracy`: mean over classes of the share of its pixels that are right. A class that neither
    truth nor predictions have is left out; pixels of true label 255 do not count. Without any pixel the
    figures are NaN.
    """

    adds_up = True

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.confusion = torch.zeros(len(self.classes), len(self.classes), dtype=torch.int64)

    def update(
        self, ids: Sequence[int], predictions: Sequence[SemanticMap], targets: Sequence[SemanticMap]
    ) -> None:
        """Take in samples; raises DataError for maps of two sizes and for labels that are no class."""
        for id, prediction, target in zip(ids, predictions, targets, strict=True):
            self.confusion += _confusion(id, prediction.labels, target.labels, len(self.classes))

    def merge(self, other: SemanticMetric) -> None:
        """Take in what another accumulator has counted of other samples."""
        self.confusion += other.confusion

    def compute(self) -> Figures:
        """The figures of all pixels so far, and the intersection over union of each class."""
        counts = self.confusion.double()
        right, true, predicted = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
        union = true + predicted - right
        figures = {
            "mIoU": _mean_ratio(right, union),
            "pixel accuracy": _mean_ratio(right.sum()[None], true.sum()[None]),
            "mean accuracy": _mean_ratio(right, true),
        }
        per_class = {
            name: float(right[label] / union[label])
            for label, name in enumerate(self.classes)
            if union[label] > 0
        }
        return Figures(figures, per_class)


def _confusion(id: int, predicted: Tensor, true: Tensor, classes: int) -> Tensor:
    if predicted.shape != true.shape:
        raise DataError(
            f"sample {id}: the prediction has {tuple(predicted.shape)} pixels and the target "
            f"{tuple(true.shape)}; both must be those of the original"
        )
    judged = true != IGNORE
    rows, columns = true[judged].long(), predicted[judged].long()
    for whose, labels in (("target", rows), ("prediction", columns)):
        if len(labels) and int(labels.max()) >= classes:
            raise DataError(
                f"sample {id}: the {whose} has the label {int(labels.max())}; there are {classes} classes, "
                f"labels run from 0 to {classes - 1}, and {IGNORE} in a target is ignored"
            )
    return torch.bincount(rows * classes + columns, minlength=classes**2).view(classes, classes).cpu()


def _mean_ratio(parts: Tensor, wholes: Tensor) -> float:
    there = wholes > 0
    return float((parts[there] / wholes[there]).mean()) if there.any() else math.nan
