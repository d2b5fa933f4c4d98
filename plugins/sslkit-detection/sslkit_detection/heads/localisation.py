"""One object an image: its class and its box (Simonyan and Zisserman 2015, appendix A).

Shapes: N samples, K classes, G x G cells of the pooled map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_area, box_iou, roi_align

from sslkit.contracts import (
    Example,
    FeatureInfo,
    Figures,
    HeadFeatures,
    HeadSpec,
    Meta,
    Metric,
    Objects,
    Task,
)
from sslkit.errors import ConfigError, DataError
from sslkit_detection.drawing import draw_objects
from sslkit_detection.examples import shapes
from sslkit_detection.losses import ClassWeights, weights_of
from sslkit_detection.metrics.detection import DetectionMetrics
from sslkit_detection.objects import learnable

BoxLoss = Literal["smooth_l1", "l2"]
RIGHT = 0.5
"""A box is right whose IoU with the object is above this (Russakovsky et al. 2015, section 4.2)."""


@dataclass(frozen=True)
class LocalisationRaw:
    """logits (N, K); boxes (N, 4) xyxy in shares of the image's sides; sides (N, 4), those in pixels."""

    logits: Tensor
    boxes: Tensor
    sides: Tensor


class Localisation(nn.Module):
    """Two layers on the coarsest map of the real image, without its padding: class and box of one object.

    grid: G, the map is pooled to G x G cells; 1 is its mean, which hardly knows where anything is. width: of
    the hidden layer. box_loss: smooth_l1 (quadratic below beta) or l2, of shares of the image's sides, times
    box_weight. class_weights: none, or inverse to the objects of each class. What is learnt is the largest
    object of an image; images without any teach nothing.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "localisation",
        "image",
        "map",
        "boxes",
        "localisation error",
        higher_is_better=False,
        protocol="localisation-finetune",
    )

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        grid: int = 7,
        width: int = 512,
        box_loss: BoxLoss = "smooth_l1",
        beta: float = 0.1,
        box_weight: float = 5.0,
        class_weights: ClassWeights = "none",
    ) -> None:
        super().__init__()
        if box_loss not in ("smooth_l1", "l2"):
            raise ConfigError(f"box_loss '{box_loss}' is not one of smooth_l1, l2")
        self.classes, self.stride, self.grid = task.classes, info.strides[-1], grid
        self.box_loss, self.beta, self.box_weight = box_loss, beta, box_weight
        self.hidden = nn.Sequential(
            nn.Flatten(), nn.Linear(info.channels[-1] * grid**2, width), nn.LayerNorm(width), nn.ReLU()
        )
        self.classifier = nn.Linear(width, len(task.classes))
        self.regressor = nn.Linear(width, 4)
        with torch.no_grad():  # starts from the middle of the image
            self.regressor.bias.copy_(torch.tensor([0.25, 0.25, 0.75, 0.75]))
        self.weights: Tensor | None
        self.register_buffer("weights", weights_of(class_weights, task), persistent=False)

    def forward(self, features: HeadFeatures) -> LocalisationRaw:
        """Class and box of every image."""
        last = features.maps[-1].values.float()
        sides = last.new_tensor([[meta.valid[1], meta.valid[0]] * 2 for meta in features.metas])
        whole = [torch.cat([torch.zeros_like(side[:2]), side[:2]])[None] for side in sides]
        pooled = roi_align(last, whole, self.grid, 1 / self.stride, sampling_ratio=-1, aligned=True)
        hidden = self.hidden(pooled)
        return LocalisationRaw(self.classifier(hidden).float(), self.regressor(hidden).float(), sides)

    def loss(self, raw: LocalisationRaw, targets: Sequence[Objects]) -> dict[str, Tensor]:
        """Cross-entropy of the class and regression of the box, means over images with an object."""
        singles = [largest(target) for target in targets]
        rows = torch.tensor([row for row, single in enumerate(singles) if len(single)], dtype=torch.int64)
        rows = rows.to(raw.logits.device)
        labels = torch.cat([single.labels for single in singles])
        wanted = torch.cat([single.boxes for single in singles]) / raw.sides[rows]
        judged = F.cross_entropy(raw.logits[rows], labels, self.weights, reduction="sum")
        boxes, count = raw.boxes[rows], max(len(rows), 1)
        if self.box_loss == "l2":
            regressed = F.mse_loss(boxes, wanted, reduction="sum")
        else:
            regressed = F.smooth_l1_loss(boxes, wanted, beta=self.beta, reduction="sum")
        return {"classification": judged / count, "boxes": self.box_weight * regressed / count}

    def decode(self, raw: LocalisationRaw, metas: Sequence[Meta]) -> list[Objects]:
        """One object an image, its score the probability of its class."""
        scores, labels = (part.cpu() for part in raw.logits.softmax(dim=1).max(dim=1))
        boxes = (raw.boxes * raw.sides).detach().cpu()
        ordered = torch.cat(
            [torch.minimum(boxes[:, :2], boxes[:, 2:]), torch.maximum(boxes[:, :2], boxes[:, 2:])], 1
        )
        return [
            Objects(meta.boxes_to_original(ordered[[row]]), labels[[row]], scores[[row]].detach())
            for row, meta in enumerate(metas)
        ]

    def metrics(self) -> Metric:
        """Localisation error, and average precision."""
        return LocalisationMetrics(self.classes)

    def draw(self, image: np.ndarray, shown: Objects) -> np.ndarray:
        """The box with its class; of a target all of them."""
        return draw_objects(image, shown, self.classes, least=0.0)

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """One coloured shape on noise in each image."""
        return shapes(seed, most=1, goal=0.1, steps=100, lr=1e-3, options={"grid": 4, "width": 128})


def largest(target: Objects) -> Objects:
    """The largest object of an image that is no crowd, or none."""
    objects, _ = learnable(target)
    return objects[box_area(objects.boxes).argmax()[None]] if len(objects) else objects


class LocalisationMetrics:
    """The figures of `DetectionMetrics`, and "localisation error".

    That is the share of images with an object whose best-scored prediction has not the class of the largest
    object, or no IoU above 0.5 with it (Russakovsky et al. 2015, section 4.2); NaN without any object.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.detections = DetectionMetrics(classes)
        self._right: dict[int, bool] = {}

    def update(self, ids: Sequence[int], predictions: Sequence[Objects], targets: Sequence[Objects]) -> None:
        """Take in samples."""
        self.detections.update(ids, predictions, targets)
        for id, prediction, target in zip(ids, predictions, targets, strict=True):
            single = largest(target)
            if len(single):
                self._right[int(id)] = _right(prediction, single)

    def merge(self, other: LocalisationMetrics) -> None:
        """Take in what another accumulator has seen of other samples."""
        self.detections.merge(other.detections)
        self._right.update(other._right)

    def compute(self) -> Figures:
        """The figures of all samples seen."""
        detections = self.detections.compute()
        judged = len(self._right)
        error = 1 - sum(self._right.values()) / judged if judged else float("nan")
        return Figures({"localisation error": error, **detections.figures}, detections.per_class)


def _right(prediction: Objects, single: Objects) -> bool:
    if not len(prediction):
        return False
    if prediction.scores is None:
        raise DataError("a prediction has no scores; the object with the highest one is judged")
    best = prediction[prediction.scores.argmax()[None]]
    overlap = box_iou(best.boxes.double(), single.boxes.double())
    return bool(best.labels == single.labels) and bool(overlap > RIGHT)
