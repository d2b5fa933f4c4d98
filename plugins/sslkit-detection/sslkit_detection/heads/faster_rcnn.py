"""Faster R-CNN (Ren et al. 2015) with a feature pyramid (Lin et al. 2017) on any backbone.

Shapes: N samples, A anchors of all levels, R proposals of a sample, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import (
    RegionProposalNetwork,
    RPNHead,
    concat_box_prediction_layers,
)

from sslkit.contracts import (
    Example,
    FeatureInfo,
    FeatureMap,
    HeadFeatures,
    HeadSpec,
    Meta,
    Metric,
    Objects,
    Task,
)
from sslkit.models.pyramid import Extra, Norm, Pyramid
from sslkit_detection.anchors import Anchors, inside_crowd
from sslkit_detection.drawing import draw_objects
from sslkit_detection.examples import shapes
from sslkit_detection.losses import ClassWeights, weights_of
from sslkit_detection.objects import found, learnable
from sslkit_detection.proposing import Proposed, ProposingMetrics
from sslkit_detection.regions import RegionPool

POOLED = 32
"""Regions are cut from levels up to this stride; coarser ones serve proposals only (Lin et al. 2017)."""


@dataclass(frozen=True)
class FasterRCNNRaw:
    """The pyramid, what the proposal network says of every anchor of a batch, and what it proposes.

    objectness: logits (N, A). deltas: (N, A, 4) of anchors (A, 4). proposals: (R, 4) of each sample, best
    first, on the canvas and without gradient.
    """

    maps: tuple[FeatureMap, ...]
    objectness: Tensor
    deltas: Tensor
    anchors: Tensor
    proposals: tuple[Tensor, ...]


class FasterRCNN(nn.Module):
    """A network proposes regions on every level of a pyramid, a second one classifies and refines each.

    channels, strides, extra, norm: of the pyramid. An anchor is anchor_scale * stride pixels large.
    proposals: kept of an image, after `candidates` of each level and suppression at 0.7. width: of the two
    layers on a region. canonical: pixels; a region of this size is pooled at stride 16. anchor_batch,
    region_batch: drawn from an image for the losses. beta: below it, in units of the encoded box, box losses
    are quadratic; 0 is L1.
    class_weights: none, or inverse to the objects of each class; background weighs 1.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "faster_rcnn", "image", "pyramid", "boxes", "AP50", finest=4, protocol="faster-rcnn-finetune"
    )

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        channels: int = 256,
        strides: tuple[int, ...] = (4, 8, 16, 32),
        extra: Extra = "pool",
        norm: Norm = "auto",
        anchor_scale: float = 8.0,
        ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
        candidates: int = 1000,
        proposals: int = 1000,
        anchor_batch: int = 256,
        region_batch: int = 512,
        region_size: int = 7,
        canonical: float = 224.0,
        width: int = 1024,
        beta: float = 1 / 9,
        class_weights: ClassWeights = "none",
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        detections: int = 100,
    ) -> None:
        super().__init__()
        self.classes, self.beta = task.classes, beta
        self.pyramid = Pyramid(info, channels=channels, strides=strides, extra=extra, norm=norm)
        levels = self.pyramid.strides
        self.anchors = Anchors(levels, [(anchor_scale * stride,) for stride in levels], ratios)
        self.proposer = proposal_network(
            self.anchors, channels, candidates=candidates, proposals=proposals, anchor_batch=anchor_batch
        )
        self.pool = RegionPool(size=region_size, samples=2, canonical=canonical)
        self.regions = region_network(
            self.pool,
            TwoMLPHead(channels * region_size**2, width),
            FastRCNNPredictor(width, len(task.classes) + 1),
            region_batch=region_batch,
            score_threshold=score_threshold,
            nms_threshold=nms_threshold,
            detections=detections,
        )
        self.weigh(task, class_weights)

    def weigh(self, task: Task, class_weights: ClassWeights) -> None:
        """Keep what each class weighs, background first; None where all weigh the same."""
        weights = weights_of(class_weights, task)
        if weights is not None:
            weights = torch.cat([torch.ones(1), weights])
        self.weights: Tensor | None
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, features: HeadFeatures) -> FasterRCNNRaw:
        """The pyramid and its proposals, the best of each image clipped to it."""
        maps = tuple(
            FeatureMap(level.values.float(), level.stride)
            for level in self.pyramid(features.maps, features.canvas)
        )
        return self.proposed(maps, maps, features)

    def proposed(
        self, searched: Sequence[FeatureMap], maps: tuple[FeatureMap, ...], features: HeadFeatures
    ) -> FasterRCNNRaw:
        """Proposals of the maps searched, beside the maps that regions are going to be cut from."""
        levels = self.anchors(searched)
        anchors, count = torch.cat(levels), len(features.metas)
        objectness, deltas = concat_box_prediction_layers(
            *self.proposer.head([level.values for level in searched])
        )
        deltas = deltas.float()
        with torch.no_grad():
            boxes = self.proposer.box_coder.decode(deltas, [anchors] * count).view(count, -1, 4)
            proposals, _ = self.proposer.filter_proposals(
                boxes,
                objectness.float(),
                [meta.valid for meta in features.metas],
                [len(own) for own in levels],
            )
        return FasterRCNNRaw(
            maps, objectness.float().view(count, -1), deltas.view(count, -1, 4), anchors, tuple(proposals)
        )

    def loss(self, raw: FasterRCNNRaw, targets: Sequence[Objects]) -> dict[str, Tensor]:
        """Those of proposals (Ren et al. 2015, equation 1) and of regions (Girshick 2015, section 2.3)."""
        wanted = [learnable(target) for target in targets]
        return self._proposal_losses(raw, wanted) | self._region_losses(raw, wanted)

    def decode(self, raw: FasterRCNNRaw, metas: Sequence[Meta]) -> list[Objects]:
        """Boxes clipped to the image, those of one class apart, best first, and all proposals."""
        scores, deltas = self._judged(raw.maps, raw.proposals)
        parts = self.regions.postprocess_detections(
            scores, deltas, list(raw.proposals), [meta.valid for meta in metas]
        )
        detections = [
            {"boxes": boxes, "scores": own, "labels": labels - 1}  # 0 is background inside
            for boxes, own, labels in zip(*parts, strict=True)
        ]
        return [
            Proposed.of(objects, meta.boxes_to_original(proposals.cpu()))
            for objects, meta, proposals in zip(found(detections, metas), metas, raw.proposals, strict=True)
        ]

    def metrics(self) -> Metric:
        """Average precision, and the recall of the proposals."""
        return ProposingMetrics(self.classes)

    def draw(self, image: np.ndarray, shown: Objects) -> np.ndarray:
        """Boxes with their classes."""
        return draw_objects(image, shown, self.classes)

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Coloured shapes on noise."""
        options = {
            "channels": 32, "extra": "none", "anchor_scale": 3.0, "width": 128,
            "canonical": 64.0, "proposals": 100, "region_batch": 64,
        }  # fmt: skip
        return shapes(seed, goal=0.9, steps=80, lr=2e-3, options=options)

    def anchor_table(self) -> str:
        """The anchors of every level, as text."""
        return self.anchors.table()

    def _proposal_losses(
        self, raw: FasterRCNNRaw, wanted: Sequence[tuple[Objects, Tensor]]
    ) -> dict[str, Tensor]:
        """Of anchors drawn from each image; both sums are divided by how many were drawn in all."""
        truths = [{"boxes": objects.boxes} for objects, _ in wanted]
        truth, boxes = self.proposer.assign_targets_to_anchors([raw.anchors] * len(wanted), truths)
        for own, (_, crowd) in zip(truth, wanted, strict=True):
            own[(own == 0) & inside_crowd(raw.anchors, crowd)] = -1  # which is never drawn
        positives, negatives = (torch.stack(drawn).bool() for drawn in self.proposer.fg_bg_sampler(truth))
        drawn = positives | negatives
        count = max(int(drawn.sum()), 1)
        sample, place = torch.where(positives)
        codes = self.proposer.box_coder.encode_single(torch.stack(boxes)[sample, place], raw.anchors[place])
        return {
            "objectness": F.binary_cross_entropy_with_logits(
                raw.objectness[drawn], torch.stack(truth)[drawn], reduction="sum"
            )
            / count,
            "proposals": F.smooth_l1_loss(raw.deltas[positives], codes, beta=self.beta, reduction="sum")
            / count,
        }

    def _region_losses(
        self, raw: FasterRCNNRaw, wanted: Sequence[tuple[Objects, Tensor]]
    ) -> dict[str, Tensor]:
        """Of regions drawn from each image's proposals and objects, a quarter of them objects at most."""
        truths = [objects.boxes for objects, _ in wanted]
        boxes = self.regions.add_gt_proposals(list(raw.proposals), truths)
        matched, labels = self.regions.assign_targets_to_proposals(
            boxes, truths, [objects.labels + 1 for objects, _ in wanted]
        )
        for own, where, (_, crowd) in zip(labels, boxes, wanted, strict=True):
            own[(own == 0) & inside_crowd(where, crowd)] = -1
        drawn = self.regions.subsample(labels)
        boxes = [own[chosen] for own, chosen in zip(boxes, drawn, strict=True)]
        label = torch.cat([own[chosen] for own, chosen in zip(labels, drawn, strict=True)])
        scores, deltas = self._judged(raw.maps, boxes)
        codes = torch.cat(
            [
                self.regions.box_coder.encode_single(truth[place[chosen]] if len(truth) else own, own)
                for own, truth, place, chosen in zip(boxes, truths, matched, drawn, strict=True)
            ]
        )
        objects, count = torch.where(label > 0)[0], max(len(label), 1)
        chosen = deltas.view(len(label), scores.shape[1], 4)[objects, label[objects]]
        return {
            "classification": F.cross_entropy(scores, label, self.weights, reduction="sum") / count,
            "boxes": F.smooth_l1_loss(chosen, codes[objects], beta=self.beta, reduction="sum") / count,
        }

    def _judged(self, maps: Sequence[FeatureMap], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (R, 1 + K), background first, and encoded boxes (R, 4 (1 + K)) of all regions."""
        pooled = [level for level in maps if level.stride <= POOLED] or list(maps[:1])
        scores, deltas = self.regions.box_predictor(self.regions.box_head(self.pool(pooled, boxes)))
        return scores.float(), deltas.float()


def proposal_network(
    anchors: Anchors, channels: int, *, candidates: int, proposals: int, anchor_batch: int
) -> RegionProposalNetwork:
    """torchvision's, on maps of so many channels; options as of `FasterRCNN`."""
    before, after = (dict.fromkeys(("training", "testing"), count) for count in (candidates, proposals))
    return RegionProposalNetwork(
        anchors.generator,
        RPNHead(channels, anchors.per_cell),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=anchor_batch,
        positive_fraction=0.5,
        pre_nms_top_n=before,
        post_nms_top_n=after,
        nms_thresh=0.7,
    )


def region_network(
    pool: RegionPool,
    head: nn.Module,
    predictor: FastRCNNPredictor,
    *,
    region_batch: int,
    score_threshold: float,
    nms_threshold: float,
    detections: int,
) -> RoIHeads:
    """torchvision's, with any layers between a region and what is said of it."""
    return RoIHeads(
        pool,
        head,
        predictor,
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=region_batch,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=score_threshold,
        nms_thresh=nms_threshold,
        detections_per_img=detections,
    )
