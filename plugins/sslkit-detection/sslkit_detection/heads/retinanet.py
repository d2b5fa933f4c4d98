"""RetinaNet (Lin et al. 2017, Focal Loss for Dense Object Detection) on any backbone.

Shapes: N samples, A anchors of all levels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import box_iou

from sslkit.contracts import Example, FeatureInfo, HeadFeatures, HeadSpec, Meta, Metric, Objects, Task
from sslkit.models.pyramid import Extra, Pyramid
from sslkit_detection.anchors import Anchors, inside_crowd, octave_sizes
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
class RetinaNetRaw:
    """logits (N, A, K), deltas (N, A, 4) of anchors (A, 4), level after level; counts: A of each level."""

    logits: Tensor
    deltas: Tensor
    anchors: Tensor
    counts: list[int]


class RetinaNet(nn.Module):
    """Two small networks on every level of a pyramid: a class and a box for each anchor.

    channels, strides, extra: of the pyramid. An anchor is anchor_scale * stride * 2^(o / octaves) pixels
    large. classification: focal (gamma, alpha) or cross_entropy. beta: below it, in units of the encoded box,
    the box loss is quadratic. prior: probability of an object at the start. class_weights: none, or inverse
    to the objects of each class. Decoding keeps `candidates` a level above score_threshold, then the best
    `detections` that do not overlap one of their class by nms_threshold.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "retinanet", "image", "pyramid", "boxes", "AP50", finest=8, protocol="retinanet-finetune"
    )

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        channels: int = 256,
        strides: tuple[int, ...] = (8, 16, 32),
        extra: Extra = "p6p7",
        anchor_scale: float = 4.0,
        octaves: int = 3,
        ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
        classification: Classification = "focal",
        gamma: float = 2.0,
        alpha: float | None = 0.25,
        beta: float = 1 / 9,
        prior: float = 0.01,
        class_weights: ClassWeights = "none",
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        candidates: int = 1000,
        detections: int = 100,
    ) -> None:
        super().__init__()
        self.classes, self.beta = task.classes, beta
        self.pyramid = Pyramid(info, channels=channels, strides=strides, extra=extra)
        self.anchors = Anchors(
            self.pyramid.strides, octave_sizes(self.pyramid.strides, anchor_scale, octaves), ratios
        )
        head = RetinaNetHead(channels, self.anchors.per_cell, len(task.classes), norm_layer=group_norm)
        bias = torch.logit(torch.tensor(checked_prior(prior))).item()
        nn.init.constant_(head.classification_head.cls_logits.bias, bias)
        # torchvision's whole detector, for its matcher, box coder and decoding; its transform is not used.
        self.detector = detection.RetinaNet(
            NoBackbone(channels),
            len(task.classes),
            anchor_generator=self.anchors.generator,
            head=head,
            score_thresh=score_threshold,
            nms_thresh=nms_threshold,
            topk_candidates=candidates,
            detections_per_img=detections,
        )
        self.judge = BinaryClassification(
            classification, gamma=gamma, alpha=alpha, weights=weights_of(class_weights, task)
        )

    def forward(self, features: HeadFeatures) -> RetinaNetRaw:
        """Logits and encoded boxes of every anchor."""
        maps = self.pyramid(features.maps, features.canvas)
        outputs = self.detector.head([level.values for level in maps])
        anchors = self.anchors(maps)
        return RetinaNetRaw(
            outputs["cls_logits"].float(),
            outputs["bbox_regression"].float(),
            torch.cat(anchors),
            [len(level) for level in anchors],
        )

    def loss(self, raw: RetinaNetRaw, targets: Sequence[Objects]) -> dict[str, Tensor]:
        """Sums over anchors, divided by the anchors of the batch that learn an object (section 4.1)."""
        judged, regressed, count = raw.logits.new_zeros(()), raw.logits.new_zeros(()), 0
        for logits, deltas, target in zip(raw.logits, raw.deltas, targets, strict=True):
            objects, classes, matched = self._assigned(raw.anchors, target)
            judged = judged + self.judge(logits, classes).sum()
            learnt = torch.where(matched >= 0)[0]
            wanted = self.detector.box_coder.encode_single(
                objects.boxes[matched[learnt]], raw.anchors[learnt]
            )
            regressed = regressed + F.smooth_l1_loss(deltas[learnt], wanted, beta=self.beta, reduction="sum")
            count += len(learnt)
        return {"classification": judged / max(count, 1), "boxes": regressed / max(count, 1)}

    def decode(self, raw: RetinaNetRaw, metas: Sequence[Meta]) -> list[Objects]:
        """Boxes clipped to the image, those of one class apart, best first."""
        outputs = {
            "cls_logits": torch.split(raw.logits, raw.counts, dim=1),
            "bbox_regression": torch.split(raw.deltas, raw.counts, dim=1),
        }
        anchors = [torch.split(raw.anchors, raw.counts)] * len(metas)
        detections = self.detector.postprocess_detections(outputs, anchors, [meta.valid for meta in metas])
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
        options = {"channels": 64, "extra": "none", "anchor_scale": 2.0}
        return shapes(seed, goal=0.9, steps=80, lr=2e-3, options=options)

    def anchor_table(self) -> str:
        """The anchors of every level, as text."""
        return self.anchors.table()

    @torch.no_grad()
    def easy_negative_share(self, raw: RetinaNetRaw, targets: Sequence[Objects]) -> float:
        """Share of the classification loss that comes from background with p_t > 0.5, 0..1."""
        classes = torch.stack([self._assigned(raw.anchors, target)[1] for target in targets])
        losses = torch.stack([self.judge(*each) for each in zip(raw.logits, classes, strict=True)])
        return easy_negative_share(losses, raw.logits, classes)

    @torch.no_grad()
    def positives(self, raw: RetinaNetRaw, targets: Sequence[Objects]) -> list[Tensor]:
        """How many anchors learn each object, crowds left out; 0 only where two have one best anchor."""
        assigned = [self._assigned(raw.anchors, target) for target in targets]
        return [positives_per_object(matched, len(objects)) for objects, _, matched in assigned]

    def _assigned(self, anchors: Tensor, target: Objects) -> tuple[Objects, Tensor, Tensor]:
        """The objects to learn; the class of each anchor; the place of its object, below 0 without."""
        objects, crowd = learnable(target)
        matched = torch.full((len(anchors),), BACKGROUND, device=anchors.device)
        if len(objects):  # torchvision's matcher too says -1 below and -2 between its thresholds
            matched = self.detector.proposal_matcher(box_iou(objects.boxes, anchors))
        matched[(matched == BACKGROUND) & inside_crowd(anchors, crowd)] = NEITHER
        classes = matched.clone()
        classes[matched >= 0] = objects.labels[matched[matched >= 0]]
        return objects, classes, matched
