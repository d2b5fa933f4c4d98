"""The same weights on another canvas: equal where the old one was taken, finite and in place elsewhere."""

import json

import pytest
import torch

from sslkit.errors import ModelError
from sslkit.models.canvas import for_canvas
from sslkit.models.creation import create_backbone
from sslkit.models.weights import load_backbone, save_backbone

SMALL_SWIN = {"embed_dim": 16, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 2, 2)}
TINY_VIT = {"embed_dim": 32, "depth": 4, "num_heads": 2}
ANY_SIZE = [("vit_tiny_patch16_224", TINY_VIT), ("swin_tiny_patch4_window7_224", SMALL_SWIN)]
ONE_SIZE = [("test_coatnet", {}), ("test_vit_relpos", {}), ("xcit_nano_12_p8_224", {"depth": 4})]


def built(name, options, **arguments):
    torch.manual_seed(0)
    return create_backbone(name, options=options, **arguments).eval()


def maps_of(backbone, size, count=1):
    pixels = torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return backbone.feature_maps(pixels)


@pytest.mark.parametrize(("name", "options"), ANY_SIZE + ONE_SIZE)
@pytest.mark.parametrize("canvas", [(64, 96), (65, 97)])
def test_maps_of_a_canvas_that_is_not_square(name, options, canvas) -> None:
    fitted = for_canvas(built(name, options), canvas)
    info = fitted.info
    whole = fitted.fixed_size or tuple(-(-s // info.size_divisor) * info.size_divisor for s in canvas)
    assert all(side >= given for side, given in zip(whole, canvas, strict=True))
    maps = maps_of(fitted, canvas)
    assert tuple(maps) == info.names
    for feature in maps.values():
        assert feature.values.isfinite().all()
        assert tuple(feature.values.shape[-2:]) == tuple(side // feature.stride for side in whole)


@pytest.mark.parametrize(("name", "options"), ANY_SIZE)
def test_where_every_size_is_taken_the_old_one_gives_the_same(name, options) -> None:
    backbone = built(name, options)
    fitted = for_canvas(backbone, (64, 96))
    assert fitted.fixed_size is None
    for key, tensor in backbone.network.state_dict().items():
        assert torch.equal(tensor, fitted.network.state_dict()[key])
    for own, other in zip(
        maps_of(backbone, (224, 224)).values(), maps_of(fitted, (224, 224)).values(), strict=True
    ):
        torch.testing.assert_close(own.values, other.values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "options"), ONE_SIZE)
def test_a_network_of_one_size_and_back_is_nearly_the_same(name, options) -> None:
    """Tables are interpolated twice; weights that belong to no place are the same to the bit."""
    backbone = built(name, options)
    side = backbone.fixed_size[0]
    there = for_canvas(backbone, (96, 160))
    assert there.fixed_size == (96, 160)
    back = for_canvas(there, (side, side))
    assert back.fixed_size == backbone.fixed_size
    tables = {k for k, t in backbone.state_dict().items() if not torch.equal(t, back.state_dict()[k])}
    assert all("pos" in key or "bias_table" in key for key in tables)
    own, other = (next(iter(maps_of(b, (side, side)).values())).values for b in (backbone, back))
    assert (own - other).norm() < 0.1 * own.norm()


def test_positions_are_resampled_not_cut() -> None:
    """The last row of a smaller grid carries the position of the original's last row, not of its middle."""
    backbone = built("vit_tiny_patch16_224", TINY_VIT)
    rows = torch.arange(14.0)[:, None, None].expand(14, 14, 32)
    with torch.no_grad():
        backbone.network.pos_embed[:, 1:] = rows.reshape(1, 196, 32)
        fitted = for_canvas(backbone, (112, 224)).network
        fitted.patch_embed.proj.weight.zero_()
        fitted.patch_embed.proj.bias.zero_()
        tokens = fitted._pos_embed(fitted.patch_embed(torch.zeros(1, 3, 112, 224)))[0, 1:, 0].view(7, 14)
    assert float(tokens[0, 0]) < 1.5
    assert float(tokens[-1, 0]) > 11.5


def test_networks_of_any_size_and_matching_canvases_come_back_as_they_are() -> None:
    convolutional = built("test_resnet", {})
    assert for_canvas(convolutional, (65, 97)) is convolutional
    fixed = built("test_coatnet", {})
    assert for_canvas(fixed, (160, 160)) is fixed
    assert for_canvas(fixed, (140, 129)) is fixed  # rounds up to 160 x 160


def test_the_given_backbone_stays_and_the_new_one_is_in_the_same_state() -> None:
    backbone = built("test_coatnet", {}).train()
    backbone.weights, backbone.loaded_fraction = "timm:test", 1.0
    first = next(backbone.parameters())
    first.requires_grad_(False)
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    fitted = for_canvas(backbone, (64, 96))
    assert all(torch.equal(before[key], tensor) for key, tensor in backbone.state_dict().items())
    assert backbone.fixed_size == (160, 160)
    assert fitted.training
    assert not next(fitted.parameters()).requires_grad
    assert (fitted.info.weights, fitted.info.loaded_fraction) == ("timm:test", 1.0)


@pytest.mark.parametrize(("name", "options"), [*ANY_SIZE[:1], *ONE_SIZE[:2]])
def test_a_fitted_backbone_can_be_saved_and_loaded(tmp_path, name, options) -> None:
    fitted = for_canvas(built(name, options), (64, 96))
    save_backbone(fitted, tmp_path, size=64)
    json.loads((tmp_path / "backbone.json").read_text())
    loaded = load_backbone(tmp_path)
    for own, other in zip(
        maps_of(fitted, (64, 96)).values(), maps_of(loaded, (64, 96)).values(), strict=True
    ):
        assert torch.equal(own.values, other.values)


def test_a_canvas_larger_than_the_fixed_size_says_what_to_do() -> None:
    backbone = built("test_coatnet", {})
    with pytest.raises(ModelError, match=r"160x160 pixels and was given 161x64; for_canvas\(backbone"):
        backbone.feature_maps(torch.zeros(1, 3, 161, 64))


def test_a_canvas_smaller_than_the_fixed_size_is_padded() -> None:
    backbone = built("test_coatnet", {})
    pixels = torch.randn(1, 3, 100, 70)
    canvas = torch.zeros(1, 3, 160, 160)
    canvas[..., :100, :70] = pixels
    with torch.no_grad():
        for own, other in zip(backbone.feature_maps(pixels).values(), backbone.feature_maps(canvas).values(), strict=True):  # fmt: skip # noqa: E501
            assert torch.equal(own.values, other.values)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("levit_128s", "attention_biases"),
        ("gmlp_ti16_224", "one entry for each place"),
        ("pit_ti_224", "grid"),
    ],
)
def test_weights_tied_to_their_size_are_refused_with_the_reason(name, reason) -> None:
    with pytest.raises(ModelError, match=f"built for 224x224 pixels and cannot be made ready .*{reason}"):
        for_canvas(built(name, {}), (96, 160))
