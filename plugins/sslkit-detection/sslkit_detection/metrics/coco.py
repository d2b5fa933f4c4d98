"""COCO's average precision and recall, computed by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval.core import mask as coco_mask

from sslkit.contracts import Figures
from sslkit_detection.metrics.ledger import Column, Kind, Ledger, Table

_FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


class CocoAP(Ledger):
    """Average precision as COCO measures it (Lin et al. 2014; cocodataset.org, "Detection Evaluate").

    AP: mean over the IoUs .50:.05:.95 and the classes; AP50, AP75 at one IoU; APs, APm, APl of objects below
    32², between, and above 96² pixels; AR1, AR10, AR100: recall with so many detections of a class in an
    image. Figures by class are AP. A class (or size) without ground truth is left out of means; where nothing
    is left, the figure is NaN (COCO's tools print -1). Crowds are neither found nor missed. kind: "bbox" or
    "segm".
    """

    def __init__(self, classes: Sequence[str], kind: Kind = "bbox") -> None:
        super().__init__(classes, masks=kind == "segm")
        self.kind: Kind = kind

    def compute(self) -> Figures:
        """The figures of all samples seen."""
        evaluated = evaluate(self.table(), len(self.classes), self.kind)
        return Figures(figures(evaluated), per_class(evaluated, self.classes))


def evaluate(table: Table, classes: int, kind: Kind) -> COCOeval_faster:
    """Run COCO's evaluation; `figures` and `per_class` read the result."""
    # Masks bring their own size; that of an image is asked for and not used.
    images = [{"id": place, "height": 1, "width": 1} for place in range(len(table.ids))]
    categories = [{"id": label, "name": str(label)} for label in range(classes)]
    sides = []
    for column, areas in ((table.given, table.given.areas), (table.found, None)):
        side = COCO()
        annotations = _annotations(column, kind, areas)
        side.dataset = {"images": images, "categories": categories, "annotations": annotations}
        side.createIndex()
        sides.append(side)
    evaluation = COCOeval_faster(*sides, kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def figures(evaluated: COCOeval_faster) -> dict[str, float]:
    """COCO's twelve figures; NaN where there is no ground truth."""
    return {name: _known(value) for name, value in zip(_FIGURES, evaluated.stats.tolist(), strict=True)}


def per_class(
    evaluated: COCOeval_faster, classes: Sequence[str], *, iou: float | None = None
) -> dict[str, float]:
    """AP of each class, at one IoU or over all; NaN for a class without ground truth."""
    precision = np.asarray(evaluated.eval["precision"])[:, :, :, 0, -1]  # (IoU, recall, class)
    if iou is not None:
        precision = precision[np.isclose(evaluated.params.iouThrs, iou)]
    means = precision.mean(axis=(0, 1))
    return {name: _known(float(mean)) for name, mean in zip(classes, means, strict=True)}


def _annotations(column: Column, kind: Kind, areas: np.ndarray | None) -> list[dict[str, Any]]:
    """Objects as COCO's tools want them; ids from 1, since 0 means unmatched there.

    areas: as annotated, NaN where they are not; detections have those of their boxes or masks.
    """
    sides = column.sides()
    own = sides.prod(axis=1)
    if kind == "segm":
        own = np.array(coco_mask.area(column.runs), np.float64) if column.runs else own
    rows = zip(
        column.image.tolist(),
        column.labels.tolist(),
        np.concatenate([column.boxes[:, :2], sides], axis=1).tolist(),
        (own if areas is None else np.where(np.isnan(areas), own, areas)).tolist(),
        column.crowd.astype(int).tolist(),
        column.scores.tolist(),
        strict=True,
    )
    annotations: list[dict[str, Any]] = [
        {
            "id": id,
            "image_id": image,
            "category_id": label,
            "bbox": box,
            "area": area,
            "iscrowd": crowd,
            "score": score,
        }
        for id, (image, label, box, area, crowd, score) in enumerate(rows, start=1)
    ]
    if kind == "segm":
        for annotation, run in zip(annotations, column.runs or (), strict=True):
            annotation["segmentation"] = run
    return annotations


def _known(value: float) -> float:
    return float("nan") if value < 0 else value
