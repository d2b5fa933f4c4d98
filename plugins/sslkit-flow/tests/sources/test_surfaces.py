"""Outlines and textures, functions of points alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslkit_flow.sources.surfaces import PATTERNS, Ellipse, Outline, Polygon, Texture, noise_tile

STAR = Polygon(2 * np.pi * np.arange(10) / 10, np.where(np.arange(10) % 2, 8.0, 20.0))
SQUARE = Polygon(np.pi * (np.arange(4) + 0.5) / 2, np.full(4, 10 * np.sqrt(2)))


def inside(corners: np.ndarray, x: float, y: float) -> bool:
    """Even and odd crossings of a ray to the right, the textbook's test of points in polygons."""
    found = False
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
            found = not found
    return found


@pytest.mark.parametrize(
    "outline", [STAR, SQUARE, Polygon(np.array([0.3, 2.5, 4.4]), np.array([9.0, 20, 15]))]
)
def test_a_polygon_is_what_its_corners_enclose(outline: Polygon) -> None:
    corners = outline.radii[:, None] * np.stack([np.cos(outline.angles), np.sin(outline.angles)], axis=-1)
    x, y = np.random.default_rng(0).uniform(-22, 22, (2, 500))
    slow = [inside(corners, *point) for point in zip(x.tolist(), y.tolist(), strict=True)]
    assert ((outline.distances(x, y) <= 0) == slow).all()
    assert 0 < sum(slow) < 500


def test_distances_are_in_pixels_at_the_edge() -> None:
    x = np.array([9.0, 10.0, 10.5])
    assert SQUARE.distances(x, np.zeros(3)) == pytest.approx([-1, 0, 0.5])
    ellipse = Ellipse((10.0, 4.0))
    assert ellipse.distances(x, np.zeros(3)) == pytest.approx([-1, 0, 0.5])
    assert ellipse.distances(np.zeros(2), np.array([3.5, 4.25])) == pytest.approx([-0.5, 0.25])


@pytest.mark.parametrize("outline", [STAR, SQUARE, Ellipse((10.0, 4.0))])
def test_nothing_lies_beyond_the_radius(outline: Outline) -> None:
    angles = np.linspace(0, 2 * np.pi, 400)
    beyond = 1.001 * outline.radius
    assert (outline.distances(beyond * np.cos(angles), beyond * np.sin(angles)) > 0).all()


def tile(finest: float = 4.0, slope: float = 1.0) -> np.ndarray:
    phases = np.random.default_rng(0).random((3, 32, 17))
    noise: np.ndarray = noise_tile(phases, slope=slope, finest=finest, tint=np.eye(3)).numpy()
    return noise


def test_noise_repeats_without_a_seam_and_has_no_wave_too_short() -> None:
    noise = tile()
    assert noise.shape == (3, 36, 36)
    assert np.array_equal(noise[:, :, :4], noise[:, :, 32:])
    assert np.array_equal(noise[:, :4], noise[:, 32:])
    own = noise[:, 2:-2, 2:-2]
    assert own.std() == pytest.approx(1, rel=1e-3)
    assert own.mean() == pytest.approx(0, abs=1e-4)
    power = np.abs(np.fft.rfft2(own[0])) ** 2
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32)[None])
    assert power[frequency > 1 / 4 + 1e-6].max() < 1e-6 * power.max()


def test_a_steeper_slope_is_cloudier() -> None:
    steps = [np.abs(np.diff(tile(slope=slope), axis=-1)).mean() for slope in (0.6, 1.2, 2.0)]
    assert steps == sorted(steps, reverse=True)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_texture_is_a_function_of_each_point(pattern: str) -> None:
    colours = np.array([[0.2, 0.4, 0.6], [0.9, 0.1, 0.3]])
    texture = Texture(colours, noise_tile_of(), 0.05, pattern, period=9.0, angle=0.7)
    x, y = np.random.default_rng(1).uniform(-80, 80, (2, 60))
    whole = texture.colour(x, y)
    assert whole.shape == (60, 3)
    assert np.allclose(texture.colour(x[::-1], y[::-1])[::-1], whole, atol=1e-6)
    assert np.allclose(texture.colour(x[7:8], y[7:8]), whole[7:8], atol=1e-6)
    noiseless = Texture(colours, noise_tile_of(), 0.0, pattern, period=9.0, angle=0.7).colour(x, y)
    between = np.abs(noiseless - colours[0]).sum(-1) + np.abs(noiseless - colours[1]).sum(-1)
    assert np.allclose(between, np.abs(colours[0] - colours[1]).sum(), atol=1e-5) or pattern == "plain"
    assert np.ptp(noiseless) > 0.3


def noise_tile_of() -> torch.Tensor:
    phases = np.random.default_rng(0).random((3, 32, 17))
    return noise_tile(phases, slope=1.0, finest=4.0, tint=np.eye(3))


def test_noise_is_its_tile_at_texels_again_and_again() -> None:
    noise = noise_tile_of()
    texture = Texture(np.zeros((2, 3)), noise, 2.0)
    x, y = np.array([0.0, 31.0, 5.0, 5.0 - 32 * 3]), np.array([0.0, 31.0, 7.0, 7.0 + 32])
    expected = 2 * np.stack([noise[:, 2, 2], noise[:, 33, 33], noise[:, 9, 7], noise[:, 9, 7]])
    assert np.allclose(texture.colour(x, y), expected, atol=1e-3)


@pytest.mark.parametrize("pattern", ["stripes", "checker"])
def test_edges_of_patterns_are_ramps_of_a_pixel(pattern: str) -> None:
    black_white = np.array([[0.0] * 3, [1.0] * 3])
    x = np.arange(0, 40, 0.01)
    along = Texture(black_white, noise_tile_of(), 0.0, pattern, period=10.0).colour(x, np.full_like(x, 5.0))
    assert np.abs(np.diff(along[:, 0])).max() == pytest.approx(0.01, rel=0.05)
    assert (along[:, 0].min(), along[:, 0].max()) == (0, 1)
    assert np.allclose(along[:1000], along[1000:2000], atol=1e-5)
