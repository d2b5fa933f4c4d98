"""What becomes of a network: names and norms stay, strides are told, what cannot be inflated is named."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from timm.layers import CondConv2d, ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from torch import Tensor, nn

from sslkit.errors import ConfigError, ModelError
from sslkit.models.architecture import Transform
from sslkit.models.backbone import Backbone
from sslkit.models.creation import create_backbone
from sslkit.models.memory_layout import lay_out
from sslkit_inflation.convolution import InflatedConv
from sslkit_inflation.inflate import inflate
from sslkit_inflation.still_video import awaken


def network(name: str = "test_resnet", **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=0, **options)  # type: ignore[no-any-return]


def backbone(name: str = "test_resnet", size: int | None = None, **options: Any) -> Backbone:
    torch.manual_seed(0)
    return create_backbone(
        name, size=size, stem="standard", transforms=[Transform("inflate", options, inflate)]
    ).eval()


def clips(n: int = 2, frames: int = 8, side: int = 32) -> Tensor:
    return torch.randn(n, frames, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_names_stay_and_kernels_gain_an_axis() -> None:
    plain = network().state_dict()
    inflated = inflate(network(), kernel=5).state_dict()
    assert list(plain) == list(inflated)
    grown = {name for name, value in inflated.items() if value.shape != plain[name].shape}
    assert {name for name, value in plain.items() if value.dim() == 4 and value.shape[-1] > 1} == grown
    assert all(inflated[name].shape[2] == 5 for name in grown)


def test_the_network_is_changed_in_place_and_keeps_its_modes() -> None:
    given = network().train()
    given.bn1.eval()  # type: ignore[union-attr]
    inflated = inflate(given)
    assert inflated is given
    assert inflated.training
    assert not inflated.bn1.training  # type: ignore[union-attr]


def test_a_kernel_of_one_is_left_as_it_was() -> None:
    kinds = [type(m) for m in network().modules()]
    assert [type(m) for m in inflate(network(), kernel=1).modules()] == kinds


def test_each_stage_has_the_kernel_of_its_place() -> None:
    inflated = inflate(network("resnet18"), kernel=[5, 1, 3, 1, 7])
    times = {
        name: layer.kernel for name, layer in inflated.named_modules() if isinstance(layer, InflatedConv)
    }
    assert {name.partition(".")[0]: time for name, time in times.items()} == {
        "conv1": 5,
        "layer2": 3,
        "layer4": 7,
    }
    assert sum(name.startswith("layer2") for name in times) == 4


@pytest.mark.parametrize(
    ("name", "stride", "times"),
    [
        ("resnet18", [1, 1, 2, 2, 2], (1, 1, 2, 4, 8)),
        ("resnet18", 2, (2, 4, 8, 16, 32)),
        ("convnext_atto", [2, 1, 2, 1, 1], (2, 4, 4, 4)),
        ("mobilenetv3_small_050", [1, 2, 1, 1, 2], (1, 2, 2, 2, 4)),
        ("test_vit", [2], (2, 2, 2, 2)),
    ],
)
def test_strides_are_told_and_kept(name: str, stride: Any, times: tuple[int, ...]) -> None:
    found = backbone(name, 64, stride=stride)
    assert found.info.temporal_strides == times
    frames, side = 2 * times[-1] - 1, 64
    seen = torch.zeros(2, frames, 3, side, side)
    with torch.no_grad():
        assert found.embed_frames(seen).shape[:2] == (2, -(-frames // times[-1]))
        assert [one.values.shape[1] for one in found.feature_maps(seen).values()] == [
            -(-frames // time) for time in times
        ]
        assert found(seen[:, 0]).shape == (2, found.embedding_dim)


def test_maps_of_tubelets_belong_to_their_clip_and_place() -> None:
    found = backbone("test_vit", 64, stride=2, kernel=2)
    seen = clips(2, 4, 64)
    other = seen.clone()
    other[1, 2:] += 1
    with torch.no_grad():
        one, two = (list(found.feature_maps(given).values())[-1].values for given in (seen, other))
    changed = (one - two).abs().flatten(2).amax(dim=2) > 1e-6
    assert changed.tolist() == [[False, False], [False, True]]


def test_batchnorm_on_rows_is_batchnorm3d() -> None:
    rows = torch.randn(2 * 5, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    flat, deep = nn.BatchNorm2d(6), nn.BatchNorm3d(6)
    as_clips = rows.unflatten(0, (2, 5)).transpose(1, 2)
    for _ in range(2):
        expected = deep(as_clips).transpose(1, 2).flatten(0, 1)
        torch.testing.assert_close(flat(rows), expected)
        torch.testing.assert_close(flat.running_var, deep.running_var)
        flat.eval(), deep.eval()


def test_a_pool_of_rows_is_a_pool_of_one_frame() -> None:
    rows = torch.randn(2 * 5, 6, 9, 9, generator=torch.Generator().manual_seed(0))
    deep = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))(rows.unflatten(0, (2, 5)).transpose(1, 2))
    torch.testing.assert_close(nn.MaxPool2d(3, 2, 1)(rows), deep.transpose(1, 2).flatten(0, 1))


def test_frames_have_a_say_beyond_their_own_row_and_never_beyond_their_clip() -> None:
    found = backbone("resnet18", init="tile", kernel=[3, 1, 1, 1, 1])
    seen = clips()
    other = seen.clone()
    other[0, 4] += 1
    with torch.no_grad():
        changed = (found.embed_frames(seen) != found.embed_frames(other)).any(dim=2)
    assert changed[0].tolist() == [False] * 3 + [True] * 3 + [False] * 2
    assert not changed[1].any()


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
def test_gradients_reach_every_tap(name: str) -> None:
    found = backbone(name, 64, padding="causal", stride=[2, *([1] * (0 if name == "test_vit" else 4))])
    awaken(found, torch.Generator().manual_seed(0))
    found.train()
    found(clips(2, 4, 64)).square().sum().backward()
    layers = [layer for layer in found.modules() if isinstance(layer, InflatedConv)]
    assert layers
    for layer in layers:
        assert layer.weight.grad is not None
        assert layer.weight.grad.abs().sum(dim=(0, 1, 3, 4)).gt(0).all()


def test_a_copy_counts_clips_of_its_own_and_weights_travel() -> None:
    first = backbone(init="tile")
    second = copy.deepcopy(first)
    rows = {id(layer.clip_rows) for layer in second.modules() if isinstance(layer, InflatedConv)}
    assert rows == {id(second.network.clip_rows)}
    assert second.network.clip_rows is not first.network.clip_rows
    third = backbone(init="centre")
    seen = clips()
    with torch.no_grad():
        assert not torch.allclose(first(seen), third(seen))
        third.load_state_dict(first.state_dict())
        assert torch.equal(first(seen), second(seen))
        assert torch.equal(first(seen), third(seen))


def test_bfloat16_and_channels_last_give_nearly_the_same() -> None:
    found = backbone(init="tile", stride=[2, 1, 1, 1, 1])
    seen = clips()
    with torch.no_grad():
        expected = found(seen)
        with torch.autocast("cpu", torch.bfloat16):
            half = found(seen)
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), expected, atol=0.05, rtol=0.05)
        torch.testing.assert_close(lay_out(found, channels_last=True)(seen), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame, CondConv2d])
def test_kernels_that_are_made_anew_are_refused_by_name(kind: type[nn.Module]) -> None:
    given = nn.Sequential(nn.Conv2d(3, 8, 3), kind(8, 8, 3))
    with pytest.raises(ModelError, match=f"'1' is a {kind.__name__}"):
        inflate(given)


def test_other_margins_than_zeros_are_refused() -> None:
    with pytest.raises(ModelError, match="pads with 'reflect'"):
        inflate(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")))


def test_nothing_to_inflate_is_told() -> None:
    with pytest.raises(ModelError, match="no convolution larger than a pixel"):
        inflate(nn.Sequential(nn.Conv2d(3, 8, 1)))


def test_a_convolution_on_the_heads_of_attention_is_refused_by_name() -> None:
    network = timm.create_model("mvitv2_tiny", num_classes=0, img_size=64)
    with pytest.raises(ModelError, match=r"'stages\.1\.blocks\.0\.attn\.pool_q' is given other rows"):
        inflate(network)


def test_inflating_twice_is_refused() -> None:
    with pytest.raises(ModelError, match="looks along time already"):
        inflate(inflate(network()))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"kernel": 0}, "kernel is 0; each entry is a whole number of frames, 1 or more"),
        ({"kernel": [3, 3]}, "kernel has 2 entries; give one for all, or 5: stem, layer1, layer2"),
        ({"stride": [1, 1, 0, 1, 1]}, "stride is"),
        ({"kernel": 4}, "kernel 4 of 'stem' has no middle frame; use 3 or 5, padding=causal"),
        ({"kernel": 1, "stride": 2}, "stride 2 of the stem would pass over frames with a kernel of 1"),
        ({"init": "center"}, "init 'center' is not one of tile, centre; did you mean 'centre'"),
        ({"padding": "reflect"}, "padding 'reflect' is not one of zero, replicate, causal"),
    ],
)
def test_options_out_of_range_are_told(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        inflate(network(), **options)


def test_an_even_kernel_has_a_place_in_causal_networks_and_in_even_strides() -> None:
    inflate(network(), kernel=4, padding="causal")
    inflate(network(), kernel=[2, 1, 1, 1, 1], stride=[2, 1, 1, 1, 1])


def test_a_network_of_one_piece_has_one_stage() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
    assert inflate(copy.deepcopy(plain), stride=[2]).temporal_strides == (2,)
    with pytest.raises(ConfigError, match="2 entries; give one for all, or 1: stem"):
        inflate(plain, stride=[1, 2])


class Skipping(nn.Module):
    """A network whose last stage still sees the rows of the one before."""

    feature_info = ({"module": "one"}, {"module": "two"})

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(2))

    def forward(self, rows: Tensor) -> Tensor:
        """Rows to rows."""
        one: Tensor = self.one(rows)
        return one + self.two(one)


def test_a_stage_whose_rows_are_seen_beside_it_too_cannot_be_strided() -> None:
    inflate(Skipping())
    with pytest.raises(ModelError, match="cannot be strided in time there"):
        inflate(Skipping(), stride=[1, 2])
