"""FlowNet's expanding part: flow from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit_flow.levels import FlowLevel

SLOPE = 0.1
SCALE = 20.0
"""Pixels for one unit of what the layers predict, as FlowNet divides its targets by 20."""


class Refinement(nn.Module):
    """At each level predict flow from what is known, then go on to the finer one (FlowNet, section 3).

    The features are upconvolved (4x4, stride 2), the flow is interpolated; both join the finer level's skip.
    channels, strides: of the skips, fine to coarse, each stride twice the one before. width: of the
    upconvolved features at the finest level, doubled at each coarser one.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], *, width: int) -> None:
        super().__init__()
        self.strides = tuple(strides)
        widths = [width * 2**place for place in range(len(channels) - 1)]
        joined = [skip + up + 2 for skip, up in zip(channels, widths, strict=False)] + [channels[-1]]
        self.predict = nn.ModuleList(nn.Conv2d(inputs, 2, 3, padding=1) for inputs in joined)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
            for inputs, outputs in zip(joined[1:], widths, strict=True)
        )

    def forward(self, skips: Sequence[Tensor]) -> list[FlowLevel]:
        """Skips (N, C, h, w), fine to coarse, to flow at each of their strides, coarse to fine."""
        known = skips[-1]
        flow = SCALE * self.predict[-1](known)
        levels = [FlowLevel(flow, self.strides[-1])]
        for place in reversed(range(len(self.up))):
            rows, columns = skips[place].shape[-2:]
            raised = F.interpolate(flow.float(), scale_factor=2, mode="bilinear", align_corners=False)
            features = F.leaky_relu(self.up[place](known), SLOPE)
            parts = [skips[place], features[..., :rows, :columns], raised[..., :rows, :columns] / SCALE]
            known = torch.cat([part.to(skips[place].dtype) for part in parts], dim=1)
            flow = SCALE * self.predict[place](known)
            levels.append(FlowLevel(flow, self.strides[place]))
        return levels
