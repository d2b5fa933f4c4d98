"""Colours that are told apart, and maps drawn over images."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from sslkit.errors import DataError
from sslkit_segmentation.drawing import overlay, palette, perceived


def least_difference(colours: np.ndarray) -> float:
    seen = perceived(colours)
    away = np.linalg.norm(seen[:, None] - seen[None], axis=-1).min(axis=-1)
    return float(away[~np.eye(len(colours), dtype=bool)].min())


@pytest.mark.parametrize(("count", "least"), [(7, 0.07), (20, 0.07), (60, 0.035), (255, 0.01)])
def test_colours_are_told_apart_by_normal_and_colour_blind_eyes(count: int, least: float) -> None:
    wheel = np.array([colorsys.hsv_to_rgb(turn / count, 1, 1) for turn in range(count)]) * 255
    assert least_difference(palette(count)) > max(least, 2 * least_difference(wheel))


def test_a_palette_is_always_the_same_and_begins_like_shorter_ones() -> None:
    long = palette(255)
    palette.cache_clear()
    assert np.array_equal(palette(255), long)
    assert np.array_equal(palette(12), long[:12])
    assert long.dtype == np.uint8


def test_perceived_lightness_of_white_grey_and_black() -> None:
    lab = perceived(np.array([[255, 255, 255], [128, 128, 128], [0, 0, 0]]))
    assert lab[0] == pytest.approx(np.array([[1, 0, 0], [1, 0, 0]]), abs=1e-3)
    assert lab[1, :, 0] == pytest.approx([0.6, 0.6], abs=1e-2)
    assert lab[2] == pytest.approx(np.zeros((2, 3)))


def test_red_and_green_are_nearer_to_eyes_without_green_cones() -> None:
    red, green = perceived(np.array([[200, 60, 60], [110, 120, 30]]))
    normal, blind = np.linalg.norm(red - green, axis=-1)
    assert blind < normal / 2


def test_regions_are_tinted_edges_drawn_and_ignored_pixels_left() -> None:
    image = np.full((6, 8, 3), 100, dtype=np.uint8)
    labels = np.zeros((6, 8), dtype=np.uint8)
    labels[:, 4:] = 1
    labels[:2, :2] = 255
    before = image.copy()
    drawn = overlay(image, labels, 2)
    colours = palette(2).astype(float)
    assert np.array_equal(image, before)
    assert drawn[5, 0] == pytest.approx(50 + colours[0] / 2, abs=0.51)
    assert np.array_equal(drawn[5, 3], palette(2)[0])
    assert np.array_equal(drawn[5, 4], palette(2)[1])
    assert (drawn[:2, :2] == 100).all()


def test_sizes_must_agree() -> None:
    with pytest.raises(DataError, match="cannot be drawn"):
        overlay(np.zeros((4, 4, 3), dtype=np.uint8), np.zeros((4, 5), dtype=np.uint8), 2)
