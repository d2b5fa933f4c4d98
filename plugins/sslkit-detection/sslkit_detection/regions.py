"""Features of regions: every box cut out of the pyramid level that suits its size.

Shapes: R boxes of all samples, C channels, P x P cells of a pooled region.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from sslkit.contracts import FeatureMap

FINEST_WHOLE = 16
"""The stride at which a box of the canonical size is pooled, 2^4 (Lin et al. 2017a, equation 1)."""


class RegionPool(nn.Module):
    """RoIAlign (He et al. 2017, section 3) at the strides the maps have, cells centred at stride * (i + 0.5).

    size: P. samples: bilinear samples a cell along each side. canonical: pixels; a box of this size is pooled
    at stride 16, one half as large at 8, and so on within the levels there are.
    """

    def __init__(self, *, size: int, samples: int, canonical: float) -> None:
        super().__init__()
        self.size, self.samples, self.canonical = size, samples, canonical

    def forward(self, maps: Sequence[FeatureMap], boxes: Sequence[Tensor]) -> Tensor:
        """Maps fine to coarse and boxes (R_n, 4) of each sample to (R, C, P, P)."""
        rows = torch.cat(
            [torch.cat([own.new_full((len(own), 1), sample), own], dim=1) for sample, own in enumerate(boxes)]
        )
        levels = self.levels(rows[:, 1:], [level.stride for level in maps])
        channels = maps[0].values.shape[1]
        pooled = maps[0].values.new_zeros(len(rows), channels, self.size, self.size)
        for place, level in enumerate(maps):
            chosen = torch.where(levels == place)[0]
            pooled[chosen] = roi_align(
                level.values, rows[chosen], self.size, 1 / level.stride, self.samples, aligned=True
            )
        return pooled

    def levels(self, boxes: Tensor, strides: Sequence[int]) -> Tensor:
        """The place of each box's level, int64 (R,): the coarsest whose stride is at most the wanted one."""
        sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6).prod(dim=1).sqrt()
        wanted = FINEST_WHOLE * 2 ** torch.floor(torch.log2(sides / self.canonical) + 1e-6)
        return (wanted[:, None] >= wanted.new_tensor(list(strides))).sum(dim=1).sub(1).clamp(min=0)
