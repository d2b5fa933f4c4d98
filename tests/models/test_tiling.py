"""Tiles give what the whole image gives, when the margin is as wide as the network looks."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.errors import ConfigError, ModelError
from sslkit.models.creation import create_backbone
from sslkit.models.tiling import reach, tiled


def network(*, strided: bool) -> nn.Sequential:
    """Convolutions that look 1 + 2 pixels far, or 1 + 2 * 2 with a stride of 2 between them."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, stride=2 if strided else 1), nn.ReLU(), nn.Conv2d(4, 2, 5, padding=2)
    ).eval()


CASES = [(False, 1, 3), (True, 2, 6)]


@pytest.mark.parametrize("size", [(50, 70), (32, 32), (33, 49), (20, 90), (16, 16)])
@pytest.mark.parametrize(("strided", "stride", "margin"), CASES)
def test_tiles_with_a_wide_enough_margin_equal_the_whole(size, strided, stride, margin) -> None:
    function = network(strided=strided)
    pixels = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = function(F.pad(pixels, (0, -size[1] % stride, 0, -size[0] % stride)))
    made = tiled(function, pixels, tile=(16, 20), margin=margin, stride=stride)
    assert made.shape == whole.shape
    torch.testing.assert_close(made, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("strided", "stride", "margin"), CASES)
def test_tiles_with_a_margin_too_small_do_not(strided, stride, margin) -> None:
    function = network(strided=strided)
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = function(pixels)
    made = tiled(function, pixels, tile=16, margin=margin - stride, stride=stride)
    assert (made - whole).abs().max() > 1e-3


@pytest.mark.parametrize(("strided", "stride", "margin"), CASES)
def test_the_reach_is_the_margin_it_takes(strided, stride, margin) -> None:
    assert reach(network(strided=strided), torch.randn(1, 3, 64, 48), stride=stride) == margin


def slow_reach(function, pixels: Tensor, stride: int) -> int:
    """By gradients: how far beyond one cell in the middle any pixel has a slope, over several inputs."""
    furthest = 0
    for seed in range(4):
        given = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        out = function(given)
        row, column = (side // 2 for side in out.shape[-2:])
        out[0, :, row, column].square().sum().backward()
        seen = given.grad[0].abs().sum(0) > 0
        for axis, cell in ((1, row), (0, column)):
            touched = seen.any(dim=axis).nonzero()
            furthest = max(furthest, cell * stride - int(touched.min()))
            furthest = max(furthest, int(touched.max()) - (cell * stride + stride - 1))
    return furthest


@pytest.mark.parametrize(
    ("name", "layer"), [("test_resnet", 1), ("test_efficientnet", 1), ("test_convnext", 0)]
)
def test_the_reach_of_a_real_network_covers_its_gradients_and_makes_tiles_exact(name, layer) -> None:
    torch.manual_seed(0)
    backbone = create_backbone(name, stem="standard").eval()
    if name == "test_efficientnet":  # its squeeze and excitation sees everything
        for block in (m for m in backbone.modules() if hasattr(m, "se")):
            block.se = nn.Identity()
    for norm in (m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.ones_(norm.weight)  # timm begins residual branches at zero, which hides them from gradients
    key, stride, divisor = (
        backbone.info.names[layer],
        backbone.info.strides[layer],
        backbone.info.size_divisor,
    )

    def function(pixels: Tensor) -> Tensor:
        return backbone.feature_maps(pixels)[key].values

    probe = torch.randn(1, 3, 160, 160)
    margin = reach(function, probe, stride=stride)
    assert margin - 2 * stride <= slow_reach(function, probe, stride) <= margin
    pixels = torch.randn(1, 3, 160, 224)
    with torch.no_grad():
        whole = function(pixels)
    made = tiled(function, pixels, tile=128, margin=margin, stride=stride, divisor=divisor)
    torch.testing.assert_close(made, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["test_vit", "test_efficientnet"])
def test_a_network_that_looks_everywhere_has_no_margin(name) -> None:
    torch.manual_seed(0)
    backbone = create_backbone(name).eval()
    info = backbone.info

    def function(pixels: Tensor) -> Tensor:
        return backbone.feature_maps(pixels)[info.names[-1]].values

    with pytest.raises(ModelError, match="whole image"):
        reach(function, torch.randn(1, 3, 160, 160), stride=info.strides[-1])


def test_blended_tiles_pass_over_their_seams_smoothly() -> None:
    """A function that says where in its tile a pixel lies jumps at the seams of crops; blended it glides."""

    def function(pixels: Tensor) -> Tensor:
        return torch.arange(pixels.shape[-1]).float().expand(1, 1, pixels.shape[-2], -1).clone()

    pixels = torch.zeros(1, 3, 24, 72)
    steps = {
        overlap: float(
            tiled(function, pixels, tile=24, margin=6, overlap=overlap)[0, 0, 0].diff().abs().max()
        )
        for overlap in ("crop", "blend")
    }
    assert steps["crop"] > 8
    assert steps["blend"] < 3


def test_blending_what_does_not_depend_on_the_tile_changes_nothing() -> None:
    pixels = torch.randn(2, 3, 33, 47)
    made = tiled(lambda part: part[:, :2] * 2, pixels, tile=16, margin=4, overlap="blend")
    torch.testing.assert_close(made, pixels[:, :2] * 2, rtol=0, atol=1e-6)


def test_the_network_never_sees_more_than_a_tile() -> None:
    seen = []

    def function(pixels: Tensor) -> Tensor:
        seen.append(tuple(pixels.shape[-2:]))
        return pixels[..., ::4, ::4]

    tiled(function, torch.randn(1, 3, 101, 75), tile=(32, 48), margin=5, stride=4, divisor=8)
    assert set(seen) == {(32, 48)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tile": 16, "margin": 8}, "larger than two margins, such as 17"),
        ({"tile": 20, "margin": 0, "stride": 8}, "multiples of 8"),
        ({"tile": 64, "margin": 3, "stride": 4, "divisor": 32}, "margin of 32"),
    ],
)
def test_tiles_that_do_not_fit_are_refused(arguments, message) -> None:
    with pytest.raises(ConfigError, match=message):
        tiled(lambda part: part, torch.zeros(1, 3, 128, 128), **arguments)


def test_a_function_of_another_stride_is_refused() -> None:
    with pytest.raises(ModelError, match="stride is not 2"):
        tiled(lambda part: part, torch.zeros(1, 3, 32, 32), tile=16, margin=2, stride=2)
