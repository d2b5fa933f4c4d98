"""U-Net: a decoder that climbs back through all maps of the backbone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from sslkit.contracts import Example, FeatureInfo, HeadFeatures, HeadSpec, Task
from sslkit.errors import ModelError
from sslkit_segmentation.canvas import on_canvas
from sslkit_segmentation.examples import learnt_by_heart
from sslkit_segmentation.mirroring import mirrored
from sslkit_segmentation.options import one_of
from sslkit_segmentation.semantic import SemanticHead
from sslkit_segmentation.unpooling import UNPOOLING

PADDING = ("same", "valid")
LOST = 2
"""Cells that two unpadded 3x3 convolutions cost at every side."""
FINE_ENOUGH = 4
"""Beyond the finest map the decoder goes on, without skips, to cells of at most so many pixels."""
WIDEST = 256


class UNet(SemanticHead):
    """Unpool, put the finer map beside, convolve twice, up to the finest map (Ronneberger et al. 2015).

    padding: `same` pads with zeros. `valid` pads nothing, so that a level loses two cells at every side. As
    in the paper's overlap-tile strategy (section 2) what lies beyond the edge is mirrored, here in the maps,
    and skips are cropped to the decoder's map: every pixel gets scores, and none that zeros had a part in.
    unpooling: `nearest`, `bed_of_nails` or `bilinear`. width: channels at the finest level, doubled at each
    coarser one, 256 at most. On a network of one stride the skips are of several depths. The rest as every
    semantic head. Raises ModelError where strides must be multiples of each other and are not.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "unet", "image", "pyramid", "semantic", "mIoU", finest=1, protocol="unet-finetune"
    )

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        padding: str = "same",
        unpooling: str = "bilinear",
        width: int = 32,
        loss: str = "ce",
        class_weights: str = "none",
        reduction: str = "by_weight",
    ) -> None:
        super().__init__(task, loss=loss, class_weights=class_weights, reduction=reduction)
        self.unpool = UNPOOLING[one_of("unpooling", unpooling, UNPOOLING)]
        zeros = one_of("padding", padding, PADDING) == "same"
        self.ratios = climb(info.strides, whole=not zeros or unpooling == "bed_of_nails")
        self.stride = info.strides[-1] / math.prod(self.ratios)
        self.margin = 0 if zeros else first_margin(self.ratios)
        self.lost = 0 if zeros else LOST
        skips = list(info.channels[-2::-1])
        skips += [0] * (len(self.ratios) - len(skips))
        inputs = info.channels[-1]
        self.levels = nn.ModuleList()
        for place, skip in enumerate(skips):
            outputs = min(width * 2 ** (len(skips) - 1 - place), WIDEST)
            self.levels.append(_two_convolutions(inputs + skip, outputs, padding=int(zeros)))
            inputs = outputs
        self.classify = nn.Conv2d(inputs, len(task.classes), 1)

    def forward(self, features: HeadFeatures) -> Tensor:
        """Scores of the canvas, float (N, K, H, W)."""
        *fine, coarsest = (part.values for part in features.maps)
        margin = self.margin
        values = mirrored(coarsest, margin)
        for ratio, level in zip(self.ratios, self.levels, strict=True):
            margin = round(margin * ratio)
            if fine:
                # Mirrored by the margin: what a map mirrored further would be after cropping.
                skip = mirrored(fine.pop(), margin)
                values = self.unpool(values, (skip.shape[-2], skip.shape[-1]))
                values = torch.cat([values, skip], dim=1)
            else:
                values = self.unpool(
                    values, (round(values.shape[-2] * ratio), round(values.shape[-1] * ratio))
                )
            values = level(values)
            margin -= self.lost
        values = values[..., margin : values.shape[-2] - margin, margin : values.shape[-1] - margin]
        return on_canvas(self.classify(values), self.stride, features.canvas, features.metas)

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Shapes."""
        return learnt_by_heart(seed, options={"width": 8}, steps=100, lr=1e-2)


def climb(strides: Sequence[int], *, whole: bool) -> tuple[float, ...]:
    """By how much each level is finer than the one below, from the coarsest map to `FINE_ENOUGH` or finer.

    whole: raise ModelError for strides that are no multiples of each other.
    """
    ratios = [coarse / fine for fine, coarse in pairwise(strides)][::-1]
    if whole and any(ratio != int(ratio) for ratio in ratios):
        raise ModelError(
            f"the backbone's maps have strides {tuple(strides)}; padding valid and unpooling bed_of_nails "
            "need each to be a multiple of the next finer one; use padding same with another unpooling"
        )
    finest = float(strides[0])
    while finest > FINE_ENOUGH:
        ratios.append(2.0)
        finest /= 2
    return tuple(ratios)


def first_margin(ratios: Sequence[float]) -> int:
    """The least margin of the coarsest map, in its cells, that leaves none missing at the finest level."""
    margin = 0
    for ratio in reversed(ratios):
        margin = math.ceil((margin + LOST) / ratio)
    return margin


def _two_convolutions(inputs: int, outputs: int, *, padding: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers.append(nn.Conv2d(channels, outputs, 3, padding=padding, bias=False))
        layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)
