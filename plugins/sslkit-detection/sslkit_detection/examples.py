"""Small problems that a detector must learn by heart: coloured shapes on noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sslkit.contracts import Example, LabelledBatch, Meta, Objects, Task
from sslkit.keyed_random import Stream, hashed, word

CLASSES = ("square", "disc", "cross")
SAMPLES = 8


def shapes(
    seed: int,
    *,
    side: int = 64,
    most: int = 3,
    goal: float,
    steps: int,
    lr: float,
    options: Mapping[str, Any] | None = None,
) -> Example:
    """Eight images of `side` pixels with 1 to `most` shapes that do not touch; a function of the seed."""
    pixels, targets = zip(*(_draw(seed, number, side, most) for number in range(SAMPLES)), strict=True)
    size = (side, side)
    metas = tuple(Meta(number, f"shapes {number}", size, size, size) for number in range(SAMPLES))
    counts = torch.cat([target.labels for target in targets]).bincount(minlength=len(CLASSES))
    return Example(
        task=Task("boxes", CLASSES, size, tuple(counts.tolist())),
        batch=LabelledBatch(torch.arange(SAMPLES), torch.stack(pixels), metas, targets),
        goal=goal,
        options=dict(options or {}),
        steps=steps,
        lr=lr,
    )


def _draw(seed: int, number: int, side: int, most: int) -> tuple[Tensor, Objects]:
    """uint8 (3, side, side) and its objects: each stands in a quarter of the image of its own."""

    def uniform(name: str, *shape: int) -> Tensor:
        key = hashed(seed, word("detection shapes"), word(name), torch.tensor([number]))
        return Stream(key).uniform(*shape)[0]

    image = 60 + 80 * uniform("noise", 3, side, side)
    count = 1 + number % most
    quarters = uniform("quarters", 4).argsort()[:count].tolist()
    draws = uniform("objects", count, 7)
    half = side // 2
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    boxes, labels = [], []
    for quarter, draw in zip(quarters, draws, strict=True):
        label = int(draw[0] * len(CLASSES))
        height, width = (int(half * (0.5 + 0.4 * share)) for share in draw[1:3])
        top = int((half - height) * draw[3]) + half * (quarter // 2)
        left = int((half - width) * draw[4]) + half * (quarter % 2)
        # From -1 to 1 across the box; every shape touches all its sides.
        down = (rows + 0.5 - top) / height * 2 - 1
        across = (columns + 0.5 - left) / width * 2 - 1
        inside = (down.abs() < 1) & (across.abs() < 1)
        if CLASSES[label] == "disc":
            inside &= down**2 + across**2 < 1
        elif CLASSES[label] == "cross":
            inside &= (down.abs() < 1 / 3) | (across.abs() < 1 / 3)
        tint = torch.tensor([255.0, 40.0, 40.0]).roll(label) * (0.8 + 0.2 * draw[5])
        image = torch.where(inside, tint[:, None, None], image)
        boxes.append([left, top, left + width, top + height])
        labels.append(label)
    return image.round().to(torch.uint8), Objects(
        torch.tensor(boxes, dtype=torch.float32),
        torch.tensor(labels),
        crowd=torch.zeros(count, dtype=torch.bool),
    )
