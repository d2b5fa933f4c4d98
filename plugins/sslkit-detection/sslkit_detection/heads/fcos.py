"""FCOS (Tian et al. 2019, Fully Convolutional One-Stage Object Detection) on any backbone.

Shapes: N samples, A points (cells of all levels), K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.fcos import FCOSClassificationHead, FCOSRegressionHead
from torchvision.ops import generalized_box_iou_loss

from sslkit.contracts import Example, FeatureInfo, HeadFeatures, HeadSpec, Meta, Metric, Objects, Task
from sslkit.models.pyramid import Extra, Pyramid
from sslkit_detection.anchors import Anchors, inside_crowd
from sslkit_detection.diagnostics import easy_negative_share, positives_per_object
from sslkit_detection.drawing import draw_objects
from sslkit_detection.examples import shapes
from sslkit_detection.losses import (
    BACKGROUND,
    NEITHER,
    BinaryClassification,
    Classification,
    ClassWeights,
    checked_prior,
    weights_of,
)
from sslkit_detection.metrics.detection import DetectionMetrics
from sslkit_detection.objects import found, learnable
from sslkit_detection.torchvision_parts import NoBackbone, group_norm


@dataclass(frozen=True)
class FCOSRaw:
    """Of every point: logits (N, A, K), distances to the sides of its box in strides (N, A, 4), centredness.

    centredness: logits (N, A). cells: (A, 4), the square around each point. counts: A of each level.
    """

    logits: Tensor
    distances: Tensor
    centredness: Tensor
    cells: Tensor
    counts: list[int]


class FCOS(nn.Module):
    """No anchors: every cell near the middle of an object says its class and how far its four sides are.

    channels, strides, extra: of the pyramid; a level learns the boxes whose furthest side is 4 to 8
    strides away. centre_radius: cells within so many strides of an object's middle learn it. gamma, alpha,
    classification, class_weights, prior: as RetinaNet. Decoding keeps `candidates` a level whose root of
    class times centredness is above score_threshold, then the best `detections`.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "fcos", "image", "pyramid", "boxes", "AP50", finest=8, protocol="fcos-finetune"
    )

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        channels: int = 256,
        strides: tuple[int, ...] = (8, 16, 32),
        extra: Extra = "p6p7",
        centre_radius: float = 1.5,
        classification: Classification = "focal",
        gamma: float = 2.0,
        alpha: float | None = 0.25,
        prior: float = 0.01,
        class_weights: ClassWeights = "none",
        score_threshold: float = 0.2,
        nms_threshold: float = 0.6,
        candidates: int = 1000,
        detections: int = 100,
    ) -> None:
        super().__init__()
        self.classes = task.classes
        self.pyramid = Pyramid(info, channels=channels, strides=strides, extra=extra)
        self.cells = Anchors(self.pyramid.strides, [(stride,) for stride in self.pyramid.strides], (1.0,))
        self.classifier = FCOSClassificationHead(
            channels,
            1,
            len(task.classes),
            prior_probability=checked_prior(prior),
            norm_layer=group_norm,
        )
        self.regressor = FCOSRegressionHead(channels, 1, norm_layer=group_norm)
        nn.init.ones_(
            self.regressor.bbox_reg.bias
        )  # at 0 half of the distances start where ReLU has no slope
        # torchvision's detector for its matching and decoding; its transform is not used.
        self.detector = detection.FCOS(
            NoBackbone(channels),
            len(task.classes),
            anchor_generator=self.cells.generator,
            head=_Matches(),
            center_sampling_radius=centre_radius,
            score_thresh=score_threshold,
            nms_thresh=nms_threshold,
            topk_candidates=candidates,
            detections_per_img=detections,
        )
        self.coder = self.detector.box_coder
        self.judge = BinaryClassification(
            classification, gamma=gamma, alpha=alpha, weights=weights_of(class_weights, task)
        )

    def forward(self, features: HeadFeatures) -> FCOSRaw:
        """Class, box and centredness of every point."""
        maps = self.pyramid(features.maps, features.canvas)
        values = [level.values for level in maps]
        distances, centredness = self.regressor(values)
        cells = self.cells(maps)
        return FCOSRaw(
            self.classifier(values).float(),
            distances.float(),
            centredness.float().squeeze(2),
            torch.cat(cells),
            [len(level) for level in cells],
        )

    def loss(self, raw: FCOSRaw, targets: Sequence[Objects]) -> dict[str, Tensor]:
        """Sums over points, divided by the points of the batch that learn an object (section 3.1)."""
        zero = raw.logits.new_zeros(())
        judged, regressed, centred, count = zero, zero, zero, 0
        for sample, target in enumerate(targets):
            objects, classes, matched = self._assigned(raw, target)
            judged = judged + self.judge(raw.logits[sample], classes).sum()
            learnt = torch.where(matched >= 0)[0]
            wanted, cells = objects.boxes[matched[learnt]], raw.cells[learnt]
            boxes = self.coder.decode(raw.distances[sample, learnt], cells)
            regressed = regressed + generalized_box_iou_loss(boxes, wanted, reduction="sum")
            centred = centred + F.binary_cross_entropy_with_logits(
                raw.centredness[sample, learnt],
                centredness(self.coder.encode(cells, wanted)),
                reduction="sum",
            )
            count += len(learnt)
        count = max(count, 1)
        return {"classification": judged / count, "boxes": regressed / count, "centredness": centred / count}

    def decode(self, raw: FCOSRaw, metas: Sequence[Meta]) -> list[Objects]:
        """Boxes clipped to the image, those of one class apart, best first."""
        outputs = {
            "cls_logits": torch.split(raw.logits, raw.counts, dim=1),
            "bbox_regression": torch.split(raw.distances, raw.counts, dim=1),
            "bbox_ctrness": torch.split(raw.centredness[..., None], raw.counts, dim=1),
        }
        cells = [torch.split(raw.cells, raw.counts)] * len(metas)
        detections = self.detector.postprocess_detections(outputs, cells, [meta.valid for meta in metas])
        return found(detections, metas)

    def metrics(self) -> Metric:
        """Average precision."""
        return DetectionMetrics(self.classes)

    def draw(self, image: np.ndarray, shown: Objects) -> np.ndarray:
        """Boxes with their classes."""
        return draw_objects(image, shown, self.classes)

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Coloured shapes on noise."""
        options = {"channels": 64, "extra": "none"}
        return shapes(seed, goal=0.9, steps=80, lr=2e-3, options=options)

    @torch.no_grad()
    def easy_negative_share(self, raw: FCOSRaw, targets: Sequence[Objects]) -> float:
        """Share of the classification loss that comes from background with p_t > 0.5, 0..1."""
        classes = torch.stack([self._assigned(raw, target)[1] for target in targets])
        losses = torch.stack([self.judge(*each) for each in zip(raw.logits, classes, strict=True)])
        return easy_negative_share(losses, raw.logits, classes)

    @torch.no_grad()
    def positives(self, raw: FCOSRaw, targets: Sequence[Objects]) -> list[Tensor]:
        """How many points learn each object, crowds left out; 0 for one that lies between all points."""
        assigned = [self._assigned(raw, target) for target in targets]
        return [positives_per_object(matched, len(objects)) for objects, _, matched in assigned]

    def _assigned(self, raw: FCOSRaw, target: Objects) -> tuple[Objects, Tensor, Tensor]:
        """The objects to learn; the class of each point; the place of its object, below 0 without."""
        objects, crowd = learnable(target)
        wanted = [{"boxes": objects.boxes, "labels": objects.labels}]
        matched = self.detector.compute_loss(wanted, {}, [raw.cells], raw.counts)["matched"][0]
        matched[(matched == BACKGROUND) & inside_crowd(raw.cells, crowd)] = NEITHER
        classes = matched.clone()
        classes[matched >= 0] = objects.labels[matched[matched >= 0]]
        return objects, classes, matched


class _Matches(nn.Module):
    """In the place of the networks of torchvision's detector: gives the matching, which it keeps inside."""

    def compute_loss(self, targets: Any, outputs: Any, cells: Any, matched: list[Tensor]) -> Any:
        return {"matched": matched}


def centredness(distances: Tensor) -> Tensor:
    """Left, top, right, bottom distances (A, 4) to sqrt(min/max * min/max), 1 in the middle (equation 3)."""
    across, down = distances[:, [0, 2]], distances[:, [1, 3]]
    ratio = across.amin(1) / across.amax(1) * (down.amin(1) / down.amax(1))
    return ratio.clamp(min=0).sqrt()
