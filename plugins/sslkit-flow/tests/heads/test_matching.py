"""Matching finds what moved by its features alone."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.contracts import FeatureInfo, FeatureMap, HeadFeatures, Meta, Task
from sslkit.errors import ConfigError
from sslkit_flow.heads.matching import Matching

GREY = (0.5, 0.5, 0.5)
CANVAS = (24, 32)
INFO = FeatureInfo(("a", "b"), (16, 24), (4, 8), 8, 8, GREY, GREY)
TASK = Task("flow", (), CANVAS, frames=2)


def seen(*maps: tuple[Tensor, int], valid: tuple[int, int] = CANVAS) -> HeadFeatures:
    pairs = maps[0][0].shape[0]
    meta = Meta(0, "", valid, valid, CANVAS)
    parts = tuple(FeatureMap(values, stride) for values, stride in maps)
    return HeadFeatures(None, parts, CANVAS, (meta,) * pairs)


def random_pair(width: int, stride: int, seed: int = 0, pairs: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(pairs, 2, width, CANVAS[0] // stride, CANVAS[1] // stride, generator=generator)


def by_loops(pair: Tensor, temperature: float, radius: int) -> Tensor:
    """GMFlow's section 3.2, cell by cell, of one map: (N, 2, h, w) in cells."""
    pairs, _, _, rows, columns = pair.shape
    flow = torch.zeros(pairs, 2, rows, columns)
    for n in range(pairs):
        for y in range(rows):
            for x in range(columns):
                weights, moves = [], []
                for v in range(rows):
                    for u in range(columns):
                        if radius and max(abs(v - y), abs(u - x)) > radius:
                            continue
                        cosine = F.cosine_similarity(pair[n, 0, :, y, x], pair[n, 1, :, v, u], dim=0)
                        weights.append(math.exp(float(cosine) / temperature))
                        moves.append((u - x, v - y))
                for axis in (0, 1):
                    moved = sum(w * move[axis] for w, move in zip(weights, moves, strict=True))
                    flow[n, axis, y, x] = moved / sum(weights)
    return flow


@pytest.mark.parametrize("radius", [0, 1, 2])
@torch.no_grad()
def test_it_is_the_expected_displacement_in_plain_loops(radius: int) -> None:
    pair = random_pair(24, 8)
    head = Matching(INFO, TASK, temperature=0.3, stride=8, radius=radius, maps="last")
    (level,) = head(seen((random_pair(16, 4), 4), (pair, 8)))
    assert level.stride == 8
    torch.testing.assert_close(level.vectors, 8 * by_loops(pair, 0.3, radius), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("radius", [0, 2])
@torch.no_grad()
def test_sharp_features_that_moved_are_followed(radius: int) -> None:
    first = random_pair(16, 4)[:, 0]
    pair = torch.stack([first, first.roll((1, 2), dims=(2, 3))], dim=1)
    head = Matching(INFO, TASK, temperature=0.01, stride=4, radius=radius, maps="finest")
    (level,) = head(seen((pair, 4), (random_pair(24, 8), 8)))
    stays = level.vectors[..., :-1, :-2]  # the others came in again at the other side
    torch.testing.assert_close(stays, torch.tensor([8.0, 4.0]).view(1, 2, 1, 1).expand_as(stays))


@torch.no_grad()
def test_all_maps_have_an_equal_say_whatever_their_size() -> None:
    fine, coarse = random_pair(16, 4), random_pair(24, 8)
    head = Matching(INFO, TASK, temperature=0.1, stride=4)
    one = head(seen((fine, 4), (coarse, 8)))[0].vectors
    other = head(seen((1000 * fine, 4), (coarse, 8)))[0].vectors
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(one, head(seen((fine, 4), (coarse.flip(1), 8)))[0].vectors, atol=0.1)


@pytest.mark.parametrize("radius", [0, 1, 3])
@torch.no_grad()
def test_padding_is_never_found(radius: int) -> None:
    pair, valid = random_pair(24, 8), (16, 24)
    head = Matching(INFO, TASK, temperature=0.3, radius=radius, maps="last")
    fine = random_pair(16, 4)
    one = head(seen((fine, 4), (pair, 8), valid=valid))[0].vectors
    other = pair.clone()
    other[..., 2:, :] = 7.0
    other[..., 3:] = 7.0
    two = head(seen((fine, 4), (other, 8), valid=valid))[0].vectors
    torch.testing.assert_close(one[..., :2, :3], two[..., :2, :3])
    assert bool(one.isfinite().all())
    torch.testing.assert_close(
        one[..., :2, :3], 8 * by_loops(pair[..., :2, :3], 0.3, radius), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("radius", [0, 1])
def test_gradients_are_finite_where_there_is_much_padding(radius: int) -> None:
    pair = random_pair(16, 4).requires_grad_()
    head = Matching(INFO, TASK, stride=4, radius=radius, maps="finest")
    head(seen((pair, 4), (random_pair(24, 8), 8), valid=(4, 5)))[0].vectors.square().sum().backward()
    assert pair.grad is not None
    assert bool(pair.grad.isfinite().all())
    assert bool(pair.grad.any())


def test_its_one_parameter_is_the_temperature_and_it_learns() -> None:
    head = Matching(INFO, TASK, temperature=0.5)
    assert [name for name, _ in head.named_parameters()] == ["log_temperature"]
    assert float(head.log_temperature.detach().exp()) == pytest.approx(0.5)
    head(seen((random_pair(16, 4), 4), (random_pair(24, 8), 8)))[0].vectors.square().sum().backward()
    assert head.log_temperature.grad is not None
    assert float(head.log_temperature.grad.abs()) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature, stride and radius are 0.0, 8 and 0"),
        ({"radius": -1}, "0.02, 8 and -1"),
        ({"maps": "first"}, "maps is 'first'; it is one of all, finest, last"),
    ],
)
def test_other_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Matching(INFO, TASK, **options)  # type: ignore[arg-type]
