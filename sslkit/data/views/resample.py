"""Cut a window out of each canvas and resize it, once, with antialiasing.

The filter is the triangle of Pillow and torchvision (`antialias=True`): bilinear when enlarging, widened by
the scale when reducing. It is separable with few taps an axis, so each axis is a sum over taps of gathered
pixels times weights: elementwise, hence equal whatever the batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Windows(NamedTuple):
    """Where each image looks in its canvas; the last axis is (vertical, horizontal).

    start: float32 (N, 2), the window's edge in canvas pixels. step: float32 (N, 2), canvas pixels per pixel
    of the result. first, last: int64 (N, 2), pixels outside first..last are never read.
    """

    start: Tensor
    step: Tensor
    first: Tensor
    last: Tensor


def resize_boxes(boxes: Tensor, size: int) -> Windows:
    """Whole boxes, int64 (N, 4) top, left, height, width, to size x size: crop first, then resize."""
    start, sides = boxes[:, :2], boxes[:, 2:]
    return Windows(start.float(), sides.float() / size, start, start + sides - 1)


def centre_windows(rectangles: Tensor, size: int, crop: float) -> Windows:
    """Resize each rectangle so that its shorter side is size / crop, then cut the central size x size.

    The whole rectangle may be read, so the filter sees real pixels across the edge of the cut. A rectangle of
    exactly size x size is left as it is: there is nothing to resize.
    """
    start, sides = rectangles[:, :2], rectangles[:, 2:]
    shorter = sides.min(dim=1, keepdim=True).values
    resized = (sides * int(size / crop)).div(shorter, rounding_mode="floor")
    resized = torch.where((sides == size).all(dim=1, keepdim=True), sides, resized)
    step = sides.float() / resized.float()
    offset = ((resized - size).float() / 2).round()
    return Windows(start.float() + offset * step, step, start, start + sides - 1)


def resample(canvases: Tensor, windows: Windows, size: int, mirrored: Tensor | None = None) -> Tensor:
    """Canvases (N, C, S, S) to float32 (N, C, size, size), levels kept; rows `mirrored` (bool) are flipped.

    At most 2 max(1, S / size) taps an axis carry weight, whatever the windows.
    """
    count, channels, side, _ = canvases.shape
    taps = math.ceil(2 * max(1.0, side / size))
    places, weights = _taps(windows, size, taps, mirrored)
    # Rows first: whole rows are copied as they lie in memory, which is the cheaper of the two gathers.
    lines = canvases.float().reshape(count * channels * side, side)
    images = torch.arange(count * channels, device=canvases.device).view(count, channels, 1) * side
    tall = torch.zeros(())
    for tap in range(taps):
        chosen = (images + places[tap, :, 0, None, :]).view(-1)
        part = lines.index_select(0, chosen).view(count, channels, size, side)
        part.mul_(weights[tap, :, 0, None, :, None])
        tall = part if tap == 0 else tall.add_(part)
    result = torch.zeros(())
    for tap in range(taps):
        columns = places[tap, :, 1, None, None, :].expand(count, channels, size, size)
        part = tall.gather(3, columns).mul_(weights[tap, :, 1, None, None, :])
        result = part if tap == 0 else result.add_(part)
    return result


def _taps(windows: Windows, size: int, taps: int, mirrored: Tensor | None) -> tuple[Tensor, Tensor]:
    """Pixels read, int64, and their weights, float32, both (taps, N, 2, size); weights add up to one."""
    device = windows.start.device
    pixel = torch.arange(size, device=device).expand(windows.start.shape[0], 2, size)
    if mirrored is not None:
        across = mirrored[:, None, None] & (torch.arange(2, device=device) == 1)[None, :, None]
        pixel = torch.where(across, size - 1 - pixel, pixel)
    centre = windows.start[..., None] + (pixel.float() + 0.5) * windows.step[..., None]
    reach = windows.step.clamp(min=1.0)[..., None]
    nearest = (centre - reach + 0.5).floor()
    tap = torch.arange(taps, device=device).view(taps, 1, 1, 1)
    weights = (1.0 - ((nearest + tap + 0.5) - centre).abs() / reach).clamp_(min=0.0)
    places = nearest.long() + tap
    low, high = windows.first[..., None], windows.last[..., None]
    weights.mul_((places >= low) & (places <= high))
    # Added tap by tap: the order of a library's sum may follow the shape.
    total = weights[0].clone()
    for other in weights[1:]:
        total.add_(other)
    return places.clamp_(min=low.expand_as(places[0]), max=high.expand_as(places[0])), weights.div_(total)
