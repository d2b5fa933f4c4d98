"""The fast pathway of SlowFast and its links into the slow one.

Shapes: N clips, T frames, C channels, h x w cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

STEM_KERNEL = (5, 7)
"""Frames and pixels that the first convolution sees at once (Table 1, conv1 of the fast pathway)."""


class FastPathway(nn.Module):
    """A light residual network that sees every frame: (N, C, T, H, W) to one map for each stage.

    It has few channels and looks along time in every block, and never strides along it (Feichtenhofer et al.
    2019, section 3.2). Map k is (N, widths[k], T, h, w) with h = H / strides[k] rounded up.
    depth: residual blocks of each stage after the first, which is one convolution.
    """

    def __init__(self, channels: int, widths: Sequence[int], strides: Sequence[int], *, depth: int) -> None:
        super().__init__()
        time, side = STEM_KERNEL
        side = max(side, strides[0] | 1)  # odd, so that sides are rounded up, and every pixel is seen
        stem = nn.Sequential(_convolution(channels, widths[0], time, side, strides[0]), nn.ReLU())
        steps = [after // before for before, after in pairwise(strides)]
        stages = [
            nn.Sequential(
                FastBlock(narrow, wide, step), *(FastBlock(wide, wide, 1) for _ in range(depth - 1))
            )
            for (narrow, wide), step in zip(pairwise(widths), steps, strict=True)
        ]
        self.stages = nn.ModuleList([stem, *stages])
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, clips: Tensor) -> list[Tensor]:
        """Maps fine to coarse."""
        maps: list[Tensor] = []
        for stage in self.stages:
            clips = stage(clips)
            maps.append(clips)
        return maps


class FastBlock(nn.Module):
    """Three frames, then 3 x 3 cells, beside a shortcut; h and w become h / step and w / step, rounded up.

    A step above 3 widens the window, so that every cell is seen.
    """

    def __init__(self, channels: int, width: int, step: int) -> None:
        super().__init__()
        self.along_time = _convolution(channels, width, 3, 1, 1)
        self.along_space = _convolution(width, width, 1, max(3, step | 1), step)
        same = channels == width and step == 1
        self.shortcut = nn.Identity() if same else _convolution(channels, width, 1, 1, step)

    def forward(self, clips: Tensor) -> Tensor:
        """The block's map."""
        found = self.along_space(F.relu(self.along_time(clips)))
        return F.relu(found + self.shortcut(clips))


class Lateral(nn.Module):
    """A strided convolution along time that brings the fast map to the slow one's frames and channels.

    (N, fast, T, h, w) to (N, slow, T', h, w) with T' = T / stride rounded up (section 3.3, the third
    transformation). Its weights start at zero, so that the slow pathway starts as it was given.
    """

    def __init__(self, fast: int, slow: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(
            fast, slow, (kernel, 1, 1), (stride, 1, 1), (kernel // 2, 0, 0), bias=False
        )
        nn.init.zeros_(self.convolution.weight)

    def forward(self, clips: Tensor) -> Tensor:
        """What is added to the slow map."""
        seen: Tensor = self.convolution(clips)
        return seen


def _convolution(channels: int, width: int, time: int, side: int, step: int) -> nn.Sequential:
    """Convolution and norm over `time` frames and `side` pixels (both odd), with a step in space only."""
    kernel, padding = (time, side, side), (time // 2, side // 2, side // 2)
    return nn.Sequential(
        nn.Conv3d(channels, width, kernel, (1, step, step), padding, bias=False), nn.BatchNorm3d(width)
    )
