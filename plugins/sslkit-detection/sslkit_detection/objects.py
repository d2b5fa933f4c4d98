"""Objects on their way into a detector and out of it. Shapes: K objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from torchvision.ops import remove_small_boxes

from sslkit.contracts import Meta, Objects

LEAST_SIDE = 1e-2
"""Pixels; the regression to a thinner box takes the logarithm of nearly nothing."""


def learnable(target: Objects) -> tuple[Objects, Tensor]:
    """The objects to learn, and the boxes (C, 4) of crowds, which are neither objects nor background."""
    drawn = target[remove_small_boxes(target.boxes, LEAST_SIDE)]
    if drawn.crowd is None:
        return drawn, drawn.boxes[:0]
    return drawn[~drawn.crowd], drawn.boxes[drawn.crowd]


def found(detections: Sequence[Mapping[str, Tensor]], metas: Sequence[Meta]) -> list[Objects]:
    """torchvision's detections on canvases to objects in pixels of the originals, on the CPU, best first.

    A detection of which nothing lies inside its image is left out.
    """
    results = []
    for detection, meta in zip(detections, metas, strict=True):
        boxes, scores = detection["boxes"].detach().cpu(), detection["scores"].detach().cpu()
        kept = remove_small_boxes(boxes, LEAST_SIDE)
        kept = kept[scores[kept].argsort(descending=True, stable=True)]
        labels = detection["labels"].detach().cpu()[kept]
        results.append(Objects(meta.boxes_to_original(boxes[kept]), labels, scores[kept]))
    return results
