"""Eight generated clips, small enough to be learnt by heart in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from sslkit.contracts import ClassLabel, Example, LabelledBatch, Meta, Task

CLASSES = ("left", "right", "up", "down")
SAMPLES, FRAMES, SIDE, SQUARE = 8, 4, 32, 10
_STEPS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}


def moving_squares(
    seed: int,
    *,
    reversible: bool,
    options: Mapping[str, Any] | None = None,
    steps: int,
    lr: float,
) -> Example:
    """Clips of a square that moves over a slope of grey; the label is where it moves to.

    reversible: each clip is another one played backwards, so that nothing but the order of frames tells the
    label; else all eight have colours of their own, which can be remembered without it.
    """
    draw = np.random.default_rng(seed)
    size = (SIDE, SIDE)
    clips: list[np.ndarray] = []
    labels: list[int] = []
    for place in range(SAMPLES):
        label = place % len(CLASSES)
        if reversible and label % 2:
            clips.append(clips[-1][::-1])
        else:
            clips.append(_clip(draw, CLASSES[label]))
        labels.append(label)
    pixels = torch.from_numpy(np.stack(clips)).permute(0, 1, 4, 2, 3).contiguous()
    batch = LabelledBatch(
        ids=torch.arange(SAMPLES),
        pixels=pixels,
        metas=tuple(Meta(place, f"example {place}", size, size, size) for place in range(SAMPLES)),
        targets=tuple(ClassLabel(label) for label in labels),
    )
    task = Task("label", CLASSES, size, counts=(SAMPLES // len(CLASSES),) * len(CLASSES), frames=FRAMES)
    return Example(task, batch, goal=0.99, options=options or {}, steps=steps, lr=lr)


def _clip(draw: np.random.Generator, towards: str) -> np.ndarray:
    """uint8 (T, H, W, 3): dark on one side and light on the other, so that each place looks different."""
    slope = np.linspace(0.2, 1.0, SIDE)
    down, right = _STEPS[towards]
    ground = np.multiply.outer(slope, np.ones(SIDE)) if down else np.multiply.outer(np.ones(SIDE), slope)
    colour, other = draw.uniform(40, 160, 3), draw.uniform(150, 255, 3)
    frames = np.empty((FRAMES, SIDE, SIDE, 3))
    frames[:] = ground[..., None] * colour
    way = (SIDE - SQUARE) // (FRAMES - 1)
    across = int(draw.integers(0, SIDE - SQUARE))
    for time in range(FRAMES):
        along = way * (time if down + right > 0 else FRAMES - 1 - time)
        top, left = (along, across) if down else (across, along)
        frames[time, top : top + SQUARE, left : left + SQUARE] = other
    return frames.round().astype(np.uint8)
