"""How alike each cell of one map is to the cells around the same place in another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.errors import ModelError


def cost_volume(first: Tensor, second: Tensor, max_displacement: int, stride: int = 1) -> Tensor:
    """Products of two maps (N, C, h, w) for all displacements, (N, (2d + 1)^2, h, w).

    FlowNetC's correlation of single cells (Dosovitskiy et al. 2015, section 3, equation 1 with k = 0):
    channel (i + d)(2d + 1) + j + d is the sum over C of first(y, x) second(y + i s, x + j s), for i and j
    from -d to d, d being `max_displacement` and s `stride`; beyond its border `second` is zero. Raises
    ModelError for maps of two shapes and for a d below 0 or an s below 1.
    """
    if first.shape != second.shape or first.dim() != 4:
        raise ModelError(
            f"a cost volume of maps {tuple(first.shape)} and {tuple(second.shape)} was asked for; "
            "it takes two maps (N, C, h, w) of one shape"
        )
    if max_displacement < 0 or stride < 1:
        raise ModelError(
            f"a cost volume has max_displacement {max_displacement} and stride {stride}; "
            "they are at least 0 and 1, such as 4 and 1"
        )
    reach, (height, width) = max_displacement * stride, first.shape[-2:]
    ours = first.permute(0, 2, 3, 1)  # N, h, w, C
    theirs = F.pad(second, (reach,) * 4).permute(0, 2, 1, 3)  # N, h + 2 reach, C, w + 2 reach
    steps = torch.arange(0, 2 * reach + 1, stride, device=first.device)
    columns = torch.arange(width, device=first.device)[:, None] + steps
    columns = columns.expand(first.shape[0], height, -1, -1)  # N, h, w, 2d + 1
    # One product of whole rows a vertical displacement; of those the band beside the diagonal is kept.
    bands = [
        torch.matmul(ours, theirs[:, down : down + height]).gather(-1, columns)
        for down in range(0, 2 * reach + 1, stride)
    ]
    return torch.stack(bands, dim=1).permute(0, 1, 4, 2, 3).flatten(1, 2)
