"""Flow as pictures: colours, arrows, warped frames."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch
from torchvision.utils import flow_to_image

from sslkit.contracts import FlowField
from sslkit.errors import DataError
from sslkit_flow.pictures import arrow_factor, draw_flow, draw_pair, flow_colours, warped
from sslkit_flow.sources.flying_shapes import FlyingShapesSource
from sslkit_flow.sources.scene import FIRST, SECOND

GREY = np.full((40, 60, 3), 120, np.uint8)


def constant(x: float, y: float, size: tuple[int, int] = (40, 60)) -> np.ndarray:
    return np.full((2, *size), [[[x]], [[y]]])


def hue(colour: np.ndarray) -> float:
    return colorsys.rgb_to_hsv(*(colour / 255).tolist())[0]


def test_colours_are_torchvisions_where_no_length_is_given() -> None:
    vectors = np.random.default_rng(0).normal(size=(2, 9, 7)).astype(np.float32)
    expected = flow_to_image(torch.from_numpy(vectors)).permute(1, 2, 0).numpy()
    assert np.array_equal(flow_colours(vectors), expected)
    longest = float(np.hypot(*vectors).max())
    assert np.abs(flow_colours(vectors, longest).astype(int) - expected).max() <= 1


def test_a_length_given_makes_colours_comparable() -> None:
    short, long = flow_colours(constant(1, 0), 4.0)[0, 0], flow_colours(constant(4, 0), 4.0)[0, 0]
    assert short.min() > long.min() + 50  # paler
    assert np.array_equal(flow_colours(constant(9, 0), 4.0)[0, 0], long)
    assert hue(short) == pytest.approx(hue(long), abs=0.03)
    assert abs(hue(long) - hue(flow_colours(constant(-4, 0), 4.0)[0, 0])) > 0.3
    assert flow_colours(constant(0, 0), 0.0).min() >= 254


def test_a_frame_warped_by_whole_pixels_is_the_frame_moved() -> None:
    second = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    back = warped(second, constant(2, -1, (8, 10)))
    assert np.array_equal(back[1:, :8], second[:-1, 2:])
    assert not back[0].any()  # it points outside
    assert not back[:, 8:].any()
    half = warped(second, constant(0.5, 0, (8, 10)))
    mean = (second[:, :-1].astype(float) + second[:, 1:]) / 2
    assert np.abs(half[:, :-1] - mean).max() <= 0.51


def test_warping_takes_out_the_motion_of_a_drawn_pair() -> None:
    scene = FlyingShapesSource(1, size=64).scene(0)
    first, second, flow = scene.frame(FIRST), scene.frame(SECOND), scene.flow()
    seen = ~scene.occluded()
    left = np.abs(warped(second, flow).astype(int) - first)[seen].mean()
    assert left < 0.3 * np.abs(second.astype(int) - first)[seen].mean()


def test_arrows_point_where_the_motion_goes() -> None:
    drawn = draw_flow(GREY, constant(3, 0))
    assert drawn.shape == GREY.shape
    assert drawn.dtype == np.uint8
    changed = (drawn != GREY).any(axis=2)
    assert 0.05 < changed.mean() < 0.7
    # One pixel is known: its arrow runs to the right alone.
    place = np.zeros((40, 60), bool)
    rows, columns = np.nonzero(changed)
    for row, column in zip(rows, columns, strict=True):
        place[:] = False
        place[row, column] = True
        alone = (draw_flow(GREY, constant(3, 0), place) != GREY).any(axis=2)
        if alone.any():
            break
    right, left = np.nonzero(alone)[1].max() - column, column - np.nonzero(alone)[1].min()
    assert right > left + 1
    assert np.array_equal(GREY, np.full((40, 60, 3), 120))


def test_nothing_is_drawn_where_nothing_is_known() -> None:
    assert np.array_equal(draw_flow(GREY, constant(3, 3), np.zeros((40, 60), bool)), GREY)
    assert np.array_equal(draw_flow(GREY, constant(np.nan, 0)), GREY)


@pytest.mark.parametrize(("length", "factor"), [(0.0, 1), (0.05, 50), (2, 5), (4, 2), (30, 0.2), (900, 0.1)])
def test_arrows_are_a_round_number_longer(length: float, factor: float) -> None:
    assert arrow_factor(constant(length, 0, (48, 64))) == factor


@pytest.mark.parametrize("size", [(12, 16), (90, 120), (240, 300)])
def test_a_pair_is_drawn_at_any_size(size: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 256, (2, *size, 3), dtype=np.uint8)
    before = frames.copy()
    valid = torch.from_numpy(generator.random(size) < 0.5)
    drawn = draw_pair(frames, FlowField(torch.from_numpy(constant(1, 2, size)), valid))
    assert (drawn.dtype, drawn.ndim, drawn.shape[2]) == (np.uint8, 3, 3)
    assert drawn.shape[1] >= 400
    assert drawn.shape[0] < 1.4 * drawn.shape[1]
    assert np.array_equal(frames, before)


def test_what_is_not_known_is_grey_and_not_compared() -> None:
    frames = np.stack([np.zeros((100, 200, 3), np.uint8), np.full((100, 200, 3), 200, np.uint8)])
    valid = torch.zeros(100, 200, dtype=torch.bool)
    drawn = draw_pair(frames, FlowField(torch.full((2, 100, 200), torch.nan), valid))
    height = drawn.shape[0] // 2
    assert (drawn[height - 60, -150] == 70).all()
    assert (drawn[-60, -150] == 0).all()
    whole = draw_pair(frames, FlowField(torch.zeros(2, 100, 200)))
    assert (whole[-60, -150] == 200).all()


def test_pictures_of_other_sizes_are_refused() -> None:
    with pytest.raises(DataError, match=r"image of \(40, 60\) pixels cannot be drawn with flow of \(9, 7\)"):
        draw_flow(GREY, constant(0, 0, (9, 7)))
    with pytest.raises(DataError, match=r"frames of shape \(40, 60, 3\)"):
        draw_pair(GREY, FlowField(torch.zeros(2, 40, 60)))
