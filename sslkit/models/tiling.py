"""Dense inference on images larger than a network can take at once, and how far a network looks."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from sslkit.errors import ConfigError, ModelError

Dense = Callable[[Tensor], Tensor]


@torch.no_grad()
def tiled(
    function: Dense,
    pixels: Tensor,
    *,
    tile: int | tuple[int, int],
    margin: int,
    stride: int = 1,
    divisor: int = 1,
    overlap: Literal["crop", "blend"] = "crop",
) -> Tensor:
    """What `function` gives for the whole of `pixels`, computed tile by tile.

    function: (N, C, h, w) to (N, K, h / stride, w / stride), such as a head's logits. pixels: (N, C, H, W),
    padded with zeros at the bottom and right to whole steps. tile: side of the inputs it is given, or
    (height, width). margin: pixels of each tile that are not believed because they lie near a cut; with
    "crop" and a margin of at least `reach(function)` the result is that of the whole padded image. With
    "blend" tiles are averaged where they overlap, with weights that fall towards the cuts: for networks that
    look everywhere. divisor: sides the network wants multiples of; tiles begin at multiples of it and of
    stride, so that every pixel meets the same phase of every strided layer.

    Gives (N, K, ceil(H / stride), ceil(W / stride)). Raises ConfigError for a tile that does not fit.
    """
    step = math.lcm(stride, divisor)
    sides = (tile, tile) if isinstance(tile, int) else tile
    margin = math.ceil(margin / step) * step
    if margin < 0 or any(side % step or side <= 2 * margin for side in sides):
        fitting = max(2 * margin + step, max(sides) // step * step)
        raise ConfigError(
            f"tiles of {sides[0]}x{sides[1]} pixels with a margin of {margin} were asked for; sides must be "
            f"multiples of {step} and larger than two margins, such as {fitting}"
        )
    height, width = pixels.shape[-2:]
    padded = torch.nn.functional.pad(pixels, (0, -width % step, 0, -height % step))
    rows, columns = (
        _spans(length, side, margin) for length, side in zip(padded.shape[-2:], sides, strict=True)
    )
    total: Tensor | None = None
    weights: Tensor | None = None
    for top, bottom, high, low in rows:
        for left, right, west, east in columns:
            part = function(padded[..., top:bottom, left:right])
            _check_cells(part, (bottom - top, right - left), stride)
            if total is None or weights is None:
                grid = tuple(length // stride for length in padded.shape[-2:])
                total = part.new_zeros(*part.shape[:2], *grid)
                weights = part.new_zeros(grid)
            if overlap == "crop":
                inner = part[..., (high - top) // stride :, (west - left) // stride :]
                place = (slice(high // stride, low // stride), slice(west // stride, east // stride))
                total[..., place[0], place[1]] = inner[
                    ..., : (low - high) // stride, : (east - west) // stride
                ]
                weights[place] = 1
            else:
                place = (slice(top // stride, bottom // stride), slice(left // stride, right // stride))
                down = _ramp(top, bottom, padded.shape[-2], margin, stride)
                across = _ramp(left, right, padded.shape[-1], margin, stride)
                weight = (down[:, None] * across).to(part)
                total[..., place[0], place[1]] += part * weight
                weights[place] += weight
    assert total is not None
    assert weights is not None
    return (total / weights)[..., : math.ceil(height / stride), : math.ceil(width / stride)]


@torch.no_grad()
def reach(function: Dense, pixels: Tensor, *, stride: int = 1) -> int:
    """How many pixels beyond a cell `function` looks: the margin at which tiles equal the whole image.

    pixels: (1, C, H, W), an input large enough to see past the reach; function as in `tiled`, in eval mode.
    Half of the pixels are made not-a-number in turn from each side, and whatever depends on them becomes so
    too, through maxima and dead units that hide a dependence from gradients. Raises ModelError when every
    cell depends on them: then the network looks everywhere, or the input is too small.
    """
    furthest = 0
    for axis in (-1, -2):
        side = pixels.shape[axis]
        half = side // 2 // stride * stride
        for begins in (True, False):
            poisoned = pixels.clone()
            spoilt = slice(0, half) if begins else slice(half, side)
            poisoned.movedim(axis, 0)[spoilt] = math.nan
            out = function(poisoned)
            lost = out.isnan().movedim(axis, 0).flatten(1).any(dim=1)
            if bool(lost.all()):
                raise ModelError(
                    f"every cell depends on pixels half of {side} away: the network looks at the whole image "
                    "(attention, global pooling), so that no margin makes tiles exact, or the input is too "
                    "small to tell; give a larger one, or blend"
                )
            cell = half // stride
            depth = int(lost[cell:].sum()) if begins else int(lost[:cell].sum())
            furthest = max(furthest, depth * stride)
    return furthest


def _spans(length: int, side: int, margin: int) -> list[tuple[int, int, int, int]]:
    """Tiles along one axis: where each begins and ends, and the part of it that is believed."""
    side = min(side, length)
    count = max(0, math.ceil((length - side) / (side - 2 * margin))) if side < length else 0
    begins = [min(place * (side - 2 * margin), length - side) for place in range(count + 1)]
    # The believed parts meet a margin away from the begin of the later tile.
    edges = [0, *(begin + margin for begin in begins[1:]), length]
    return [
        (begin, begin + side, first, last)
        for begin, (first, last) in zip(begins, pairwise(edges), strict=True)
    ]


def _ramp(begin: int, end: int, length: int, margin: int, stride: int) -> Tensor:
    """Weights of a tile's cells along one axis: falling over two margins towards a cut, 1 elsewhere."""
    cells = torch.arange((end - begin) // stride, dtype=torch.float32) + 0.5
    width = max(2 * margin // stride, 1)
    from_begin = (cells / width).clamp(max=1) if begin > 0 else torch.ones_like(cells)
    from_end = (cells.flip(0) / width).clamp(max=1) if end < length else torch.ones_like(cells)
    return torch.minimum(from_begin, from_end)


def _check_cells(part: Tensor, shape: tuple[int, int], stride: int) -> None:
    expected = (shape[0] // stride, shape[1] // stride)
    if tuple(part.shape[-2:]) != expected:
        raise ModelError(
            f"a tile of {shape[0]}x{shape[1]} pixels gave {part.shape[-2]}x{part.shape[-1]} cells, not "
            f"{expected[0]}x{expected[1]}: the function's stride is not {stride}"
        )
