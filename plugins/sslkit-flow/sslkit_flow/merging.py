"""Maps of several strides as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sslkit.contracts import FeatureInfo, FeatureMap
from sslkit.models.alignment import check_maps, resampled


class Merged(nn.Module):
    """Every map through a 1x1 convolution of its own, brought to one stride, and added.

    It is one linear layer on the hypercolumn of each cell (Hariharan et al. 2015, section 3), so that depth
    and detail both have a say, and a network of any strides will do.
    """

    def __init__(self, info: FeatureInfo, *, channels: int, stride: int) -> None:
        super().__init__()
        self.info, self.stride = info, stride
        self.project = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in info.channels)

    def forward(self, maps: Sequence[FeatureMap], canvas: tuple[int, int]) -> Tensor:
        """Maps of a canvas of (H, W) pixels to (N, channels, ceil(H / stride), ceil(W / stride))."""
        check_maps(maps, self.info, canvas)
        parts = [
            resampled(FeatureMap(project(part.values), part.stride), self.stride, canvas).values
            for part, project in zip(maps, self.project, strict=True)
        ]
        return torch.stack(parts).sum(dim=0)
