"""FlowNet's loss: the endpoint error of predictions at several strides."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from sslkit.errors import ModelError
from sslkit_flow.levels import FlowLevel
from sslkit_flow.losses.endpoint import endpoint_error, mean_where

WEIGHTS = (1.0, 0.5, 0.25, 0.25, 0.25)
"""Of the levels, fine to coarse.

FlowNet's are 0.005, 0.01, 0.02, 0.08, 0.32 of sums over cells; a level has a quarter of the cells of the one
below, so that as weights of means they go as 0.005, 0.01 / 4, 0.02 / 16, ...
"""


def multi_scale_epe(
    levels: Sequence[FlowLevel], truth: Tensor, known: Tensor, weights: Sequence[float] = WEIGHTS
) -> dict[str, Tensor]:
    """Levels, coarse to fine, and truth (N, 2, H, W), known (N, H, W), to a weighted error each, by stride.

    Dosovitskiy et al. 2015, section 3 and the code that goes with it: at each stride the truth is averaged
    over the known pixels of a cell and stays in pixels of the canvas, whatever the stride; the error is the
    mean over the cells that know any. Raises ModelError for more levels than weights.
    """
    if len(levels) > len(weights):
        raise ModelError(f"{len(levels)} levels of flow were given and {len(weights)} weights; one a level")
    terms = {}
    for level, weight in zip(reversed(levels), weights, strict=False):
        rows, columns = (math.ceil(side / level.stride) for side in truth.shape[-2:])
        coarse, there = downsampled(truth, known, level.stride)
        error = endpoint_error(level.vectors[..., :rows, :columns], coarse)
        terms[f"epe_{level.stride}"] = weight * mean_where(error, there)
    return terms


def downsampled(truth: Tensor, known: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Vectors (N, 2, H, W) averaged over the known pixels of each cell, and which cells have any.

    Gives (N, 2, h, w) and bool (N, h, w), h and w rounded up. Vectors keep their length.
    """
    mask = known[:, None].to(truth.dtype)
    down, right = (-truth.shape[-2]) % stride, (-truth.shape[-1]) % stride
    pad = (0, right, 0, down)
    shares = F.avg_pool2d(F.pad(mask, pad), stride)
    sums = F.avg_pool2d(F.pad(truth * mask, pad), stride)
    there = shares > 0
    return sums / shares.where(there, shares.new_ones(())), there[:, 0]
