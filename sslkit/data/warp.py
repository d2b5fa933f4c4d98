"""Geometric changes of an image, and of all that is tied to its pixels.

Pixel i covers i..i + 1, so its centre is i + 0.5. A change scales the image, perhaps mirrors it, and shows a
window of that; it may displace every pixel besides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.data.decode.image import fitting
from sslkit.errors import DataError

_EDGE_POINTS = 33  # followed along each edge of a box where pixels are displaced
_STEPS = 12  # towards where a displaced point comes to lie


@dataclass
class Placed:
    """An image of `source` pixels, scaled to `scaled`, and the window of it at `offset` on a canvas `size`.

    All are (height, width), offset is (top, left). flipped: mirrored left to right before the window is cut.
    displaced: float (2, *size), how far (x, y) from each pixel of the canvas what it shows lies, in pixels of
    the canvas; None is nowhere. What the scaled image does not fill, below and to the right, is padding.

    An image may come in any resolution, such as one already shrunk by its decoder: it is scaled to the same
    place. Targets are in pixels of the source; DataError for a map of another size.
    """

    source: tuple[int, int]
    size: tuple[int, int]
    scaled: tuple[int, int]
    offset: tuple[int, int] = (0, 0)
    flipped: bool = False
    displaced: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def valid(self) -> tuple[int, int]:
        """(height, width) at the top left of the canvas that is no padding."""
        height, width = (
            min(side, whole - before)
            for side, whole, before in zip(self.size, self.scaled, self.offset, strict=True)
        )
        return height, width

    def image(self, pixels: Tensor) -> Tensor:
        """uint8 (..., C, h, w) to (..., C, *size): bilinear, averaged when shrinking; zero outside."""
        scaled = self._scaled(pixels)
        canvas = pixels.new_zeros((*pixels.shape[:-2], *self.size))
        height, width = self.valid
        if self.displaced is None:
            top, left = self.offset
            if self.flipped:
                left = self.scaled[1] - left - width
            window = scaled[..., top : top + height, left : left + width]
            canvas[..., :height, :width] = window.flip(-1) if self.flipped else window
            return canvas
        points, inside = self._sources()
        if self.flipped:
            points = torch.stack([self.scaled[1] - points[..., 0], points[..., 1]], dim=-1)
        shown = _sampled(scaled.flatten(0, -3).float(), points) * inside
        canvas.copy_(shown.round_().view_as(canvas))  # between two pixels, so never outside 0..255
        return canvas

    def boxes(self, boxes: Tensor) -> Tensor:
        """(K, 4) xyxy to the boxes around the changed ones, clipped to what is valid."""
        return self._clipped(self._around(boxes))

    def visible(self, boxes: Tensor) -> Tensor:
        """(K, 4) xyxy to the share of each box's area that lies inside the result; 0 for one without area."""
        whole = self._around(boxes)
        shares: Tensor = _areas(self._clipped(whole)) / _areas(whole).clamp(min=1e-9)
        return shares.clamp(max=1)

    def labels(self, labels: Tensor, *, outside: int) -> Tensor:
        """(..., h, w) of any type to (..., *size), nearest; `outside` where the source has no pixel."""
        canvas = labels.new_full((*labels.shape[:-2], *self.size), outside)
        rows, columns, inside = self._nearest(labels)
        height, width = self.valid
        if self.displaced is None:
            canvas[..., :height, :width] = labels[..., rows, :][..., columns]
            return canvas
        return torch.where(inside, labels[..., rows, columns], canvas)

    def vectors(self, vectors: Tensor) -> Tensor:
        """Displacements in pixels, float (2, h, w) as (x, y), to (2, *size); zero outside.

        Both ends of a vector follow the change, so that it still leads to the same thing.
        """
        moved = self.labels(vectors, outside=0)
        if self.displaced is None:
            x, y = self._factors()
            return moved * moved.new_tensor([x, y]).view(2, 1, 1)
        rows, columns, inside = self._nearest(vectors)
        starts = torch.stack([columns, rows], dim=-1).to(vectors.dtype) + 0.5
        ends = self._forward((starts + moved.permute(1, 2, 0)).reshape(-1, 2))
        leaps = (ends - self._forward(starts.reshape(-1, 2))).view(*self.size, 2)
        return torch.where(inside, leaps.permute(2, 0, 1), 0)

    def _scaled(self, pixels: Tensor) -> Tensor:
        if pixels.shape[-2:] == self.scaled:
            return pixels
        images = pixels.reshape(-1, *pixels.shape[-3:])
        scaled = F.interpolate(images, self.scaled, mode="bilinear", antialias=True)
        return scaled.view(*pixels.shape[:-2], *self.scaled)

    def _factors(self) -> tuple[float, float]:
        """What x and y are multiplied by; negative where mirrored."""
        across = self.scaled[1] / self.source[1]
        return -across if self.flipped else across, self.scaled[0] / self.source[0]

    def _affine(self, points: Tensor) -> Tensor:
        """(M, 2) as (x, y) in the source to the canvas, before anything is displaced."""
        x, y = self._factors()
        begin = self.scaled[1] if self.flipped else 0
        shift = points.new_tensor([begin - self.offset[1], -self.offset[0]])
        return points * points.new_tensor([x, y]) + shift

    def _forward(self, points: Tensor) -> Tensor:
        """(M, 2) in the source to where they come to lie on the canvas.

        The pixel p shows what lies at p + displaced(p); p is found by repeating p = goal - displaced(p).
        """
        goal = self._affine(points)
        if self.displaced is None:
            return goal
        found = goal
        for _ in range(_STEPS):
            found = goal - _sampled(self.displaced.to(goal), found[:, None])[..., 0].T
        return found

    def _around(self, boxes: Tensor) -> Tensor:
        """The boxes around the changed ones, not clipped."""
        along = torch.linspace(0, 1, 2 if self.displaced is None else _EDGE_POINTS, device=boxes.device)
        zero, one = torch.zeros_like(along), torch.ones_like(along)
        outline = torch.stack([torch.cat([along, along, zero, one]), torch.cat([zero, one, along, along])], 1)
        sides = boxes[:, None, 2:] - boxes[:, None, :2]
        points = boxes[:, None, :2] + outline.to(boxes.dtype) * sides
        moved = self._forward(points.reshape(-1, 2)).view(len(boxes), len(outline), 2)
        return torch.cat([moved.amin(dim=1), moved.amax(dim=1)], dim=1)

    def _clipped(self, boxes: Tensor) -> Tensor:
        height, width = self.valid
        limit = boxes.new_tensor([width, height, width, height])
        return torch.minimum(boxes.clamp(min=0), limit)

    def _sources(self) -> tuple[Tensor, Tensor]:
        """Where in the scaled, mirrored image each pixel of the canvas lies, (H, W, 2); whether inside."""
        assert self.displaced is not None
        height, width = self.size
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        place = self.displaced.float()
        x, y = x + self.offset[1] + place[0], y + self.offset[0] + place[1]
        inside = (x >= 0) & (y >= 0) & (x < self.scaled[1]) & (y < self.scaled[0])
        inside[self.valid[0] :] = False
        inside[:, self.valid[1] :] = False
        return torch.stack([x, y], dim=-1), inside

    def _nearest(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Row and column of the source at each pixel, int64, and whether it has one.

        Without displacement rows (h',) and columns (w',) of the valid part, else (H, W) each.
        """
        if tuple(values.shape[-2:]) != self.source:
            raise DataError(
                f"a map of {_shown(tuple(values.shape[-2:]))} pixels belongs to an image of "
                f"{_shown(self.source)}; write both in one size (an image with an EXIF rotation is upright)"
            )
        height, width = self.source
        if self.displaced is None:  # in whole numbers, since a centre may lie on the edge of a pixel
            twice_y = 2 * (torch.arange(self.valid[0]) + self.offset[0]) + 1
            twice_x = 2 * (torch.arange(self.valid[1]) + self.offset[1]) + 1
            if self.flipped:
                twice_x = 2 * self.scaled[1] - twice_x
            rows, columns = twice_y * height // (2 * self.scaled[0]), twice_x * width // (2 * self.scaled[1])
            inside = torch.ones(self.valid, dtype=torch.bool)
        else:
            points, inside = self._sources()
            x = self.scaled[1] - points[..., 0] if self.flipped else points[..., 0]
            rows = (points[..., 1] * (height / self.scaled[0])).long().clamp(0, height - 1)
            columns = (x * (width / self.scaled[1])).long().clamp(0, width - 1)
        return rows.to(values.device), columns.to(values.device), inside.to(values.device)


def fit(source: tuple[int, int], size: tuple[int, int]) -> Placed:
    """The whole image on a canvas, shrunk where it is larger, never enlarged; (height, width) both.

    The same pixels as decoding to a canvas of the longer side: see `fitted_side`.
    """
    width, height = fitting((source[1], source[0]), fitted_side(source, size))
    return Placed(source, size, (height, width))


def covering(source: tuple[int, int], size: tuple[int, int], count: int) -> list[Placed]:
    """The image scaled until it just covers a canvas, and `count` windows evenly spaced along what overhangs.

    (height, width) both; one window is in the middle.
    """
    factor = max(side / whole for side, whole in zip(size, source, strict=True))
    height, width = (max(side, round(whole * factor)) for side, whole in zip(size, source, strict=True))
    placed = []
    for number in range(count):
        share = number / (count - 1) if count > 1 else 0.5
        offset = (round((height - size[0]) * share), round((width - size[1]) * share))
        placed.append(Placed(source, size, (height, width), offset))
    return placed


def fitted_side(source: tuple[int, int], size: tuple[int, int]) -> int:
    """The longer side of an image that is shrunk to fit `size`, (height, width) both."""
    longer = max(source)
    side = min(longer, math.ceil(longer * min(size[0] / source[0], size[1] / source[1])))
    while side > 1:
        width, height = fitting((source[1], source[0]), side)
        if height <= size[0] and width <= size[1]:
            break
        side -= 1  # rounding can make it a pixel too large
    return side


def _sampled(values: Tensor, points: Tensor) -> Tensor:
    """(C, h, w) at points (..., 2) as (x, y), bilinear, its border going on outside: (C, ...)."""
    limits = points.new_tensor([values.shape[-1], values.shape[-2]])
    grid = points * (2 / limits) - 1
    return F.grid_sample(values[None], grid[None], padding_mode="border", align_corners=False)[0]


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)


def _shown(size: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in reversed(size))
