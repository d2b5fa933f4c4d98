"""Eight generated pictures, small enough to be learnt by heart in seconds."""

from __future__ import annotations

import numpy as np
import torch

from sslkit.contracts import ClassLabel, ClassSet, Example, LabelledBatch, Meta, Target, Task

CLASSES = ("red", "green", "blue")
SAMPLES, SIDE, SQUARE = 8, 32, 10


def squares_of_one_colour(seed: int, *, steps: int, lr: float) -> Example:
    """A square on a dark noisy ground; the label is its colour."""
    shown = [[k == place % len(CLASSES) for k in range(len(CLASSES))] for place in range(SAMPLES)]
    targets = tuple(ClassLabel(one.index(True)) for one in shown)
    return _example(seed, "label", shown, targets, steps, lr)


def squares_of_many_colours(seed: int, *, steps: int, lr: float) -> Example:
    """A square of each of the colours that are present: every set of three once, the empty one too."""
    shown = [[bool(place >> k & 1) for k in range(len(CLASSES))] for place in range(SAMPLES)]
    targets = tuple(ClassSet(torch.tensor(one)) for one in shown)
    return _example(seed, "labels", shown, targets, steps, lr)


def _example(
    seed: int, kind: str, shown: list[list[bool]], targets: tuple[Target, ...], steps: int, lr: float
) -> Example:
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 60, (SAMPLES, 3, SIDE, SIDE), dtype=np.uint8)
    metas = []
    for place, present in enumerate(shown):
        valid = (SIDE, SIDE) if place % 2 else (SIDE - 4, SIDE - 2)
        for k in np.flatnonzero(present):
            top, left = draw.integers(0, SIDE - 4 - SQUARE, 2)
            pixels[place, k, top : top + SQUARE, left : left + SQUARE] = 255
        pixels[place, :, valid[0] :] = 0
        pixels[place, :, :, valid[1] :] = 0
        metas.append(Meta(place, f"example {place}", valid, valid, (SIDE, SIDE)))
    batch = LabelledBatch(torch.arange(SAMPLES), torch.from_numpy(pixels), tuple(metas), targets)
    task = Task(kind, CLASSES, (SIDE, SIDE), counts=tuple(np.sum(shown, axis=0).tolist()))
    return Example(task, batch, goal=0.99, steps=steps, lr=lr)
