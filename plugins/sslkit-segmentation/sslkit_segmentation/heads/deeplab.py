"""DeepLab: parallel atrous convolutions look at several surroundings of every cell at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torchvision.models.segmentation.deeplabv3 import ASPPConv

from sslkit.contracts import Example, FeatureInfo, HeadFeatures, HeadSpec, Task
from sslkit_segmentation.canvas import on_canvas, valid_cells
from sslkit_segmentation.examples import learnt_by_heart
from sslkit_segmentation.options import one_of
from sslkit_segmentation.semantic import SemanticHead

# The rates of the papers, and the stride they belong to.
RATES = {2: ((6, 12, 18, 24), 8), 3: ((6, 12, 18), 16)}


class DeepLab(SemanticHead):
    """Atrous spatial pyramid pooling (ASPP) on the coarsest map.

    version: 2 adds up the scores of parallel branches (Chen et al. 2018, TPAMI 40(4), section 3.2); 3 sets
    branches, a 1x1 convolution and the pooled image side by side and projects them (Chen et al. 2017, arXiv
    1706.05587, section 3.3). Branches reach as many pixels as in the papers: at twice the stride half the
    rate. The papers' backbones have an output stride of 8 or 16. width: channels of a branch of version 3.
    The rest as every semantic head.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "deeplab", "image", "map", "semantic", "mIoU", protocol="deeplab-finetune"
    )

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        version: int = 3,
        width: int = 256,
        loss: str = "ce",
        class_weights: str = "none",
        reduction: str = "by_weight",
    ) -> None:
        super().__init__(task, loss=loss, class_weights=class_weights, reduction=reduction)
        rates = atrous_rates(one_of("version", version, RATES), info.strides[-1])
        self.score: SummedASPP | PooledASPP
        if version == 2:
            self.score = SummedASPP(info.channels[-1], len(task.classes), rates)
        else:
            self.score = PooledASPP(info.channels[-1], len(task.classes), rates, width)

    def forward(self, features: HeadFeatures) -> Tensor:
        """Scores of the canvas, float (N, K, H, W)."""
        coarsest = features.maps[-1]
        cells = (coarsest.values.shape[-2], coarsest.values.shape[-1])
        valid = valid_cells(features.metas, cells, coarsest.stride).to(coarsest.values.device)
        return on_canvas(self.score(coarsest.values, valid), coarsest.stride, features.canvas, features.metas)

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Squares of 32 pixels, which the coarsest maps can still show."""
        return learnt_by_heart(seed, grain=32, options={"width": 32}, steps=120, lr=3e-3)


class SummedASPP(nn.Module):
    """Version 2 as it was released for ResNet: one 3x3 convolution to the classes per rate, added up."""

    def __init__(self, channels: int, classes: int, rates: Sequence[int]) -> None:
        super().__init__()
        branches = [nn.Conv2d(channels, classes, 3, padding=rate, dilation=rate) for rate in rates]
        for branch in branches:  # small, so that the sum starts near even odds
            nn.init.normal_(branch.weight, std=0.01)
        self.branches = nn.ModuleList(branches)

    def forward(self, values: Tensor, valid: Tensor) -> Tensor:
        """(N, C, h, w) to scores (N, K, h, w)."""
        return torch.stack([branch(values) for branch in self.branches]).sum(dim=0)


class PooledASPP(nn.Module):
    """Version 3 with torchvision's branches; the image is pooled over its own cells, without padding.

    The pooled branch has no BatchNorm: it would see one value an image and channel.
    """

    def __init__(self, channels: int, classes: int, rates: Sequence[int], width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([_pointwise(channels, width)])
        self.branches.extend(ASPPConv(channels, width, rate) for rate in rates)
        self.pooled = nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU())
        self.project = nn.Sequential(_pointwise((2 + len(rates)) * width, width), nn.Dropout(0.5))
        self.classify = nn.Sequential(ASPPConv(width, width, 1), nn.Conv2d(width, classes, 1))

    def forward(self, values: Tensor, valid: Tensor) -> Tensor:
        """(N, C, h, w), valid cells (N, 1, h, w) to scores (N, K, h, w)."""
        mean = (values * valid).sum(dim=(2, 3), keepdim=True) / valid.sum(dim=(2, 3), keepdim=True)
        image = self.pooled(mean).expand(-1, -1, *values.shape[-2:])
        beside = torch.cat([*(branch(values) for branch in self.branches), image], dim=1)
        scores: Tensor = self.classify(self.project(beside))
        return scores


def atrous_rates(version: int, stride: int) -> tuple[int, ...]:
    """The rates of a version for cells of `stride` pixels, at least 1."""
    rates, native = RATES[version]
    return tuple(max(1, round(rate * native / stride)) for rate in rates)


def _pointwise(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
