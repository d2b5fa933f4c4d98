"""Eight generated images with maps of labels, small enough to be learnt by heart in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from sslkit.contracts import IGNORE, Example, LabelledBatch, Meta, SemanticMap, Task

CLASSES = ("background", "box", "disc", "diamond")
SAMPLES, SIDE = 8, 64
_COLOURS = np.array([(90, 90, 90), (200, 60, 50), (60, 180, 70), (70, 80, 210)], dtype=float)


def learnt_by_heart(
    seed: int,
    *,
    grain: int = 1,
    goal: float = 0.95,
    options: Mapping[str, Any] | None = None,
    steps: int,
    lr: float,
) -> Example:
    """An example for a head that sees cells of many pixels or few.

    grain: labels are squares of so many pixels, for heads that cannot tell finer ones apart; 1 are smooth
    shapes on a background, with a ring of ignored pixels.
    """
    draw = np.random.default_rng(seed)
    size = (SIDE, SIDE)
    pixels, maps, metas = [], [], []
    for place in range(SAMPLES):
        labels = _mosaic(draw, grain) if grain > 1 else _shapes(draw)
        texture = draw.normal(0, 18, (SIDE, SIDE, 1)) + draw.normal(0, 6, (SIDE, SIDE, 3))
        image = _COLOURS[np.where(labels == IGNORE, 0, labels)] + texture
        pixels.append(torch.from_numpy(image.clip(0, 255).astype(np.uint8)).permute(2, 0, 1))
        maps.append(SemanticMap(torch.from_numpy(labels)))
        metas.append(Meta(place, f"example {place}", size, size, size))
    counts = np.bincount(torch.stack([shown.labels for shown in maps]).flatten().numpy(), minlength=256)
    batch = LabelledBatch(torch.arange(SAMPLES), torch.stack(pixels), tuple(metas), tuple(maps))
    task = Task("semantic", CLASSES, size, tuple(counts[: len(CLASSES)].tolist()))
    return Example(task, batch, goal=goal, options=options or {}, steps=steps, lr=lr)


def _shapes(draw: np.random.Generator) -> np.ndarray:
    """Two shapes of different classes, each with two pixels around it that are ignored."""
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(float)
    labels = np.zeros((SIDE, SIDE), dtype=np.uint8)
    for label, left in zip(draw.permutation([1, 2, 3])[:2], (0, SIDE // 2), strict=True):
        radius = draw.uniform(9, 13)
        row = draw.uniform(radius + 2, SIDE - radius - 2)
        column = left + draw.uniform(radius + 2, SIDE // 2 - radius - 2) if radius < 13 else left + SIDE / 4
        down, right = np.abs(rows - row), np.abs(columns - column)
        norms = {1: np.maximum(down, right), 2: np.hypot(down, right), 3: (down + right) / 1.3}
        distance = norms[int(label)]
        labels[distance <= radius + 2] = IGNORE
        labels[distance <= radius] = label
    return labels


def _mosaic(draw: np.random.Generator, grain: int) -> np.ndarray:
    """Squares of random classes; the pixels beside the lines between them are ignored."""
    cells = SIDE // grain
    labels = draw.integers(0, len(CLASSES), (cells, cells)).astype(np.uint8).repeat(grain, 0).repeat(grain, 1)
    line = (np.arange(SIDE) + 2) % grain < 4
    line[[0, 1, -2, -1]] = False
    labels[line] = IGNORE
    labels[:, line] = IGNORE
    return labels
