"""Maps of any stride on a grid asked for: cell i of a map of stride s is centred at pixel s (i + 1/2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.contracts import FeatureInfo, FeatureMap
from sslkit.errors import ModelError


def cells(canvas: tuple[int, int], stride: int) -> tuple[int, int]:
    """Rows and columns of a map of this stride that covers a canvas of (H, W) pixels."""
    return math.ceil(canvas[0] / stride), math.ceil(canvas[1] / stride)


def resampled(feature: FeatureMap, stride: int, canvas: tuple[int, int]) -> FeatureMap:
    """A map at another stride, (N, C, *cells(canvas, stride)), each cell centred where it should be.

    Bilinear, antialiased where the map shrinks to half or less (below that the filter would move values by
    up to 1/18 of a cell). What lies beyond the map, because the new cells reach further
    than the old, repeats its border.
    """
    want = cells(canvas, stride)
    # The smallest old and new grids of the same extent in pixels, so that the scale is exact.
    extent = math.lcm(feature.stride, stride)
    covers = [math.ceil(count * stride / extent) * extent for count in want]
    values = _reach(feature.values, [cover // feature.stride for cover in covers])
    if stride != feature.stride:
        values = _scaled(values, [cover // stride for cover in covers], halves=stride >= 2 * feature.stride)
    return FeatureMap(values[..., : want[0], : want[1]], stride)


def check_maps(maps: Sequence[FeatureMap], info: FeatureInfo, canvas: tuple[int, int]) -> None:
    """Raise ModelError unless these are the maps that `info` describes and cover the canvas."""
    given = [(feature.values.shape[1], feature.stride) for feature in maps]
    expected = list(zip(info.channels, info.strides, strict=True))
    if given != expected:
        raise ModelError(
            f"maps of (channels, stride) {given} were given to a module built for {expected}; "
            "build it with the info of the backbone that makes the maps"
        )
    for feature in maps:
        have, need = feature.values.shape[-2:], cells(canvas, feature.stride)
        if have[0] < need[0] or have[1] < need[1]:
            raise ModelError(
                f"a map of {have[0]}x{have[1]} cells at stride {feature.stride} does not cover a canvas of "
                f"{canvas[0]}x{canvas[1]} pixels, which takes {need[0]}x{need[1]}"
            )


def nearest_stride(strides: Sequence[int], stride: int) -> int:
    """Which of `strides` differs from `stride` by the smallest factor; of two, the finer."""
    return min(strides, key=lambda own: (max(own / stride, stride / own), own))


def _reach(values: Tensor, shape: Sequence[int]) -> Tensor:
    """Crop or repeat the border at the bottom and right, so that a map has this shape."""
    values = values[..., : shape[0], : shape[1]]
    down, right = shape[0] - values.shape[-2], shape[1] - values.shape[-1]
    return F.pad(values, (0, right, 0, down), mode="replicate") if down or right else values


def _scaled(values: Tensor, shape: Sequence[int], *, halves: bool) -> Tensor:
    exact = values.to(
        torch.promote_types(values.dtype, torch.float32)
    )  # the antialiased kernel knows no bf16
    size = (shape[0], shape[1])
    return F.interpolate(exact, size=size, mode="bilinear", align_corners=False, antialias=halves).to(
        values.dtype
    )
