"""Any timm network gives an embedding, and feature maps whose strides are what `info` says."""

import pytest
import timm
import torch

from sslkit.errors import ModelError, UnknownNameError
from sslkit.models.creation import create_backbone
from sslkit.models.weights import load_weights

FAMILIES = [
    ("resnet10t", 64),
    ("convnext_atto", 64),
    ("vit_tiny_patch16_224", 64),
    ("swin_tiny_patch4_window7_224", 64),
    ("mobilenetv3_small_050", 64),
    ("efficientnet_lite0", 64),
]


@pytest.mark.parametrize(("name", "size"), FAMILIES, ids=[name for name, _ in FAMILIES])
def test_maps_and_embedding_are_what_info_says(name, size) -> None:
    torch.manual_seed(0)
    backbone = create_backbone(name, size=size, stem="standard").eval()
    pixels = torch.randn(2, 3, size, size)
    info = backbone.info
    with torch.no_grad():
        assert backbone(pixels).shape == (2, backbone.embedding_dim)
        maps = backbone.feature_maps(pixels)
    assert tuple(maps) == info.names
    for feature, channels, stride in zip(maps.values(), info.channels, info.strides, strict=True):
        assert feature.stride == stride
        assert feature.values.shape == (2, channels, size // stride, size // stride)
        assert feature.values.isfinite().all()


def test_odd_sides_are_padded_to_the_divisor() -> None:
    backbone = create_backbone("resnet10t", size=64, stem="standard").eval()
    maps = backbone.feature_maps(torch.randn(1, 3, 50, 70))
    coarsest = maps[backbone.info.names[-1]]
    assert coarsest.values.shape[-2:] == (64 // coarsest.stride, 96 // coarsest.stride)


def test_the_embedding_is_timms_own() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("resnet10t", size=96).eval()
    torch.manual_seed(0)
    plain = timm.create_model("resnet10t", num_classes=0).eval()
    pixels = torch.randn(2, 3, 96, 96)
    assert torch.equal(backbone(pixels), plain(pixels))


@pytest.mark.parametrize("name", ["resnet18", "resnet10t"])
def test_the_small_stem_keeps_the_resolution(name) -> None:
    backbone = create_backbone(name, size=32).eval()
    assert backbone.architecture.stem == "small"
    assert backbone.info.strides == (1, 1, 2, 4, 8)
    maps = backbone.feature_maps(torch.randn(1, 3, 32, 32))
    assert [m.values.shape[-1] for m in maps.values()] == [32, 32, 16, 8, 4]


def test_auto_chooses_the_standard_stem_for_large_or_foreign_networks() -> None:
    assert create_backbone("resnet10t", size=224).architecture.stem == "standard"
    assert create_backbone("convnext_atto", size=32).architecture.stem == "standard"


def test_asking_for_info_changes_nothing() -> None:
    backbone = create_backbone("resnet10t", size=32).train()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    assert backbone.info.loaded_fraction == 0.0
    assert backbone.training
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_channels_is_normalised_by_the_average_of_three(name, channels) -> None:
    backbone = create_backbone(name, size=64, options={"in_chans": channels}).eval()
    colour = timm.get_pretrained_cfg(name)
    assert backbone.channels == channels
    assert backbone.mean == backbone.info.mean == pytest.approx((sum(colour.mean) / 3,) * channels)
    assert backbone.std == backbone.info.std == pytest.approx((sum(colour.std) / 3,) * channels)
    assert backbone(torch.zeros(2, channels, 64, 64)).shape == (2, backbone.embedding_dim)


def test_three_channels_are_normalised_each_by_its_own() -> None:
    backbone = create_backbone("resnet10t", size=64)
    assert backbone.mean == timm.get_pretrained_cfg("resnet10t").mean
    assert len(set(backbone.mean)) == 3


def test_pretrained_weights_of_three_channels_serve_five(tmp_path) -> None:
    """timm repeats the kernels of red, green and blue, and scales them so that their sum stays."""
    torch.manual_seed(0)
    colour = timm.create_model("resnet10t")
    torch.save(colour.state_dict(), tmp_path / "colour.pth")
    options = {"in_chans": 5, "pretrained_cfg_overlay": {"file": str(tmp_path / "colour.pth")}}
    backbone = create_backbone("resnet10t", size=96, pretrained=True, options=options)
    kernels = colour.conv1[0].weight
    expected = torch.cat([kernels, kernels], dim=1)[:, :5] * (3 / 5)
    assert torch.allclose(backbone.network.conv1[0].weight, expected)
    assert torch.equal(backbone.network.layer4[0].conv1.weight, colour.layer4[0].conv1.weight)
    assert backbone.info.loaded_fraction == 1.0


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="resnet18"):
        create_backbone("resnet_18")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "vit_tiny_patch16_224", "stem": "small"}, "patch_size"),
        ({"name": "resnet10t", "options": {"patch_sizes": 1}}, "patch_sizes"),
        ({"name": "resnet10t", "stem": "tiny"}, "auto, standard, small"),
    ],
)
def test_what_cannot_be_built_says_why(arguments, message) -> None:
    with pytest.raises(ModelError, match=message):
        create_backbone(**arguments)


