"""Which cells of a map are picture and not padding of the canvas.

Shapes: N clips, T' frames of a map, C channels, h x w cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslkit.contracts import FeatureMap, Meta


def shares(one: FeatureMap, metas: Sequence[Meta]) -> Tensor:
    """How much of each cell is picture, (N, h, w) in 0..1; images lie at the top left of their canvas."""
    height, width = one.values.shape[-2:]
    valid = one.values.new_tensor([meta.valid for meta in metas], dtype=torch.float32) / one.stride
    down, right = (torch.arange(cells, device=valid.device) for cells in (height, width))
    rows = (valid[:, :1] - down).clamp(0, 1)
    columns = (valid[:, 1:] - right).clamp(0, 1)
    return rows[:, :, None] * columns[:, None]


def mean_of_frames(one: FeatureMap, metas: Sequence[Meta]) -> Tensor:
    """The mean over the picture of each frame's map, (N, T', C, h, w) to (N, T', C)."""
    weights = shares(one, metas)[:, None, None]
    return (one.values * weights).sum(dim=(-2, -1)) / weights.sum(dim=(-2, -1))
