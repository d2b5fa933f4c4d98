"""Scores of cells to scores of pixels, where padding has no vote.

Shapes: N images, K classes, h x w cells of `stride` pixels, H x W pixels of the canvas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.contracts import Meta


def valid_cells(metas: Sequence[Meta], cells: tuple[int, int], stride: float) -> Tensor:
    """Which cells have their centre in the image and not in the padding: float (N, 1, h, w) of 0 and 1.

    The first cell always counts, however small the image is.
    """
    mask = torch.zeros(len(metas), 1, *cells)
    for image, meta in zip(mask, metas, strict=True):
        rows, columns = (max(1, math.ceil(side / stride - 0.5)) for side in meta.valid)
        image[:, :rows, :columns] = 1
    return mask


def on_canvas(scores: Tensor, stride: float, canvas: tuple[int, int], metas: Sequence[Meta]) -> Tensor:
    """(N, K, h, w) to float (N, K, H, W), bilinear between the centres of the valid cells.

    A cell of padding has weight 0 and the others share what is missing, so that a pixel at the edge of an
    image gets the same scores whatever lies beside the image. Far from any valid cell scores are 0.
    """
    scores = scores.float()
    mask = valid_cells(metas, (scores.shape[-2], scores.shape[-1]), stride).to(scores.device)
    size = [round(cells * stride) for cells in scores.shape[-2:]]
    # Where rather than times: a padded cell may hold anything, and 0 times infinity is no number.
    kept = torch.where(mask.bool(), scores, scores.new_zeros(()))
    votes = F.interpolate(kept, size=size, mode="bilinear", align_corners=False)
    weights = F.interpolate(mask, size=size, mode="bilinear", align_corners=False)
    return (votes / weights.clamp(min=1e-6))[..., : canvas[0], : canvas[1]]
