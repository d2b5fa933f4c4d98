"""FlowNet's contracting part: convolutions to coarser and coarser maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sslkit_flow.refinement import SLOPE


class Contraction(nn.Module):
    """Halve with one convolution and look again with another, level by level (FlowNet, section 3, figure 2).

    channels: of what is given. widths: of the levels. kernels: of the halving convolutions; a level whose
    kernel is larger than 3 has no second one, as in the paper.
    """

    def __init__(self, channels: int, widths: Sequence[int], kernels: Sequence[int]) -> None:
        super().__init__()
        self.halve, self.look = nn.ModuleList(), nn.ModuleList()
        for width, kernel in zip(widths, kernels, strict=True):
            self.halve.append(nn.Conv2d(channels, width, kernel, stride=2, padding=kernel // 2))
            again = nn.Conv2d(width, width, 3, padding=1)
            self.look.append(nn.Identity() if kernel > 3 else nn.Sequential(again, nn.LeakyReLU(SLOPE)))
            channels = width
        self.active = nn.LeakyReLU(SLOPE)

    def forward(self, values: Tensor) -> list[Tensor]:
        """(N, C, h, w) to maps of half, a quarter ... of its sides, rounded up."""
        levels = []
        for halve, look in zip(self.halve, self.look, strict=True):
            # The bf16 gradient of a strided convolution on one cell is not always written (torch 2.15, CPU).
            with torch.autocast("cpu", enabled=False):
                values = self.active(halve(values.float()))
            values = look(values)
            levels.append(values)
        return levels
