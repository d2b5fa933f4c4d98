"""Maps of labels as pictures: colours that are told apart, by colour-blind eyes too."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sslkit.contracts import IGNORE
from sslkit.errors import DataError

OPACITY = 0.5

# Okabe and Ito (2008), "Color Universal Design", without black, which would hide in shadows.
_FIRST = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
# How eyes without green cones see linear RGB: Machado et al. 2009, table 1, deuteranomaly of severity 1.
_DEUTERANOPE = (
    (0.367322, 0.860646, -0.227968),
    (0.280085, 0.672501, 0.047413),
    (-0.011820, 0.042940, 0.968881),
)
# Linear RGB to cone responses, and their cube roots to OKLab (Ottosson 2020).
_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_OKLAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


@lru_cache
def palette(count: int) -> np.ndarray:
    """uint8 (count, 3) RGB, always the same; a longer palette begins like a shorter one.

    After seven chosen ones each is the colour of a grid that is farthest from all before it, as normal and
    as colour-blind eyes see it (greedy, after Glasbey et al. 2007).
    """
    levels = np.linspace(32, 255, 12).round()
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    candidates = np.concatenate([np.array(_FIRST, dtype=float), grid])
    seen = perceived(candidates)
    chosen: list[int] = []
    nearest = np.full(len(candidates), np.inf)
    for place in range(count):
        pick = place if place < len(_FIRST) else int(nearest.argmax())
        chosen.append(pick)
        nearest = np.minimum(nearest, np.linalg.norm(seen - seen[pick], axis=-1).min(axis=-1))
    colours = candidates[chosen].astype(np.uint8)
    colours.flags.writeable = False  # kept between calls
    return colours


def perceived(colours: np.ndarray) -> np.ndarray:
    """RGB of 0..255 (..., 3) to OKLab as seen by normal and by deuteranope eyes, (..., 2, 3)."""
    shares = np.asarray(colours, dtype=float) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    both = np.stack([linear, np.clip(linear @ np.array(_DEUTERANOPE).T, 0, 1)], axis=-2)
    lab: np.ndarray = np.cbrt(both @ np.array(_CONES).T) @ np.array(_OKLAB).T
    return lab


def overlay(image: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Tint an image, uint8 (H, W, 3), by labels (H, W) and draw the edges of regions in full colour.

    Ignored pixels (255) stay as they are. Raises DataError where image and labels differ in size.
    """
    if image.shape[:2] != labels.shape:
        raise DataError(
            f"an image of {image.shape[:2]} pixels cannot be drawn with labels of {labels.shape}; "
            "both must be those of the original"
        )
    drawn: np.ndarray = image.copy()
    shown = labels != IGNORE
    colours = palette(classes)[np.where(shown, labels, 0)]
    tint = (1 - OPACITY) * image + OPACITY * colours
    drawn[shown] = tint.round().astype(np.uint8)[shown]
    edge = np.zeros(labels.shape, dtype=bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    drawn[edge & shown] = colours[edge & shown]
    return drawn
