"""Boxes drawn on images."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
import torch
from torchvision.utils import draw_bounding_boxes

from sslkit.contracts import Objects

GOLDEN = 0.618033988749895
"""Hues a golden ratio apart never come close to each other."""


def draw_objects(
    image: np.ndarray, shown: Objects, classes: Sequence[str], *, least: float = 0.3
) -> np.ndarray:
    """Boxes with class and score on uint8 RGB (H, W, 3); predictions scored below `least` are left out.

    A crowd is named so. The image given is not changed.
    """
    if shown.scores is not None:
        shown = shown[shown.scores >= least]
    if not len(shown):
        return image.copy()
    height, width = image.shape[:2]
    names = []
    for place, label in enumerate(shown.labels.tolist()):
        name = classes[label] if 0 <= label < len(classes) else str(label)
        if shown.scores is not None:
            name += f" {shown.scores[place]:.2f}"
        if shown.crowd is not None and shown.crowd[place]:
            name += " (crowd)"
        names.append(name)
    limit = torch.tensor([width - 1, height - 1] * 2)
    drawn: torch.Tensor = draw_bounding_boxes(
        torch.from_numpy(image.copy()).permute(2, 0, 1),
        torch.minimum(shown.boxes.cpu().clamp(min=0), limit),
        labels=names,
        colors=[colour(label) for label in shown.labels.tolist()],
        width=max(1, round(max(height, width) / 160)),
    )
    return drawn.permute(1, 2, 0).contiguous().numpy()


def colour(label: int) -> tuple[int, int, int]:
    """A lasting RGB colour of a class, 0..255."""
    red, green, blue = colorsys.hsv_to_rgb((0.05 + label * GOLDEN) % 1, 0.85, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)
