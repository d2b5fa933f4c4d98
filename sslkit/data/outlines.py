"""Outlines of ten shapes that stay tellable apart under any rotation and reflection, as signed distances."""

from __future__ import annotations

from functools import cache

import numpy as np

CLASSES = ("arrow", "crescent", "cross", "disc", "ell", "heart", "ring", "square", "star", "triangle")

_CURVE_POINTS = 40  # vertices of a full curve
_TABLE_SIDE = 256  # distances are tabulated once for each class on a square of this many cells ...
_TABLE_REACH = 1.3  # ... that reaches this far from the centre, in units of the square root of the area


def distances(labels: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distances (N, H, W) from points x, y (N, H, W) to the outlines of CLASSES[labels], labels (N,).

    Negative inside. Every outline has area 1 and is centred at 0; past 1.3 the distance at 1.3 is given.
    """
    scale = _TABLE_SIDE / (2 * _TABLE_REACH)
    column, row = (
        np.clip((along + _TABLE_REACH) * scale, 0, _TABLE_SIDE - 1).astype(np.int64) for along in (x, y)
    )
    found: np.ndarray = _tables()[labels[:, None, None], row, column]
    return found


@cache
def _tables() -> np.ndarray:
    """Distances to each outline, float32 (classes, side, side)."""
    axis = ((np.arange(_TABLE_SIDE) + 0.5) / _TABLE_SIDE * 2 - 1) * _TABLE_REACH
    x, y = np.meshgrid(axis, axis)
    contours = _contours()
    return np.stack([_signed_distance(contours[name], x, y) for name in CLASSES]).astype(np.float32)


def _signed_distance(contours: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance to closed contours (V, 2), scaled to area 1 around the centre of their box; even-odd rule."""
    corners = np.concatenate(contours)
    middle = (corners.min(0) + corners.max(0)) / 2
    side = np.sqrt(abs(sum(_area(contour) for contour in contours)))
    nearest, inside = np.full(x.shape, np.inf), np.zeros(x.shape, bool)
    for contour in contours:
        points = (contour - middle) / side
        for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, 0), strict=True):
            along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)
            along = np.clip(along, 0, 1)
            nearest = np.minimum(
                nearest, (x - ax - along * (bx - ax)) ** 2 + (y - ay - along * (by - ay)) ** 2
            )
            if ay != by:
                inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) / (by - ay) * (bx - ax))
    signed: np.ndarray = np.where(inside, -1, 1) * np.sqrt(nearest)
    return signed


def _area(contour: np.ndarray) -> float:
    """Signed area by the shoelace formula; holes run the other way round and count negative."""
    x, y = contour.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _contours() -> dict[str, list[np.ndarray]]:
    """Closed contours (V, 2) of any scale, by class."""
    turn = np.linspace(0, 2 * np.pi, _CURVE_POINTS, endpoint=False)
    arrow = [(-1, -0.25), (0.1, -0.25), (0.1, -0.75), (1, 0), (0.1, 0.75), (0.1, 0.25), (-1, 0.25)]
    # A disc of radius 1 bitten by one of radius 0.8 at 0.5 to the right; the circles meet at x = 0.61.
    horn, bite = np.arctan2(0.7924, 0.61), np.arctan2(0.7924, 0.11)
    back = _arc(np.linspace(horn, 2 * np.pi - horn, _CURVE_POINTS))
    front = 0.8 * _arc(np.linspace(2 * np.pi - bite, bite, _CURVE_POINTS)) + (0.5, 0)
    crescent = np.concatenate([back, front[1:-1]])
    arm = [(1, -0.3), (1, 0.3), (0.3, 0.3)]  # one arm of the cross; the others are quarter turns of it
    cross = [point for _ in range(4) for point in arm]
    quarter = np.array([[0, 1], [-1, 0]])
    cross_points = [np.array(p) @ np.linalg.matrix_power(quarter, k // 3) for k, p in enumerate(cross)]
    ell = [(0, 0), (1, 0), (1, 0.38), (0.38, 0.38), (0.38, 1.5), (0, 1.5)]
    lobes = 13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn)
    heart = np.stack([16 * np.sin(turn) ** 3, lobes], 1)
    points = 2 * np.pi * np.arange(10) / 10
    star = _arc(points) * np.where(np.arange(10) % 2, 0.42, 1)[:, None]
    return {
        "arrow": [np.array(arrow)],
        "crescent": [crescent],
        "cross": [np.array(cross_points)],
        "disc": [_arc(turn)],
        "ell": [np.array(ell)],
        "heart": [heart],
        "ring": [_arc(turn), 0.62 * _arc(turn[::-1])],
        "square": [np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])],
        "star": [star],
        "triangle": [_arc(2 * np.pi * np.arange(3) / 3)],
    }


def _arc(angles: np.ndarray) -> np.ndarray:
    """Points (V, 2) of the unit circle."""
    return np.stack([np.cos(angles), np.sin(angles)], 1)
