"""The policies a recipe names: multi-crop shows two global and several local views of the sizes asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sslkit.contracts import Views
from sslkit.data.views.named import byol, custom, multi_channel, multi_crop, simclr, simclr_small
from sslkit.data.views.policy import ViewPolicy
from sslkit.errors import ConfigError, SslkitError, UnknownNameError
from sslkit.keyed_random import Keys
from sslkit.registry import build

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def made(size: int = 32, **options: Any) -> ViewPolicy:
    return multi_crop(size=size, mean=MEAN, std=STD, **options)


def batch(count: int = 6, side: int = 48) -> tuple[Tensor, Tensor, Keys]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    return pixels, torch.tensor([[0, 0, side, side]] * count), Keys(3, 1, torch.arange(count) + 11)


def test_two_global_views_come_before_the_local_ones() -> None:
    views = made(local_crops=3, local_size=20)
    assert isinstance(views, Views)
    shown = views(*batch())
    assert (views.size, views.count) == (32, 5)
    assert [tuple(view.shape) for view in shown] == [(6, 3, 32, 32)] * 2 + [(6, 3, 20, 20)] * 3
    for i, first in enumerate(shown):
        for second in shown[i + 1 :]:
            assert first.shape != second.shape or not torch.equal(first, second)


@pytest.mark.parametrize(
    ("size", "local"), [(224, 96), (384, 160), (96, 48), (64, 32), (32, 16), (28, 16), (8, 8)]
)
def test_local_views_have_three_sevenths_of_the_size_in_sixteens(size: int, local: int) -> None:
    assert made(size).sizes == (size,) * 2 + (local,) * 6


def test_a_row_is_the_same_to_the_last_bit_in_any_batch() -> None:
    views = made()
    pixels, rectangles, keys = batch(9)
    whole = views(pixels, rectangles, keys)
    for order in ([4], [7, 0], list(range(8, -1, -1))):
        part = views(pixels[order], rectangles[order], Keys(keys.seed, keys.epoch, keys.ids[order]))
        for shown, expected in zip(part, whole, strict=True):
            assert torch.equal(shown, expected[order])


def test_global_views_do_not_change_with_the_local_ones() -> None:
    few, many = made(local_crops=0)(*batch()), made(local_crops=5, local_size=24)(*batch())
    assert len(few) == 2
    assert all(torch.equal(first, second) for first, second in zip(few, many, strict=False))


def test_global_and_local_crops_show_their_shares_of_the_picture() -> None:
    count = 2000
    rectangles, keys = torch.tensor([[0, 0, 300, 300]] * count), Keys(0, 0, torch.arange(count))
    drawn = made(global_scale=[0.3, 1.0], local_scale=(0.05, 0.25), local_crops=2).parameters(
        rectangles, keys
    )
    for view, (low, high) in zip(drawn, [(0.3, 1.0)] * 2 + [(0.05, 0.25)] * 2, strict=True):
        share = view[0]["boxes"][:, 2:].double().prod(dim=1) / 300**2
        assert low * 0.97 < float(share.min()) < low * 1.1
        assert high * 0.9 < float(share.max()) < high * 1.03


def test_blur_and_solarisation_follow_the_paper() -> None:
    count = 5000
    rectangles, keys = torch.tensor([[0, 0, 48, 48]] * count), Keys(0, 0, torch.arange(count))
    drawn = made(local_crops=2).parameters(rectangles, keys)
    shares = [[float(view[k]["chosen"].float().mean()) for k in (3, 4)] for view in drawn]
    for share, expected in zip(shares, [(1.0, 0.0), (0.1, 0.2), (0.5, 0.0), (0.5, 0.0)], strict=True):
        assert share == pytest.approx(expected, abs=0.025)


def test_options_change_an_operation_in_every_view() -> None:
    _, rectangles, keys = batch()
    for view in made(color_jitter={"p": 1.0}).parameters(rectangles, keys):
        assert view[1]["chosen"].all()


def test_the_registry_knows_it() -> None:
    views = build("view_policy", "multi_crop", size=32, mean=MEAN, std=STD, local_crops=1)
    assert views.sizes == (32, 32, 16)


def test_a_custom_policy_may_have_views_of_two_sizes() -> None:
    local = {"size": 12, "operations": [{"op": "crop_resize", "scale": [0.1, 0.4]}]}
    views = custom(size=32, mean=MEAN, std=STD, policy=[[{"op": "flip"}], local])
    assert [view.shape[-1] for view in views(*batch())] == [32, 12]


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({"local_crops": -1}, ConfigError, "local_crops is -1"),
        ({"local_crops": 2.5}, ConfigError, r"local_crops is 2\.5"),
        ({"local_size": 40}, ConfigError, "size of a view is 40"),
        ({"local_size": 0}, ConfigError, "size of a view is 0"),
        ({"local_scale": (0.4, 0.05)}, ConfigError, "scale"),
        ({"global_scale": 0.4}, ConfigError, "scale"),
        ({"solarise": {}}, UnknownNameError, "'solarize'"),
    ],
)
def test_a_bad_option_is_refused(options: dict[str, Any], kind: type[SslkitError], told: str) -> None:
    with pytest.raises(kind, match=told):
        made(**options)


@pytest.mark.parametrize("channels", [1, 2, 13])
@pytest.mark.parametrize("engine", ["exact", "fused"])
def test_multi_channel_takes_any_number_of_channels(channels: int, engine: str) -> None:
    views = multi_channel(size=24, mean=[0.5] * channels, std=[0.2] * channels, engine=engine)
    pixels = batch()[0][:, :1].expand(-1, channels, -1, -1).contiguous()
    made = views(pixels, *batch()[1:])
    assert [tuple(view.shape) for view in made] == [(6, channels, 24, 24)] * 2
    # Equal channels stay equal but for the noise: nothing knows colours.
    quiet = multi_channel(
        size=24, mean=[0.5] * channels, std=[0.2] * channels, engine=engine, gaussian_noise={"p": 0.0}
    )
    for view in quiet(pixels, *batch()[1:]):
        torch.testing.assert_close(view, view[:, :1].expand_as(view), atol=1e-5, rtol=0)


@pytest.mark.parametrize("policy", [simclr, simclr_small, byol, multi_channel, multi_crop])
def test_engine_and_sharing_reach_the_policy(policy: Any) -> None:
    views = policy(size=32, mean=MEAN, std=STD, engine="fused", shared=True)
    assert (views.engine, views.shared) == ("fused", True)
    numbers = views.parameters(*batch()[1:])
    assert all(torch.equal(view[1]["chosen"], numbers[0][1]["chosen"]) for view in numbers)
