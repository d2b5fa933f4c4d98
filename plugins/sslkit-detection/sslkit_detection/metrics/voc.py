"""Average precision as Pascal VOC measures it, at one overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from sslkit.contracts import Figures
from sslkit_detection.metrics.ledger import Ledger
from sslkit_detection.metrics.matching import Ranked, ranked

Rule = Literal["11 points", "area"]


class VocAP(Ledger):
    """Mean average precision of the VOC challenges (Everingham et al. 2010, section 4.2, and devkit 2012).

    Figures "VOC07 AP50": mean of the precision at the recalls 0, .1, ..., 1, of VOC 2007; "VOC AP50": area
    under the curve, from VOC 2010 on; by class the latter. 50 is `iou` in hundredths. Crowds are VOC's
    difficult objects: neither wanted nor false. A class without an object that counts is NaN and left out
    of the mean.
    """

    def __init__(self, classes: Sequence[str], iou: float = 0.5) -> None:
        super().__init__(classes)
        self.iou = iou

    def compute(self) -> Figures:
        """The figures of all samples seen."""
        result = ranked(self.table(), len(self.classes), iou=self.iou)
        at = round(100 * self.iou)
        by_area = average_precisions(result, self.classes, "area")
        by_points = average_precisions(result, self.classes, "11 points")
        return Figures({f"VOC07 AP{at}": mean(by_points), f"VOC AP{at}": mean(by_area)}, by_area)


def average_precisions(result: Ranked, classes: Sequence[str], rule: Rule) -> dict[str, float]:
    """AP of each class; NaN where there is nothing to find."""
    found: dict[str, float] = {}
    for label, name in enumerate(classes):
        chosen = (result.label == label) & ~result.ignored
        hits = np.cumsum(result.hit[chosen])
        wanted = int(result.wanted[label])
        area = area_under_curve if rule == "area" else eleven_points
        found[name] = area(hits, wanted) if wanted else float("nan")
    return found


def eleven_points(hits: np.ndarray, wanted: int) -> float:
    """Mean of the best precision at recall 0, .1, ..., 1 or above (VOC 2007 devkit, VOCevaldet.m).

    hits: int64 (D,), true detections among the first 1, 2, ..., D. Recalls are compared as whole numbers:
    3 of 10 reach the recall .3, which 0.1 + 0.1 + 0.1 in floating point exceeds.
    """
    precision = hits / np.arange(1, len(hits) + 1)
    best = [precision[10 * hits >= tenth * wanted].max(initial=0.0) for tenth in range(11)]
    return float(np.mean(best))


def area_under_curve(hits: np.ndarray, wanted: int) -> float:
    """Area under precision made monotone over recall (VOC 2010 devkit, VOCap.m); hits as above."""
    precision = hits / np.arange(1, len(hits) + 1)
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(hits, prepend=0) * monotone).sum() / wanted)


def mean(values: Mapping[str, float]) -> float:
    """Mean of those that are known; NaN of none."""
    known = [value for value in values.values() if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
