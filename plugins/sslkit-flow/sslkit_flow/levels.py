"""Estimates of flow on a grid of cells, and what they say of each pixel of an original."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from sslkit.contracts import Meta


class FlowLevel(NamedTuple):
    """Displacements float (N, 2, h, w) as (x, y) in pixels of the canvas, one each `stride` pixels."""

    vectors: Tensor
    stride: int


def on_canvas(level: FlowLevel, canvas: tuple[int, int]) -> Tensor:
    """A level for each pixel of a canvas of (H, W), float (N, 2, H, W), bilinear between centres of cells."""
    return _fine(level.vectors, level.stride)[..., : canvas[0], : canvas[1]]


def to_original(vectors: Tensor, stride: int, meta: Meta) -> Tensor:
    """Vectors (2, h, w) of one sample on its canvas to (2, *original), in pixels of the original.

    Bilinear between the centres of the cells that show the image; cells of padding have no say.
    """
    rows, columns = (math.ceil(side / stride) for side in meta.valid)
    fine = _fine(vectors[None, :, :rows, :columns], stride)[..., : meta.valid[0], : meta.valid[1]]
    if meta.original != meta.valid:
        fine = F.interpolate(fine, size=meta.original, mode="bilinear", align_corners=False)
    height, width = (whole / part for whole, part in zip(meta.original, meta.valid, strict=True))
    return fine[0] * fine.new_tensor([width, height]).view(2, 1, 1)


def _fine(vectors: Tensor, stride: int) -> Tensor:
    if stride == 1:
        return vectors.float()
    return F.interpolate(vectors.float(), scale_factor=stride, mode="bilinear", align_corners=False)
