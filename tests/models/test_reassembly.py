"""Several depths of any backbone become one fine map that depends on all of them."""

import pytest
import torch

from sslkit.contracts import FeatureInfo, FeatureMap
from sslkit.errors import ConfigError, ModelError
from sslkit.models.reassembly import Reassembly


def described(strides: tuple[int, ...]) -> FeatureInfo:
    names = tuple(f"map{place}" for place in range(len(strides)))
    channels = tuple(6 + place for place in range(len(strides)))
    return FeatureInfo(names, channels, strides, max(strides), max(strides), (0.5,) * 3, (0.5,) * 3)


def random_maps(info: FeatureInfo, canvas: tuple[int, int], seed: int = 0) -> list[FeatureMap]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [
        [-(-side // info.size_divisor) * info.size_divisor // s for side in canvas] for s in info.strides
    ]
    return [
        FeatureMap(torch.randn(2, width, *shape, generator=generator), stride)
        for width, shape, stride in zip(info.channels, shapes, info.strides, strict=True)
    ]


@pytest.mark.parametrize(
    ("strides", "levels"),
    [
        ((16, 16, 16, 16), (4, 8, 16, 32)),  # DPT on a ViT of patch 16
        ((14, 14, 14, 14), (4, 8, 16, 32)),
        ((8, 8, 8), (4, 8, 16)),
        ((4, 8, 16, 32), (4, 8, 16, 32)),
        ((1, 2, 4, 8, 16), (4, 8, 16)),
        ((3, 6, 12), (4, 8, 16)),
        ((16, 32), (4, 8, 16, 32)),
    ],
)
@pytest.mark.parametrize("canvas", [(64, 96), (65, 97)])
def test_one_map_at_the_stride_asked_for(strides, levels, canvas) -> None:
    torch.manual_seed(0)
    info = described(strides)
    module = Reassembly(info, channels=8, stride=4)
    assert module.strides == levels
    fused = module(random_maps(info, canvas), canvas)
    assert fused.stride == 4
    assert fused.values.shape == (2, 8, -(-canvas[0] // 4), -(-canvas[1] // 4))
    fused.values.square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.dim() == 1 or parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("strides", [(16, 16, 16, 16), (4, 8, 16, 32)])
def test_every_depth_has_a_say(strides) -> None:
    torch.manual_seed(0)
    info = described(strides)
    module = Reassembly(info, channels=8)
    maps, others = (random_maps(info, (64, 64), seed) for seed in (0, 1))
    before = module(maps, (64, 64)).values
    for place in range(len(maps)):
        changed = [*maps[:place], others[place], *maps[place + 1 :]]
        assert not torch.allclose(module(changed, (64, 64)).values, before, atol=1e-5)


def test_what_is_seen_at_a_place_is_told_at_that_place() -> None:
    torch.manual_seed(0)
    info = described((16, 16, 16, 16))
    module = Reassembly(info, channels=8)
    dark = [FeatureMap(torch.zeros(1, width, 8, 8), 16) for width in info.channels]
    lit = [FeatureMap(m.values.clone(), 16) for m in dark]
    for feature in lit:
        feature.values[..., 6, 2] = 1.0  # pixels 96..112 down, 32..48 across
    with torch.no_grad():
        change = (module(lit, (128, 128)).values - module(dark, (128, 128)).values).abs().sum(dim=(0, 1))
    places = (torch.arange(32) + 0.5) * 4
    assert abs(float(change.sum(1) @ places / change.sum()) - 104) < 8
    assert abs(float(change.sum(0) @ places / change.sum()) - 40) < 8


@pytest.mark.parametrize("stride", [0, 3, -4])
def test_a_stride_between_octaves_is_refused(stride) -> None:
    with pytest.raises(ConfigError, match="power of two"):
        Reassembly(described((16, 16)), stride=stride)


def test_maps_of_another_backbone_are_refused() -> None:
    with pytest.raises(ModelError, match="built for"):
        Reassembly(described((16, 16)), channels=8)(random_maps(described((16, 16, 16)), (32, 32)), (32, 32))
