"""Scenes: frames that agree with their flow, and occlusion as a slow look at each pixel finds it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sslkit_flow.sources.flying_shapes import FlyingShapesSource
from sslkit_flow.sources.scene import FIRST, SECOND, Affine, Layer, Scene
from sslkit_flow.sources.surfaces import Ellipse, Texture

GREY = torch.zeros(3, 5, 5)


def plain(*colour: float) -> Texture:
    return Texture(np.array([colour, colour]), GREY, 0.0)


def shifted(x: float, y: float) -> Affine:
    return Affine(np.eye(2), np.array([x, y]))


def disc(
    texture: Texture, start: tuple[float, float], end: tuple[float, float], radius: float = 4.0
) -> Layer:
    return Layer(Ellipse((radius, radius)), texture, (shifted(*start), shifted(*end)))


def warped(second: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Frame 2 at where each pixel of frame 1 went, cubic."""
    height, width = vectors.shape[1:]
    rows, columns = np.mgrid[:height, :width]
    places = (
        np.stack([(columns + vectors[0]) * 2 / (width - 1), (rows + vectors[1]) * 2 / (height - 1)], -1) - 1
    )
    pixels = torch.from_numpy(second).permute(2, 0, 1)[None].double()
    found = F.grid_sample(pixels, torch.from_numpy(places)[None], mode="bicubic", align_corners=True)
    taken: np.ndarray = found[0].permute(1, 2, 0).numpy()
    return taken


def test_an_affine_map_goes_there_and_back() -> None:
    one = Affine(np.array([[1.1, 0.2], [-0.3, 0.9]]), np.array([3.0, -2.0]))
    two = Affine(np.array([[0.5, 0.0], [0.1, 2.0]]), np.array([0.0, 7.0]))
    x, y = np.array([1.0, -4.0]), np.array([2.5, 0.0])
    assert np.allclose(one.inverse(*one(x, y)), (x, y))
    assert np.allclose(two.after(one)(x, y), two(*one(x, y)))
    assert shifted(5, 5).scale == 1
    assert two.scale == 1.0


def test_a_disc_that_moves_by_whole_pixels() -> None:
    layers = (
        Layer(None, plain(0, 0, 0), (shifted(0, 0), shifted(0, 0))),
        disc(plain(1, 0, 0), (10, 12), (13, 11)),
    )
    scene = Scene(layers, 32)
    first, second = scene.frame(FIRST), scene.frame(SECOND)
    assert first[12, 10].tolist() == [255, 0, 0]
    assert np.array_equal(np.roll(first, (-1, 3), axis=(0, 1)), second)
    assert 0 < first[12, 14, 0] < 255  # the edge is a ramp
    flow = scene.flow()
    assert flow[:, 12, 10].tolist() == [3, -1]
    assert flow[:, 0, 0].tolist() == [0, 0]
    assert (scene.owners() == 1).sum() == pytest.approx(np.pi * 16, rel=0.1)
    occluded = scene.occluded()
    assert occluded[11, 16]
    assert not occluded[12, 10]
    assert not occluded[11, 12]  # that is the disc itself, in either frame


def test_what_leaves_the_frame_is_occluded() -> None:
    layers = (Layer(None, plain(0, 0, 0), (shifted(0, 0), shifted(2.25, -1.0))),)
    assert (~Scene(layers, 16).occluded()).sum() == 14 * 15
    assert Scene(layers, 16).occluded()[:, 13:].sum() == 16 * 2 + 1


def test_the_nearer_layer_is_seen() -> None:
    still = (shifted(0, 0), shifted(0, 0))
    layers = (
        Layer(None, plain(0, 0, 0), still),
        disc(plain(1, 0, 0), (8, 8), (20, 20), radius=6),
        disc(plain(0, 1, 0), (8, 8), (20, 20), radius=3),
    )
    scene = Scene(layers, 32, gains=(1.0, 0.5))
    assert scene.frame(FIRST)[8, 8].tolist() == [0, 255, 0]
    assert scene.frame(FIRST)[8, 13].tolist() == [255, 0, 0]
    assert scene.frame(SECOND)[20, 20].tolist() == [0, 128, 0]
    assert (scene.owners()[8, 8], scene.owners(SECOND)[8, 8]) == (2, 0)


@pytest.mark.parametrize("id", range(6))
def test_frame_two_at_the_flow_is_frame_one_where_it_is_seen(id: int) -> None:
    source = FlyingShapesSource(6, size=64)
    scene = source.scene(id)
    first, second, flow = scene.frame(FIRST), scene.frame(SECOND), scene.flow()
    occluded = scene.occluded()

    def errors(vectors: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.abs(warped(second, vectors) - first).mean(-1)
        return found

    true = errors(flow)
    assert np.median(true[~occluded]) < 2.5  # grey levels of 255: what interpolation leaves
    for wrong in (0 * flow, -flow):
        assert true[~occluded].mean() < 0.4 * errors(wrong)[~occluded].mean()
    assert np.median(true[~occluded]) < 0.7 * np.median(errors(flow + 0.5)[~occluded])
    assert true[occluded].mean() > 3 * true[~occluded].mean()


@pytest.mark.parametrize("id", range(3))
def test_occlusion_is_what_a_slow_look_finds(id: int) -> None:
    scene = FlyingShapesSource(3, size=24, motion=3).scene(id, textures=False)
    fast, flow, owners = scene.occluded(), scene.flow(), scene.owners()
    found = 0
    for row in range(24):
        for column in range(24):
            owner, there = 0, np.array([column, row], float)
            for number, layer in enumerate(scene.layers):
                if layer.outline is not None and covers(layer, FIRST, there):
                    owner = number
            assert owners[row, column] == owner
            first, second = scene.layers[owner].places
            local = np.linalg.solve(first.matrix, there - first.shift)
            gone = second.matrix @ local + second.shift
            assert flow[:, row, column] == pytest.approx(gone - there, abs=1e-9)
            hidden = not (-0.5 <= gone[0] < 23.5 and -0.5 <= gone[1] < 23.5)
            for layer in scene.layers[owner + 1 :]:
                hidden = hidden or covers(layer, SECOND, gone)
            assert fast[row, column] == hidden
            found += hidden
    assert 0 < found < 24 * 24


def covers(layer: Layer, which: int, point: np.ndarray) -> bool:
    """Whether a layer lies over one point of a frame."""
    assert layer.outline is not None
    place = layer.places[which]
    x, y = np.linalg.solve(place.matrix, point - place.shift)
    return bool(layer.outline.distances(np.array([x]), np.array([y]))[0] <= 0)
