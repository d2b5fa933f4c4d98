"""Mask R-CNN (He et al. 2017): Faster R-CNN with a mask for each object it finds.

Shapes: N samples, R regions of all samples, K classes, M x M cells of a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import roi_align
from torchvision.utils import draw_segmentation_masks

from sslkit.contracts import Example, FeatureInfo, Figures, HeadSpec, Meta, Metric, Objects, Task
from sslkit.models.pyramid import Extra, Norm
from sslkit_detection.drawing import colour, draw_objects
from sslkit_detection.examples import shapes
from sslkit_detection.heads.faster_rcnn import POOLED, FasterRCNN, FasterRCNNRaw
from sslkit_detection.losses import ClassWeights
from sslkit_detection.metrics.coco import CocoAP
from sslkit_detection.objects import learnable
from sslkit_detection.proposing import ProposingMetrics
from sslkit_detection.regions import RegionPool

DRAWN_FROM = 0.3
"""Predictions of a lower score are not drawn."""


class MaskRCNN(FasterRCNN):
    """A third branch says of every cell of a region, for each class by itself, whether it is the object's.

    mask_size: cells of a region along each side; a mask has twice as many. mask_width: of the four layers
    before. All others as of Faster R-CNN.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "mask_rcnn", "image", "pyramid", "masks", "mask AP50", finest=4, protocol="mask-rcnn-finetune"
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
        mask_size: int = 14,
        canonical: float = 224.0,
        width: int = 1024,
        mask_width: int = 256,
        beta: float = 1 / 9,
        class_weights: ClassWeights = "none",
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        detections: int = 100,
    ) -> None:
        super().__init__(
            info,
            task,
            channels=channels,
            strides=strides,
            extra=extra,
            norm=norm,
            anchor_scale=anchor_scale,
            ratios=ratios,
            candidates=candidates,
            proposals=proposals,
            anchor_batch=anchor_batch,
            region_batch=region_batch,
            region_size=region_size,
            canonical=canonical,
            width=width,
            beta=beta,
            class_weights=class_weights,
            score_threshold=score_threshold,
            nms_threshold=nms_threshold,
            detections=detections,
        )
        self.mask_pool = RegionPool(size=mask_size, samples=2, canonical=canonical)
        self.mask_branch = MaskRCNNHeads(channels, (mask_width,) * 4, 1)
        self.mask_predictor = MaskRCNNPredictor(mask_width, mask_width, len(task.classes))

    def loss(self, raw: FasterRCNNRaw, targets: Sequence[Objects]) -> dict[str, Tensor]:
        """Those of Faster R-CNN, and the cross-entropy of the true class's masks (He et al., section 3)."""
        return super().loss(raw, targets) | {"masks": self._mask_loss(raw, targets)}

    def decode(self, raw: FasterRCNNRaw, metas: Sequence[Meta]) -> list[Objects]:
        """The objects of Faster R-CNN, each with its mask in the original; more than half sure is inside."""
        found = super().decode(raw, metas)
        boxes = [_to_canvas(objects.boxes, meta) for objects, meta in zip(found, metas, strict=True)]
        logits = self._masks(raw, [own.to(raw.anchors.device) for own in boxes])
        label = torch.cat([objects.labels for objects in found])
        # On the CPU, where an image of any size has room for its masks.
        shares = logits.detach().cpu()[torch.arange(len(label)), label].sigmoid()
        parts = torch.split(shares, [len(objects) for objects in found])
        return [
            replace(objects, masks=pasted(own, objects.boxes, meta.original))
            for objects, own, meta in zip(found, parts, metas, strict=True)
        ]

    def metrics(self) -> Metric:
        """Average precision of masks, and all that boxes are judged by."""
        return MaskMetrics(self.classes)

    def draw(self, image: np.ndarray, shown: Objects) -> np.ndarray:
        """Masks in the colours of their classes, below the boxes."""
        if shown.scores is not None:
            shown = shown[shown.scores >= DRAWN_FROM]
        if shown.masks is not None and len(shown):
            pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)
            colours = [colour(label) for label in shown.labels.tolist()]
            drawn = draw_segmentation_masks(pixels, shown.masks.cpu(), alpha=0.5, colors=colours)
            image = drawn.permute(1, 2, 0).contiguous().numpy()
        return draw_objects(image, shown, self.classes, least=DRAWN_FROM)

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Coloured shapes on noise, with their pixels."""
        options = {
            "channels": 32, "extra": "none", "anchor_scale": 3.0, "width": 128, "mask_width": 32,
            "canonical": 64.0, "proposals": 100, "region_batch": 64,
        }  # fmt: skip
        example = shapes(seed, goal=0.9, steps=60, lr=2e-3, options=options)
        batch = example.batch
        targets = tuple(
            replace(target, masks=_bright(image, target.boxes))
            for image, target in zip(batch.pixels, batch.targets, strict=True)
            if isinstance(target, Objects)
        )
        return replace(
            example,
            task=replace(example.task, target=cls.spec.target),
            batch=replace(batch, targets=targets),
        )

    def _mask_loss(self, raw: FasterRCNNRaw, targets: Sequence[Objects]) -> Tensor:
        """Of regions drawn as for classification, those that show an object."""
        wanted = [learnable(target)[0] for target in targets]
        truths = [objects.boxes for objects in wanted]
        boxes = self.regions.add_gt_proposals(list(raw.proposals), truths)
        matched, labels = self.regions.assign_targets_to_proposals(
            boxes, truths, [objects.labels + 1 for objects in wanted]
        )
        shown = [
            chosen[own[chosen] > 0]
            for own, chosen in zip(labels, self.regions.subsample(labels), strict=True)
        ]
        regions = [own[chosen] for own, chosen in zip(boxes, shown, strict=True)]
        logits = self._masks(raw, regions)
        if not len(logits):
            return logits.sum()
        size = logits.shape[-1]
        truth = torch.cat(
            [
                cells(_masks_of(objects), own, place[chosen], size)
                for objects, own, place, chosen in zip(wanted, regions, matched, shown, strict=True)
                if len(chosen)
            ]
        )
        label = torch.cat([own[chosen] for own, chosen in zip(labels, shown, strict=True)]) - 1
        return F.binary_cross_entropy_with_logits(logits[torch.arange(len(label)), label], truth)

    def _masks(self, raw: FasterRCNNRaw, boxes: Sequence[Tensor]) -> Tensor:
        """Logits of each class in regions on the canvas, (R, K, M, M)."""
        pooled = [level for level in raw.maps if level.stride <= POOLED] or list(raw.maps[:1])
        logits: Tensor = self.mask_predictor(self.mask_branch(self.mask_pool(pooled, boxes)))
        return logits.float()


class MaskMetrics:
    """COCO's figures of masks, each as "mask AP", "mask AP50" and so on, beside those of `ProposingMetrics`.

    Figures by class are of masks, averaged over COCO's ten IoUs.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.boxes, self.masks = ProposingMetrics(classes), CocoAP(classes, "segm")

    def update(self, ids: Sequence[int], predictions: Sequence[Objects], targets: Sequence[Objects]) -> None:
        """Take in samples."""
        self.boxes.update(ids, predictions, targets)
        self.masks.update(ids, predictions, targets)

    def merge(self, other: MaskMetrics) -> None:
        """Take in what another accumulator has seen of other samples."""
        self.boxes.merge(other.boxes)
        self.masks.merge(other.masks)

    def compute(self) -> Figures:
        """The figures of all samples seen."""
        masks = self.masks.compute()
        named = {f"mask {name}": value for name, value in masks.figures.items()}
        return Figures(named | dict(self.boxes.compute().figures), masks.per_class)


