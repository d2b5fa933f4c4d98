"""Cut a window out of each canvas and resize it, once, with antialiasing.

The filter is the triangle of Pillow and torchvision (`antialias=True`): bilinear when enlarging, widened by
the scale when reducing. It is separable with few taps an axis.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sslkit.data.views.separable import Taps, filtered


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
    reach = math.ceil(2 * max(1.0, canvases.shape[3] / size))
    vertical, horizontal = (_taps(windows, axis, size, reach) for axis in (0, 1))
    if mirrored is not None:
        flips = mirrored[:, None, None]
        places, weights = horizontal
        horizontal = Taps(places.flip(1).where(flips, places), weights.flip(1).where(flips, weights))
    return filtered(canvases.float(), vertical, horizontal)


def _taps(windows: Windows, axis: int, size: int, reach: int) -> Taps:
    """Pixels read along an axis and their weights, which add up to one; both (N, size, reach)."""
    start, step, first, last = (values[:, axis, None, None] for values in windows)
    pixel = torch.arange(size, device=start.device).view(1, size, 1)
    centre = start + (pixel + 0.5) * step
    width = step.clamp(min=1.0)
    nearest = (centre - width + 0.5).floor()
    tap = torch.arange(reach, device=start.device)
    weights = (1.0 - ((nearest + tap + 0.5) - centre).abs() / width).clamp_(min=0.0)
    places = nearest.long() + tap
    weights.mul_((places >= first) & (places <= last))
    # Added tap by tap: the order of a library's sum may follow the shape.
    total = weights[..., :1].clone()
    for other in range(1, reach):
        total.add_(weights[..., other : other + 1])
    return Taps(places.clamp_(min=first, max=last), weights.div_(total))
