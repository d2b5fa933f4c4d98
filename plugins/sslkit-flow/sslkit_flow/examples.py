"""Eight generated pairs with exact flow, small enough to be learnt by heart in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from sslkit.contracts import Example, FlowField, LabelledBatch, Meta, Task

SAMPLES = 8
_WAVES = 14


def learnt_by_heart(
    seed: int,
    *,
    side: int,
    goal: float,
    options: Mapping[str, Any] | None = None,
    steps: int,
    lr: float,
) -> Example:
    """Pairs of `side` pixels: a texture, and the same turned, stretched and shifted by some pixels.

    The texture is a function of the place, so that the second frame holds no interpolation and the flow no
    error. Pixels that leave the frame are not known.
    """
    draw = np.random.default_rng(seed)
    size = (side, side)
    pixels, fields, metas = [], [], []
    for place in range(SAMPLES):
        frames, field = _pair(draw, side)
        pixels.append(frames)
        fields.append(field)
        metas.append(Meta(place, f"example {place}", size, size, size))
    batch = LabelledBatch(torch.arange(SAMPLES), torch.stack(pixels), tuple(metas), tuple(fields))
    task = Task("flow", (), size, frames=2)
    return Example(task, batch, goal=goal, options=options or {}, steps=steps, lr=lr)


def _pair(draw: np.random.Generator, side: int) -> tuple[torch.Tensor, FlowField]:
    """Frames uint8 (2, 3, side, side) and the flow from the first to the second."""
    waves = draw.normal(0, 1, (_WAVES, 2))
    waves *= (2 * np.pi / draw.uniform(5, 20, (_WAVES, 1))) / np.linalg.norm(waves, axis=1, keepdims=True)
    phases, colours = draw.uniform(0, 2 * np.pi, _WAVES), draw.normal(0, 45 / _WAVES**0.5, (_WAVES, 3))
    grey = draw.uniform(90, 165, 3)

    turn = draw.uniform(-0.06, 0.06)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * draw.uniform(
        0.95, 1.05
    )
    shift = draw.uniform(-1, 1, 2) * side / 12
    middle = np.full(2, side / 2)
    centres = np.stack(np.meshgrid(*[np.arange(side) + 0.5] * 2), axis=-1)  # H, W, (x, y)
    ends = (centres - middle) @ matrix.T + middle + shift
    origins = (centres - middle - shift) @ np.linalg.inv(matrix).T + middle

    def painted(points: np.ndarray) -> np.ndarray:
        image = grey + np.sin(points @ waves.T + phases) @ (2 * colours)
        return image.clip(0, 255).round().astype(np.uint8)

    frames = np.stack([painted(centres), painted(origins)]).transpose(0, 3, 1, 2)
    inside = ((ends >= 0) & (ends <= side)).all(axis=-1)
    vectors = torch.from_numpy((ends - centres).transpose(2, 0, 1).astype(np.float32))
    return torch.from_numpy(np.ascontiguousarray(frames)), FlowField(vectors, torch.from_numpy(inside))
