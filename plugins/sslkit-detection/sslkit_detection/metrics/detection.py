"""What detectors are judged by, of one accumulator."""

from __future__ import annotations

import numpy as np

from sslkit.contracts import Figures
from sslkit_detection.metrics.coco import evaluate, figures, per_class
from sslkit_detection.metrics.ledger import Ledger, Table
from sslkit_detection.metrics.matching import Ranked, ranked
from sslkit_detection.metrics.voc import average_precisions, mean

SCORE = 0.5
"""Detections of at least this score count for precision, recall and false positives."""


class DetectionMetrics(Ledger):
    """COCO's figures (see `CocoAP`), VOC's at IoU .5 (see `VocAP`), and what a user would see.

    Figures: COCO's "AP", "AP50", "AP75", "APs" ... "AR100"; "VOC07 AP50", "VOC AP50"; "precision" and
    "recall" of all classes together, of detections with a score of at least .5, at IoU .5 by VOC's rule;
    "false positives an image without objects" at that score, where there are such images. Figures by class
    are COCO's AP50. What there is no ground truth (or, for precision, no detection) for is NaN.
    """

    def compute(self) -> Figures:
        """The figures of all samples seen."""
        table, count = self.table(), len(self.classes)
        evaluated = evaluate(table, count, "bbox")
        result = ranked(table, count, iou=0.5)
        voc = {
            "VOC07 AP50": mean(average_precisions(result, self.classes, "11 points")),
            "VOC AP50": mean(average_precisions(result, self.classes, "area")),
        }
        every = figures(evaluated) | voc | _at_score(result) | _on_empty_images(table)
        return Figures(every, per_class(evaluated, self.classes, iou=0.5))


def _at_score(result: Ranked) -> dict[str, float]:
    shown = (result.score >= SCORE) & ~result.ignored
    hits = float(result.hit[shown].sum())
    return {"precision": _share(hits, shown.sum()), "recall": _share(hits, result.wanted.sum())}


def _on_empty_images(table: Table) -> dict[str, float]:
    empty = np.bincount(table.given.image, minlength=len(table.ids)) == 0
    if not empty.any():
        return {}
    shown = table.found.image[table.found.scores >= SCORE]
    return {"false positives an image without objects": _share(float(empty[shown].sum()), empty.sum())}


def _share(part: float, whole: int) -> float:
    return part / float(whole) if whole else float("nan")