SMALL_SWIN = {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 2), "strict_img_size": False}
DENSE = [
    ("test_resnet", {}, (2, 4, 8, 16, 32)),
    ("test_convnext", {}, (4, 8, 16, 32)),
    ("test_efficientnet", {}, (2, 4, 8, 16, 32)),
    ("test_nfnet", {}, (2, 4, 8, 16, 32)),
    ("test_byobnet", {}, (2, 4, 8, 16, 32)),
    ("test_mambaout", {}, (4, 8, 16, 32)),
    ("test_vit", {}, (16, 16, 16, 16)),
    ("swin_tiny_patch4_window7_224", SMALL_SWIN, (4, 8, 16, 32)),
    ("mobilenetv3_small_050", {}, (2, 4, 8, 16, 32)),
    ("regnetx_002", {}, (2, 4, 8, 16, 32)),
    ("vgg11", {"mlp_ratio": 0.01}, (1, 2, 4, 8, 16, 32)),
]


@pytest.mark.parametrize(("name", "options", "strides"), DENSE, ids=[case[0] for case in DENSE])
def test_maps_have_whole_cells_on_odd_and_oblong_canvases_in_every_layout(name, options, strides) -> None:
    torch.manual_seed(0)
    backbone = create_backbone(name, stem="standard", options=options).eval()
    info = backbone.info
    assert info.strides == strides
    pixels = torch.randn(2, 3, 65, 97)
    rows, columns = (-(-side // info.size_divisor) * info.size_divisor for side in (65, 97))
    with torch.no_grad():
        exact = backbone.feature_maps(pixels)
        backbone.to(memory_format=torch.channels_last)
        last = backbone.feature_maps(pixels.to(memory_format=torch.channels_last))
        with torch.autocast("cpu", torch.bfloat16):
            half = backbone.feature_maps(pixels)
    assert tuple(exact) == tuple(last) == tuple(half) == info.names
    for key, channels in zip(info.names, info.channels, strict=True):
        values = exact[key].values
        assert values.shape == (2, channels, rows // exact[key].stride, columns // exact[key].stride)
        assert values.isfinite().all()
        torch.testing.assert_close(last[key].values, values, rtol=1e-3, atol=1e-3)
        assert half[key].values.isfinite().all()
        apart = (half[key].values.float() - values).norm() / values.norm().clamp(min=1e-6)
        assert apart < 0.1


@pytest.mark.parametrize("name", ["test_convnext", "test_vit", "test_resnet"])
def test_maps_come_from_the_loaded_weights(name) -> None:
    """Loading into timm's `features_only` wrapper with strict=False leaves these networks random."""
    torch.manual_seed(0)
    source, target = (create_backbone(name, stem="standard").eval() for _ in range(2))
    pixels = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        wanted = source.feature_maps(pixels)
        before = target.feature_maps(pixels)
        load_weights(target, source.network.state_dict(), source="test")
        loaded = target.feature_maps(pixels)
        for key, feature in wanted.items():
            assert not torch.allclose(before[key].values, feature.values)
            assert torch.equal(loaded[key].values, feature.values)
        for parameter in target.parameters():  # and nothing but these weights makes them
            parameter.zero_()
        assert all(not feature.values.any() for feature in target.feature_maps(pixels).values())


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet", "regnetx_002"])
@pytest.mark.parametrize("stride", [8, 16])
def test_an_output_stride_is_honoured(name, stride) -> None:
    torch.manual_seed(0)
    backbone = create_backbone(name, stem="standard", options={"output_stride": stride}).eval()
    assert backbone.info.strides[-1] == backbone.info.size_divisor == stride
    maps = backbone.feature_maps(torch.randn(1, 3, 65, 97))
    coarsest = list(maps.values())[-1]
    assert tuple(coarsest.values.shape[-2:]) == (-(-65 // stride), -(-97 // stride))
    if stride == 8:  # what is no longer strided looks as far by dilation
        assert {m.dilation for m in backbone.modules() if isinstance(m, torch.nn.Conv2d)} != {(1, 1)}


@pytest.mark.parametrize("name", ["vgg11", "test_vit", "densenet121", "test_mambaout"])
def test_an_output_stride_that_cannot_be_had_is_refused_with_the_families(name) -> None:
    with pytest.raises(ModelError, match=r"output_stride': 8.*known to ResNet.*such as resnet18"):
        create_backbone(name, options={"output_stride": 8})


def test_an_output_stride_that_comes_out_otherwise_is_refused() -> None:
    """The small stem takes a factor of four from every stride."""
    with pytest.raises(ModelError, match="its last map has stride 2"):
        create_backbone("resnet10t", stem="small", options={"output_stride": 8})


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vit_tiny_patch16_224", (224, 224)),
        ("test_coatnet", (160, 160)),
        ("test_resnet", None),
        ("test_vit", None),
    ],
)
def test_a_network_says_whether_it_takes_one_size_only(name, size) -> None:
    assert create_backbone(name).fixed_size == size


@pytest.mark.parametrize("name", ["inception_v3", "crossvit_9_240"])
def test_maps_without_an_exact_stride_are_refused(name) -> None:
    with pytest.raises(ModelError, match=f"backbone '{name}' gives"):
        _ = create_backbone(name).info


def test_maps_of_one_name_are_told_apart() -> None:
    backbone = create_backbone("coat_lite_tiny").eval()
    assert len(set(backbone.info.names)) == len(backbone.info.strides)
    assert len(backbone.feature_maps(torch.zeros(1, 3, 224, 224))) == len(backbone.info.strides)