def cells(masks: Tensor, boxes: Tensor, place: Tensor, size: int) -> Tensor:
    """Which of size x size cells of boxes (R, 4) lie in the masks (O, H, W) at places (R,): 0. or 1.

    A cell is inside where at least half of it is. torchvision's projection is half a pixel off.
    """
    rows = torch.cat([place.to(boxes)[:, None], boxes], dim=1)
    shares = roi_align(masks[:, None].to(boxes.dtype), rows, size, 1.0, -1, aligned=True)[:, 0]
    inside: Tensor = shares >= 0.5
    return inside.to(boxes.dtype)


def pasted(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Shares (R, M, M) over boxes (R, 4) to bool (R, *size): pixels whose centre has more than half.

    Bilinear between the centres of cells, exact for boxes between pixels; torchvision's own rounds a box to
    whole pixels and makes it one larger.
    """
    result = torch.zeros(len(masks), *size, dtype=torch.bool)
    for whole, mask, (left, top, right, bottom) in zip(result, masks, boxes.tolist(), strict=True):
        first = [max(int(edge), 0) for edge in (top, left)]
        beyond = [min(int(edge) + 1, limit) for edge, limit in zip((bottom, right), size, strict=True)]
        if beyond[0] <= first[0] or beyond[1] <= first[1]:
            continue
        rows, columns = map(torch.arange, first, beyond)
        # grid_sample's -1 and 1 are the outer edges of the first and last cell.
        down = ((rows + 0.5 - top) / max(bottom - top, 1e-6) * 2 - 1)[:, None].expand(-1, len(columns))
        across = ((columns + 0.5 - left) / max(right - left, 1e-6) * 2 - 1).expand(len(rows), -1)
        grid = torch.stack([across, down], dim=-1)[None].to(mask.dtype)
        shares = F.grid_sample(
            mask[None, None], grid, mode="bilinear", padding_mode="border", align_corners=False
        )[0, 0]
        inside = (down.abs() < 1) & (across.abs() < 1)
        whole[first[0] : beyond[0], first[1] : beyond[1]] = (shares > 0.5) & inside
    return result


def _to_canvas(boxes: Tensor, meta: Meta) -> Tensor:
    height, width = (part / whole for whole, part in zip(meta.original, meta.valid, strict=True))
    return boxes * boxes.new_tensor([width, height, width, height])


def _masks_of(objects: Objects) -> Tensor:
    assert objects.masks is not None, "targets of kind 'masks' have masks"
    return objects.masks


def _bright(image: Tensor, boxes: Tensor) -> Tensor:
    """The pixels of each shape: the noise around is darker, and no other shape is in its box."""
    bright = image.amax(dim=0) > 170
    masks = torch.zeros(len(boxes), *bright.shape, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = bright[top:bottom, left:right]
    return masks
