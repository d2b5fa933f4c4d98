"""The generated clips move where their labels say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslkit.contracts import ClassLabel
from sslkit_action.examples import CLASSES, SAMPLES, moving_squares

WAYS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}


def centres(clip: torch.Tensor) -> np.ndarray:
    """Where the brightest pixels lie in each frame (T, 2), rows and columns."""
    bright = clip.float().sum(dim=1)
    places = []
    for frame in bright:
        rows, columns = torch.where(frame >= frame.max() - 1)
        places.append((float(rows.float().mean()), float(columns.float().mean())))
    return np.array(places)


@pytest.mark.parametrize("reversible", [True, False])
def test_the_square_moves_where_the_label_says(reversible: bool) -> None:
    batch = moving_squares(3, reversible=reversible, steps=1, lr=1e-3).batch
    for clip, target in zip(batch.pixels, batch.targets, strict=True):
        assert isinstance(target, ClassLabel)
        steps = np.sign(np.diff(centres(clip), axis=0))
        assert (steps == WAYS[CLASSES[target.label]]).all()


def test_reversible_clips_are_each_other_played_backwards_under_other_labels() -> None:
    batch = moving_squares(3, reversible=True, steps=1, lr=1e-3).batch
    labels = [target.label for target in batch.targets if isinstance(target, ClassLabel)]
    for place in range(0, SAMPLES, 2):
        assert torch.equal(batch.pixels[place], batch.pixels[place + 1].flip(0))
        assert {labels[place], labels[place + 1]} in ({0, 1}, {2, 3})


def test_other_clips_have_colours_of_their_own() -> None:
    pixels = moving_squares(3, reversible=False, steps=1, lr=1e-3).batch.pixels
    grounds = {tuple(clip[0, :, -1, -1].tolist()) for clip in pixels}
    assert len(grounds) == SAMPLES
