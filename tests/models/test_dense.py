"""A linear probe slid over the image says on average what it says of the embedding."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sslkit.errors import ModelError
from sslkit.models.creation import create_backbone
from sslkit.models.dense import as_convolution, dense_probe, unpooled

SMALL_SWIN = {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 2)}
SMALL_VGG = {"mlp_ratio": 0.01}
MEANS = [
    ("test_resnet", {}),
    ("test_efficientnet", {}),
    ("test_nfnet", {}),
    ("test_convnext", {"head_norm_first": True}),
    ("test_vit", {"global_pool": "avg", "fc_norm": False}),
    ("swin_tiny_patch4_window7_224", SMALL_SWIN),
]


def probed(name, options):
    torch.manual_seed(0)
    backbone = create_backbone(name, stem="standard", options=options).eval()
    return backbone, torch.randn(3, backbone.embedding_dim), torch.randn(3)


@pytest.mark.parametrize(("name", "options"), MEANS, ids=[name for name, _ in MEANS])
def test_the_mean_of_the_cells_is_the_probes_own_logits(name, options) -> None:
    backbone, weight, bias = probed(name, options)
    side = backbone.fixed_size[0] if backbone.fixed_size else 96
    pixels = torch.randn(2, 3, side, side)
    with torch.no_grad():
        dense = dense_probe(backbone, weight, bias)(pixels)
        expected = F.linear(backbone(pixels), weight, bias)
    assert dense.stride == backbone.info.strides[-1]
    assert dense.values.shape == (2, 3, side // dense.stride, side // dense.stride)
    torch.testing.assert_close(dense.values.mean(dim=(2, 3)), expected, rtol=1e-3, atol=1e-4)
    assert dense.values.std(dim=(2, 3)).min() > 1e-5  # it is a map, not the mean everywhere


def test_each_cell_is_the_probe_on_that_cell() -> None:
    backbone, weight, bias = probed("test_resnet", {})
    pixels = torch.randn(1, 3, 96, 160)
    with torch.no_grad():
        values = dense_probe(backbone, weight, bias)(pixels).values
        cells = unpooled(backbone, pixels)
    for row in range(3):
        for column in range(5):
            expected = weight @ cells[0, :, row, column] + bias
            torch.testing.assert_close(values[0, :, row, column], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("test_convnext", {}, "head.norm"),
        ("test_vit", {}, "global_pool=token"),
        ("test_vit", {"global_pool": "avg"}, "fc_norm"),
        ("mobilenetv3_small_050", {}, "288 channels and the embedding 1024; .*conv_head"),
        ("test_mambaout", {}, "head.pre_logits.fc"),
        ("test_resnet", {"global_pool": "max"}, "pooling is no mean"),
    ],
)
def test_what_is_no_mean_is_refused_with_the_reason(name, options, reason) -> None:
    backbone, weight, bias = probed(name, options)
    with pytest.raises(ModelError, match=f"cannot be evaluated densely.*{reason}"):
        dense_probe(backbone, weight, bias)


def test_a_probe_of_another_width_is_refused() -> None:
    backbone, weight, _ = probed("test_resnet", {})
    with pytest.raises(ModelError, match=f"a probe of 7 inputs .* has {backbone.embedding_dim}"):
        dense_probe(backbone, weight[:, :7])


def test_making_it_changes_no_state() -> None:
    backbone, weight, bias = probed("test_resnet", {})
    backbone.train()
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    dense_probe(backbone, weight, bias, size=(64, 64))
    assert backbone.training
    assert all(torch.equal(before[key], tensor) for key, tensor in backbone.state_dict().items())


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 4)])
@pytest.mark.parametrize("biased", [True, False])
def test_a_fully_connected_layer_slides_as_a_convolution(kernel, biased) -> None:
    """The layer on the flattened window at each place, in loops."""
    torch.manual_seed(0)
    features = torch.randn(2, 5, 6, 7)
    layer = nn.Linear(5 * kernel[0] * kernel[1], 4, bias=biased)
    made = as_convolution(layer.weight, layer.bias, kernel=kernel)(features)
    assert made.shape == (2, 4, 7 - kernel[0], 8 - kernel[1])
    for row in range(made.shape[2]):
        for column in range(made.shape[3]):
            window = features[:, :, row : row + kernel[0], column : column + kernel[1]]
            torch.testing.assert_close(
                made[:, :, row, column], layer(window.flatten(1)), rtol=1e-4, atol=1e-5
            )


def test_sliding_crops_and_one_dense_pass_agree_where_no_padding_is_seen() -> None:
    """Crops at whole strides of an image, through a network without padding, are the cells of one pass."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 6, 2, stride=2), nn.ReLU(), nn.Conv2d(6, 8, 2, stride=2), nn.ReLU())
    layer = nn.Linear(8 * 3 * 3, 4)
    image = torch.randn(1, 3, 24, 32)
    dense = as_convolution(layer.weight, layer.bias, kernel=(3, 3))(body(image))
    assert dense.shape == (1, 4, 4, 6)
    for row in range(4):
        for column in range(6):
            crop = image[:, :, 4 * row : 4 * row + 12, 4 * column : 4 * column + 12]
            torch.testing.assert_close(
                dense[:, :, row, column], layer(body(crop).flatten(1)), rtol=1e-4, atol=1e-5
            )


def test_vgg_slides_its_fully_connected_layers_too() -> None:
    """One cell at the training size, several beyond it; each sees the 7x7 window that begins there."""
    backbone, weight, bias = probed("vgg11", SMALL_VGG)
    assert backbone.info.strides[-1] == 32
    backbone.network.features = nn.Sequential(nn.AvgPool2d(32), nn.Conv2d(3, 512, 1))  # cheap, as coarse
    dense = dense_probe(backbone, weight, bias, size=(224, 224))
    with torch.no_grad():
        own = torch.randn(1, 3, 224, 224)
        single = dense(own).values
        assert single.shape[-2:] == (1, 1)
        torch.testing.assert_close(
            single[..., 0, 0], F.linear(backbone(own), weight, bias), rtol=1e-4, atol=1e-5
        )
        wide = torch.randn(1, 3, 224, 288)
        values = dense(wide).values
        features = backbone.network.features(wide)
        assert values.shape[-2:] == (1, 3)
        for column in range(3):
            window = backbone.network.pre_logits(features[..., column : column + 7])[..., 0, 0]
            torch.testing.assert_close(
                values[..., 0, column], F.linear(window, weight, bias), rtol=1e-4, atol=1e-5
            )


def test_a_layer_that_is_no_map_of_the_kernel_is_refused() -> None:
    with pytest.raises(ModelError, match=r"10 inputs .* no multiple of 9"):
        as_convolution(torch.zeros(2, 10), kernel=(3, 3))
