"""Any timm network gives an embedding, and feature maps whose strides are what `info` says."""

import pytest
import timm
import torch

from sslkit.errors import ModelError, UnknownNameError
from sslkit.models.backbone import create_backbone

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
