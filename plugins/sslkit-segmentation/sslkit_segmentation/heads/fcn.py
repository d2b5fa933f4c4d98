"""Fully convolutional network: class scores of several depths, added from coarse to fine."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation.fcn import FCNHead

from sslkit.contracts import Example, FeatureInfo, HeadFeatures, HeadSpec, Task
from sslkit_segmentation.canvas import on_canvas
from sslkit_segmentation.examples import learnt_by_heart
from sslkit_segmentation.options import one_of
from sslkit_segmentation.semantic import SemanticHead

SKIPS = {32: 0, 16: 1, 8: 2}


class FCN(SemanticHead):
    """FCN-32s, -16s or -8s (Long et al. 2015, section 4) on the last one, two or three maps.

    stride: 32, 16 or 8, as the paper names its nets. On a network of other strides it stands for the number
    of maps, on one of a single stride they are of several depths. Scores of the coarsest map come from
    torchvision's head (a 3x3 convolution takes the place of the paper's fc6 and fc7), those of the finer
    maps from 1x1 convolutions that start at zero. Upsampling between maps is bilinear at first and learnt,
    the last to the pixels is bilinear for good. The rest as every semantic head.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "fcn", "image", "pyramid", "semantic", "mIoU", protocol="fcn-finetune"
    )

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        stride: int = 8,
        loss: str = "ce",
        class_weights: str = "none",
        reduction: str = "by_weight",
    ) -> None:
        super().__init__(task, loss=loss, class_weights=class_weights, reduction=reduction)
        self.used = 1 + min(SKIPS[one_of("stride", stride, SKIPS)], len(info.channels) - 1)
        *fine, coarsest = info.channels[-self.used :]
        strides = info.strides[-self.used :]
        classes = len(task.classes)
        self.start = FCNHead(coarsest, classes)
        self.skips = nn.ModuleList(nn.Conv2d(channels, classes, 1) for channels in fine)
        for skip in self.skips:
            for parameter in skip.parameters():
                nn.init.zeros_(parameter)
        self.ups = nn.ModuleList(_upsampling(classes, b / a) for a, b in pairwise(strides))

    def forward(self, features: HeadFeatures) -> Tensor:
        """Scores of the canvas, float (N, K, H, W)."""
        *fine, coarsest = features.maps[-self.used :]
        scores: Tensor = self.start(coarsest.values)
        stride = coarsest.stride
        for part, skip, up in zip(fine[::-1], self.skips[::-1], self.ups[::-1], strict=True):
            raised = up(scores)
            size = part.values.shape[-2:]
            if raised.shape[-2:] != size:  # strides that are no multiples of each other
                raised = F.interpolate(raised, size=size, mode="bilinear", align_corners=False)
            scores, stride = raised + skip(part.values), part.stride
        return on_canvas(scores, stride, features.canvas, features.metas)

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Shapes, which cells of 8 pixels can show."""
        return learnt_by_heart(seed, steps=120, lr=1e-2)


def bilinear_kernel(ratio: int) -> Tensor:
    """The kernel of a transposed convolution of stride r that interpolates; its side is 2 r - r mod 2."""
    side = 2 * ratio - ratio % 2
    distance = (torch.arange(side, dtype=torch.float32) - (side - 1) / 2).abs() / ratio
    line = 1 - distance
    return line[:, None] * line


def _upsampling(classes: int, ratio: float) -> nn.Module:
    """Each class by itself at first, as bilinear interpolation does; then learnt."""
    if ratio == 1 or ratio != int(ratio):
        return nn.Identity()
    whole = int(ratio)
    kernel = bilinear_kernel(whole)
    padding = (kernel.shape[0] - whole) // 2
    up = nn.ConvTranspose2d(classes, classes, kernel.shape[0], whole, padding, bias=False)
    with torch.no_grad():
        up.weight.zero_()
        up.weight[range(classes), range(classes)] = kernel
    return up
