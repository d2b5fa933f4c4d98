"""Frames and film strips: their form, and that what they show depends on what is said."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslkit.contracts import ClassLabel
from sslkit_action.drawing import film_strip, on_frame

NAMES = ("walk", "run", "jump", "sit", "wave", "bend")


def said(label: int, share: float = 0.6) -> ClassLabel:
    scores = torch.full((6,), (1 - share) / 5)
    scores[label] = share
    return ClassLabel(label, scores)


def frames(count: int, size: tuple[int, int] = (90, 120)) -> np.ndarray:
    """Frame t is of the grey 10 * t all over."""
    return np.stack([np.full((*size, 3), 10 * time, dtype=np.uint8) for time in range(count)])


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (144, 180), (720, 1280)])
def test_a_frame_keeps_its_form_whatever_its_size(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 100, dtype=np.uint8)
    before = image.copy()
    for shown in (said(1), ClassLabel(1), ClassLabel(255)):
        drawn = on_frame(image, shown, NAMES)
        assert drawn.dtype == np.uint8
        assert drawn.shape == image.shape
    assert np.array_equal(image, before)


def test_bars_are_as_long_as_the_scores() -> None:
    image = np.full((144, 180, 3), 100, dtype=np.uint8)

    def blue(share: float) -> int:
        drawn = on_frame(image, said(0, share), NAMES).astype(int)
        return int((drawn[..., 2] - drawn[..., 0] > 60).sum(axis=1).max())

    assert blue(0.9) > blue(0.5) > blue(0.3)
    assert blue(1.0) >= 0.9 * 180


def test_on_a_small_frame_there_is_the_label_alone() -> None:
    image = np.full((48, 48, 3), 100, dtype=np.uint8)
    assert np.array_equal(on_frame(image, said(2), NAMES), on_frame(image, ClassLabel(2), NAMES))
    assert not np.array_equal(on_frame(image, said(2), NAMES), image)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [0]), (3, [0, 1, 2]), (8, list(range(8))), (15, [0, 2, 4, 6, 8, 10, 12, 14])],
)
def test_a_strip_shows_up_to_eight_frames_evenly_spaced_in_reading_order(
    count: int, expected: list[int]
) -> None:
    strip = film_strip(frames(count), ClassLabel(0), NAMES)
    assert strip.shape[1] == 320
    columns = min(4, len(expected))
    across = (320 - 2 * (columns - 1)) // columns
    tall = min(round(across * 90 / 120), (320 - 6 * 17) // -(-len(expected) // 4) - 2)
    across = min(across, tall * 120 // 90)
    found = [
        int(
            strip[
                (place // columns) * (tall + 2) + tall // 2, (place % columns) * (across + 2) + across // 2, 0
            ]
        )
        for place in range(len(expected))
    ]
    assert found == [10 * time for time in expected]


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("size", [(90, 120), (320, 90), (40, 900), (1, 1)])
def test_a_strip_is_never_taller_than_wide(count: int, size: tuple[int, int]) -> None:
    strip = film_strip(frames(count, size), said(1), NAMES)
    assert strip.shape[1] == 320
    assert strip.shape[0] <= 320


def test_below_the_frames_stand_label_and_bars_of_predictions_alone() -> None:
    clip = frames(8)
    truth, other, guess = (
        film_strip(clip, shown, NAMES) for shown in (ClassLabel(0), ClassLabel(1), said(0))
    )
    assert truth.shape == other.shape
    assert not np.array_equal(truth, other)
    assert len(guess) > len(truth)
    assert np.array_equal(guess[: len(truth)], truth)


def test_an_unknown_label_is_said_to_be_unknown() -> None:
    clip = frames(2)
    unknown = film_strip(clip, ClassLabel(255), NAMES)
    assert np.array_equal(unknown, film_strip(clip, ClassLabel(0), ("unknown", "other")))
