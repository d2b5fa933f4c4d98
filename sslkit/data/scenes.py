"""Drawn scenes: one to four shapes that hide each other before a textured background, every pixel known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from sslkit.contracts.targets import LEAST_VISIBLE
from sslkit.data.outlines import CLASSES as OUTLINES
from sslkit.data.outlines import distances
from sslkit.keyed_random import Stream, hashed, word

CLASSES = ("cross", "disc", "heart", "ring", "triangle")
MOST = 4  # objects of an image
SIZE_RANGE = (0.2, 0.42)  # square root of a shape's area, as a share of the image's side
MARGIN = 0.12  # nearest that a centre comes to the border, as a share of the side
WAVES = 3  # of the background's texture
CYCLES = (1.0, 6.0)  # of a wave from side to side
CONTRAST = 0.06  # amplitude of one wave, as a share of full brightness
STRIPES = 0.1  # amplitude of the stripes across a shape
NOISE = 6.0  # standard deviation of pixel noise, in grey levels of 255
COLOUR_CANDIDATES = 6  # a shape's colour is the one of these that is furthest from all it may touch

LOOK = (CLASSES, MOST, SIZE_RANGE, MARGIN, WAVES, CYCLES, CONTRAST, STRIPES, NOISE, COLOUR_CANDIDATES)
"""What shapes the pictures besides their seed: part of a fingerprint."""

_OUTLINE = np.array([OUTLINES.index(name) for name in CLASSES])


class Layout(NamedTuple):
    """Where the objects of N images stand, front to back, M of them at most.

    labels: int64 (N, M), of CLASSES. kept: bool (N, M), those that are drawn. distance: float32 (N, M, H, W),
    pixels to the outline, negative inside. stripe: the same shape, place across the shape in its own size.
    seen: uint8 (N, H, W), 1 + the number of the object that a pixel shows, 0 for the background.
    """

    labels: np.ndarray
    kept: np.ndarray
    distance: np.ndarray
    stripe: np.ndarray
    seen: np.ndarray


class Draws:
    """The random numbers of images `ids` int64 (N,): functions of (seed, split, id) and a name."""

    def __init__(self, seed: int, split: str, ids: torch.Tensor) -> None:
        self.ids, self._key = ids, (seed, word("scenes"), word(split))

    def uniform(self, name: str, *shape: int) -> np.ndarray:
        """Float32 (N, *shape) in [0, 1)."""
        return Stream(hashed(*self._key, word(name), self.ids)).uniform(*shape).numpy()


def laid_out(draws: Draws, size: int) -> Layout:
    """Objects for images of `size` pixels a side, at places, angles and sizes drawn without regard to class.

    An object that would show less of its area than `LEAST_VISIBLE`, behind others or past the border, is left
    out.
    """
    count = len(draws.ids)
    place = draws.uniform("place", 2, MOST, 1, 1)
    angle = 2 * np.pi * draws.uniform("angle", MOST, 1, 1)
    root = SIZE_RANGE[0] + (SIZE_RANGE[1] - SIZE_RANGE[0]) * draws.uniform("size", MOST, 1, 1)
    labels = (draws.uniform("class", MOST) * len(CLASSES)).astype(np.int64)
    wanted = np.arange(MOST) <= (draws.uniform("number", 1) * MOST).astype(np.int64)
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = (MARGIN + (1 - 2 * MARGIN) * place[:, axis] for axis in (0, 1))
    x, y = (grid[None, :] - x) / root, (grid[:, None] - y) / root
    across, down = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    flat = (count * MOST, size, size)
    outline = distances(_OUTLINE[labels.reshape(-1)], across.reshape(flat), down.reshape(flat))
    distance = outline.reshape(across.shape) * root * size
    area = (root[..., 0, 0] * size) ** 2
    seen, kept = np.zeros((count, size, size), np.uint8), np.zeros((count, MOST), bool)
    for number in range(MOST):
        shown = (distance[:, number] < 0) & (seen == 0)
        kept[:, number] = wanted[:, number] & (shown.sum((1, 2)) >= LEAST_VISIBLE * area[:, number])
        seen[shown & kept[:, number, None, None]] = number + 1
    return Layout(labels, kept, distance, across, seen)


def painted(draws: Draws, layout: Layout) -> np.ndarray:
    """The images of a layout, uint8 (N, H, W, 3); colours and textures know nothing of the classes."""
    size = layout.seen.shape[-1]
    base, colours = _colours(draws)
    pixels = base[:, None, None] + _texture(draws, size)
    stripes = draws.uniform("stripes", 3, MOST, 1, 1)
    turns = (1 + 2 * stripes[:, 0]) * layout.stripe + stripes[:, 1]
    lines = STRIPES * stripes[:, 2] * np.sin(2 * np.pi * turns)
    # A one pixel wide ramp: the share of a pixel that is covered.
    covered = np.clip(0.5 - layout.distance, 0, 1) * layout.kept[..., None, None]
    for number in reversed(range(MOST)):  # from the back
        shape = colours[:, number, None, None] + lines[:, number, ..., None]
        share = covered[:, number, ..., None]
        pixels = pixels * (1 - share) + shape * share
    # The deviation of a uniform number in -1..1 is 1 / sqrt(3).
    noise = NOISE * np.sqrt(3) * (2 * draws.uniform("noise", size, size, 1) - 1)
    drawn: np.ndarray = np.clip(255 * pixels + noise, 0, 255).round().astype(np.uint8)
    return drawn


def _colours(draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """Of the background (N, 3) and of the objects (N, M, 3), each far from those before it."""
    candidates = draws.uniform("colour", MOST, COLOUR_CANDIDATES, 3)
    chosen = [draws.uniform("background", 3)]
    rows = np.arange(len(draws.ids))
    for number in range(MOST):
        met = np.stack(chosen, axis=1)[:, None]
        gaps = ((candidates[:, number, :, None] - met) ** 2).sum(-1).min(-1)
        chosen.append(candidates[rows, number, gaps.argmax(1)])
    return chosen[0], np.stack(chosen[1:], axis=1)


def _texture(draws: Draws, size: int) -> np.ndarray:
    """Plane waves in any direction and tint, float (N, H, W, 3) around 0."""
    way, cycles = 2 * np.pi * draws.uniform("way", WAVES), draws.uniform("cycles", WAVES)
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    speed = 2 * np.pi * (CYCLES[0] + (CYCLES[1] - CYCLES[0]) * cycles)
    across, down = ((speed * along)[..., None] * grid for along in (np.cos(way), np.sin(way)))
    tinted = across[..., None] + 2 * np.pi * draws.uniform("tint", WAVES, 1, 3)  # (N, K, W, 3)
    # The sine of a sum, so that of rows and columns only products are left.
    rows = np.concatenate([np.sin(down), np.cos(down)], axis=1).swapaxes(1, 2)
    columns = np.concatenate([np.cos(tinted), np.sin(tinted)], axis=1)
    waves = rows @ columns.reshape(len(columns), 2 * WAVES, -1)
    shown: np.ndarray = CONTRAST * waves.reshape(-1, size, size, 3)
    return shown
