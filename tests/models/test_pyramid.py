"""A pyramid over any backbone: the asked strides, cells in their places, a gradient for every parameter."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sslkit.contracts import FeatureInfo, FeatureMap
from sslkit.errors import ConfigError, ModelError
from sslkit.models.canvas import for_canvas
from sslkit.models.creation import create_backbone
from sslkit.models.pyramid import Pyramid

SMALL_SWIN = {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 2)}


def described(channels: tuple[int, ...], strides: tuple[int, ...]) -> FeatureInfo:
    names = tuple(f"map{place}" for place in range(len(strides)))
    return FeatureInfo(names, channels, strides, max(strides), max(strides), (0.5,) * 3, (0.5,) * 3)


def random_maps(info: FeatureInfo, canvas: tuple[int, int], count: int = 2) -> tuple[FeatureMap, ...]:
    generator = torch.Generator().manual_seed(0)
    divisor = info.size_divisor
    return tuple(
        FeatureMap(
            torch.randn(
                count,
                width,
                *(-(-side // divisor) * divisor // stride for side in canvas),
                generator=generator,
            ),
            stride,
        )
        for width, stride in zip(info.channels, info.strides, strict=True)
    )


def assert_strides(levels, canvas, strides, channels) -> None:
    assert tuple(level.stride for level in levels) == strides
    for level in levels:
        rows, columns = (-(-side // level.stride) for side in canvas)
        assert level.values.shape[1:] == (channels, rows, columns)
        assert level.values.isfinite().all()


def every_parameter_learns(module: nn.Module, levels) -> bool:
    sum(level.values.square().sum() for level in levels).backward()
    return all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters()) and all(
        p.grad.abs().sum() > 0 for p in module.parameters() if p.dim() > 1
    )


@pytest.mark.parametrize(
    "strides",
    [(4, 8, 16, 32), (1, 2, 4, 8, 16, 32), (3, 6, 12), (16, 32, 64), (14, 14, 14), (16,), (8, 8, 8)],
)
@pytest.mark.parametrize("canvas", [(64, 96), (65, 97)])
def test_maps_of_any_strides_become_those_asked_for(strides, canvas) -> None:
    info = described(tuple(8 + 4 * place for place in range(len(strides))), strides)
    pyramid = Pyramid(info, channels=8)
    levels = pyramid(random_maps(info, canvas), canvas)
    assert pyramid.kind == ("fpn" if len(set(strides)) > 1 else "simple")
    assert_strides(levels, canvas, (4, 8, 16, 32), 8)
    assert every_parameter_learns(pyramid, levels)


FAMILIES = [
    ("test_resnet", {}),
    ("test_convnext", {}),
    ("test_efficientnet", {}),
    ("test_vit", {}),
    ("test_coatnet", {}),
    ("swin_tiny_patch4_window7_224", SMALL_SWIN),
    ("vgg11", {"mlp_ratio": 0.01}),
    ("test_resnet", {"output_stride": 8}),
]


@pytest.mark.parametrize(("name", "options"), FAMILIES, ids=[f"{n}-{len(o)}" for n, o in FAMILIES])
def test_real_networks_on_a_canvas_that_is_neither_square_nor_even(name, options) -> None:
    torch.manual_seed(0)
    canvas = (65, 97)
    backbone = for_canvas(create_backbone(name, stem="standard", options=options).eval(), canvas)
    pyramid = Pyramid(backbone.info, channels=8, strides=(8, 16, 32))
    levels = pyramid(tuple(backbone.feature_maps(torch.randn(2, 3, *canvas)).values()), canvas)
    assert_strides(levels, canvas, (8, 16, 32), 8)
    assert every_parameter_learns(pyramid, levels)


def test_an_fpn_is_the_papers() -> None:
    """Lin et al. 2017, section 3: 1x1 laterals, sums with the level above upsampled, 3x3 at the end."""
    info = described((5, 6, 7), (4, 8, 16))
    canvas = (48, 64)
    maps = random_maps(info, canvas)
    pyramid = Pyramid(info, channels=8, strides=(4, 8, 16))
    parts = pyramid.levels.network
    above, expected = None, []
    for place in (2, 1, 0):
        lateral = parts.inner_blocks[place][0]
        level = torch.einsum("nchw,kc->nkhw", maps[place].values, lateral.weight[:, :, 0, 0])
        level = level + lateral.bias[:, None, None]
        if above is not None:
            level = level + above.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        above = level
        expected.insert(0, F.conv2d(level, parts.layer_blocks[place][0].weight, parts.layer_blocks[place][0].bias, padding=1))  # fmt: skip # noqa: E501
    for level, value in zip(pyramid(maps, canvas), expected, strict=True):
        torch.testing.assert_close(level.values, value, rtol=1e-4, atol=1e-5)


def test_a_simple_pyramid_sees_the_last_map_alone() -> None:
    info = described((6, 6, 8), (16, 16, 16))
    pyramid = Pyramid(info, channels=8)
    maps = random_maps(info, (64, 64))
    changed = (FeatureMap(maps[0].values + 1, 16), *maps[1:])
    for one, other in zip(pyramid(maps, (64, 64)), pyramid(changed, (64, 64)), strict=True):
        assert torch.equal(one.values, other.values)
    last = (*maps[:2], FeatureMap(maps[2].values + torch.randn_like(maps[2].values), 16))
    assert not torch.allclose(pyramid(maps, (64, 64))[0].values, pyramid(last, (64, 64))[0].values)


@pytest.mark.parametrize("kind", ["fpn", "simple"])
def test_cells_stay_where_they_are(kind) -> None:
    """What is bright at one place of the image is bright at that place of every level."""
    canvas = (128, 128)
    strides = (4, 8, 16, 32) if kind == "fpn" else (16, 16)
    info = described((1,) * len(strides), strides)
    maps = []
    for stride in strides:
        values = torch.zeros(1, 1, 128 // stride, 128 // stride)
        values[..., 96 // stride, 32 // stride] = 1.0
        maps.append(FeatureMap(values, stride))
    torch.manual_seed(0)
    pyramid = Pyramid(info, channels=4, norm="none")
    blank = [FeatureMap(torch.zeros_like(m.values), m.stride) for m in maps]
    with torch.no_grad():
        lit, unlit = pyramid(maps, canvas), pyramid(blank, canvas)
    for level, empty in zip(lit, unlit, strict=True):
        change = (level.values - empty.values).abs().sum(dim=(0, 1))
        rows = (torch.arange(len(change)) + 0.5) * level.stride
        centre = (change.sum(1) @ rows / change.sum(), change.sum(0) @ rows / change.sum())
        assert abs(float(centre[0]) - 104) < 16
        assert abs(float(centre[1]) - 40) < 16


@pytest.mark.parametrize(("extra", "strides"), [("pool", (8, 16, 32)), ("p6p7", (8, 16, 32, 64))])
@pytest.mark.parametrize("canvas", [(64, 64), (65, 97)])
def test_extra_levels_are_twice_as_coarse_each(extra, strides, canvas) -> None:
    info = described((4, 8, 16), (4, 8, 16))
    pyramid = Pyramid(info, channels=8, strides=(8, 16), extra=extra)
    assert pyramid.strides == strides
    levels = pyramid(random_maps(info, canvas), canvas)
    assert_strides(levels, canvas, strides, 8)
    assert every_parameter_learns(pyramid, levels)
    if extra == "pool":
        assert torch.equal(levels[-1].values, levels[-2].values[..., ::2, ::2])


def test_strides_far_beyond_the_coarsest_are_made_by_convolutions() -> None:
    info = described((4, 8), (4, 8))
    pyramid = Pyramid(info, channels=8, strides=(8, 16, 64))
    levels = pyramid(random_maps(info, (65, 97)), (65, 97))
    assert_strides(levels, (65, 97), (8, 16, 64), 8)
    assert [c[0].stride for c in pyramid.levels.coarser] == [(2, 2), (4, 4)]
    assert every_parameter_learns(pyramid, levels)


@pytest.mark.parametrize(
    ("norm", "layer"), [("batch", nn.BatchNorm2d), ("group", nn.GroupNorm), ("layer", nn.LayerNorm)]
)
@pytest.mark.parametrize("strides", [(4, 8), (8, 8)])
def test_the_norm_is_the_one_asked_for(norm, layer, strides) -> None:
    pyramid = Pyramid(described((4, 8), strides), channels=8, strides=(4, 8), norm=norm)
    assert any(isinstance(part, layer) for part in pyramid.modules())


def test_half_precision_passes_through() -> None:
    info = described((4, 8), (6, 12))
    pyramid = Pyramid(info, channels=8, strides=(4, 8, 16))
    with torch.autocast("cpu", torch.bfloat16):
        levels = pyramid(
            [FeatureMap(m.values.bfloat16(), m.stride) for m in random_maps(info, (60, 60))], (60, 60)
        )
    assert_strides(levels, (60, 60), (4, 8, 16), 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strides": (4, 6)}, "4, 6"),
        ({"strides": ()}, "such as"),
        ({"strides": (8, 4)}, "times 2, 4"),
        ({"extra": "p8"}, "none, pool, p6p7"),
        ({"kind": "bifpn"}, "auto, fpn, simple"),
        ({"norm": "instance"}, "group, layer"),
    ],
)
def test_what_cannot_be_built_says_what_could(arguments, message) -> None:
    with pytest.raises(ConfigError, match=message):
        Pyramid(described((4, 8), (4, 8)), channels=8, **arguments)


def test_maps_of_another_backbone_are_refused() -> None:
    pyramid = Pyramid(described((4, 8), (4, 8)), channels=8)
    with pytest.raises(ModelError, match=r"\[\(4, 4\), \(9, 8\)\]"):
        pyramid(random_maps(described((4, 9), (4, 8)), (32, 32)), (32, 32))


def test_of_several_maps_of_one_stride_the_deepest_counts() -> None:
    info = described((4, 6, 8), (4, 8, 8))
    pyramid = Pyramid(info, channels=8, strides=(4, 8))
    maps = random_maps(info, (32, 32))
    changed = (maps[0], FeatureMap(maps[1].values + 1, 8), maps[2])
    for one, other in zip(pyramid(maps, (32, 32)), pyramid(changed, (32, 32)), strict=True):
        assert torch.equal(one.values, other.values)


@pytest.mark.parametrize("strides", [(8, 16, 32), (8, 16, 32, 64, 128)])
def test_maps_of_one_cell_have_finite_gradients_in_half_precision(strides: tuple[int, ...]) -> None:
    info = FeatureInfo(("a", "b"), (8, 8), (8, 16), 16, 16, (0.5,) * 3, (0.5,) * 3)
    pyramid = Pyramid(info, channels=8, strides=strides, extra="p6p7" if len(strides) == 3 else "none")
    maps = tuple(FeatureMap(torch.randn(2, 8, 64 // stride, 64 // stride), stride) for stride in (8, 16))
    for _ in range(20):
        dirt = [torch.full((8, 8, 3, 3), float("nan"), dtype=torch.bfloat16) for _ in range(8)]
        del dirt  # what is given to the gradient next was not zero before
        pyramid.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            levels = pyramid(maps, (64, 64))
        torch.stack([level.values.float().sum() for level in levels]).sum().backward()
        assert all(bool(p.grad.isfinite().all()) for p in pyramid.parameters() if p.grad is not None)
