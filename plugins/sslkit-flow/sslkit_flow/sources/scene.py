"""Flat surfaces before a background, each under an affine motion: two frames, and exactly what moved where.

After Flying Chairs (Dosovitskiy et al. 2015, section 4). Pixel (row i, column j) is the point (x, y) =
(j, i), so a frame of S x S pixels covers -0.5..S - 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sslkit_flow.sources.surfaces import Outline, Texture

FIRST, SECOND = 0, 1


@dataclass(frozen=True)
class Affine:
    """Points p to matrix p + shift; matrix float64 (2, 2), shift (2,)."""

    matrix: np.ndarray
    shift: np.ndarray

    def __call__(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (a, b), (c, d) = self.matrix
        return a * x + b * y + self.shift[0], c * x + d * y + self.shift[1]

    def after(self, first: Affine) -> Affine:
        """The map that does `first`, then this."""
        return Affine(self.matrix @ first.matrix, self.matrix @ first.shift + self.shift)

    @cached_property
    def inverse(self) -> Affine:
        """The way back."""
        back = np.linalg.inv(self.matrix)
        return Affine(back, -back @ self.shift)

    @cached_property
    def scale(self) -> float:
        """Pixels of the frame for one of the surface."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))


@dataclass(frozen=True)
class Layer:
    """A surface. outline: None covers everything. places: its coordinates to points of either frame."""

    outline: Outline | None
    texture: Texture
    places: tuple[Affine, Affine]


@dataclass(frozen=True)
class Scene:
    """layers: far to near, the first covers everything. size: side of the frames. gains: their brightness."""

    layers: tuple[Layer, ...]
    size: int
    gains: tuple[float, float] = (1.0, 1.0)

    def frame(self, which: int) -> np.ndarray:
        """uint8 (size, size, 3); edges are ramps of one pixel."""
        pixels = np.empty((self.size, self.size, 3), np.float32)
        for layer in self.layers:
            rows, columns = self._box(layer, which)
            if rows.start >= rows.stop or columns.start >= columns.stop:
                continue
            place = layer.places[which]
            x, y = place.inverse(*_points(rows, columns))
            if layer.outline is None:
                pixels[rows, columns] = layer.texture.colour(x, y)
                continue
            distance = layer.outline.distances(x, y) * place.scale
            seen = distance < 0.5
            covered = np.clip(0.5 - distance[seen], 0, 1)[:, None].astype(np.float32)
            part = pixels[rows, columns]
            part[seen] += covered * (layer.texture.colour(x[seen], y[seen]) - part[seen])
        drawn: np.ndarray = np.clip(255 * self.gains[which] * pixels, 0, 255).round().astype(np.uint8)
        return drawn

    def owners(self, which: int = FIRST) -> np.ndarray:
        """Which layer is seen at the centre of each pixel, int64 (size, size)."""
        found = np.zeros((self.size, self.size), np.int64)
        for number, layer in enumerate(self.layers[1:], start=1):
            rows, columns = self._box(layer, which)
            found[rows, columns][_covers(layer, which, *_points(rows, columns))] = number
        return found

    def flow(self) -> np.ndarray:
        """Where the surface seen at each pixel of frame 1 went: displacements float64 (2, size, size)."""
        owners = self.owners()
        whole = slice(0, self.size)
        x, y = np.broadcast_arrays(*_points(whole, whole))
        vectors = np.empty((2, self.size, self.size))
        for number in np.unique(owners).tolist():
            first, second = self.layers[number].places
            own = owners == number
            moved = second.after(first.inverse)(x[own], y[own])
            vectors[0, own], vectors[1, own] = moved[0] - x[own], moved[1] - y[own]
        return vectors

    def occluded(self) -> np.ndarray:
        """What is seen in frame 1 alone, later covered by a nearer layer or outside: bool (size, size)."""
        owners, (across, down) = self.owners(), self.flow()
        whole = slice(0, self.size)
        x, y = _points(whole, whole)
        x, y = x + across, y + down
        end = self.size - 0.5
        hidden = (x < -0.5) | (y < -0.5) | (x >= end) | (y >= end)
        for number, layer in enumerate(self.layers[1:], start=1):
            behind = (owners < number) & ~hidden
            hidden[behind] = _covers(layer, SECOND, x[behind], y[behind])
        return np.asarray(hidden)

    def _box(self, layer: Layer, which: int) -> tuple[slice, slice]:
        """Rows and columns outside of which a layer is not seen."""
        if layer.outline is None:
            return slice(0, self.size), slice(0, self.size)
        place = layer.places[which]
        reach = layer.outline.radius * float(np.linalg.norm(place.matrix, 2)) + 1
        low = np.clip(np.floor(place.shift - reach), 0, self.size).astype(int).tolist()
        high = np.clip(np.ceil(place.shift + reach) + 1, 0, self.size).astype(int).tolist()
        return slice(low[1], high[1]), slice(low[0], high[0])


def _points(rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    """x (1, W) and y (H, 1) of pixels."""
    return (
        np.arange(columns.start, columns.stop, dtype=np.float64)[None],
        np.arange(rows.start, rows.stop, dtype=np.float64)[:, None],
    )


def _covers(layer: Layer, which: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points of a frame lie on a layer."""
    assert layer.outline is not None
    inside: np.ndarray = layer.outline.distances(*layer.places[which].inverse(x, y)) <= 0
    return inside
