"""A video of one still image gives what the image gave, in many families and in every way it must."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from sslkit_inflation.still_video import still_video_error

FAMILIES = [
    "test_resnet",
    "test_convnext",
    "test_efficientnet",
    "test_byobnet",
    "test_vit",
    "tf_mobilenetv3_small_minimal_100",
    "regnetx_002",
    "densenet121",
    "hgnetv2_b0",
    "repghostnet_050",
    "starnet_s1",
]


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=0).eval()  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_boring_video_holds(name: str) -> None:
    network = built(name)
    for init, padding in (("tile", "replicate"), ("centre", "zero"), ("tile", "causal")):
        assert still_video_error(network, init=init, padding=padding) <= 1e-5


@pytest.mark.parametrize(
    "options",
    [
        {"kernel": [7, 1, 5, 3, 3], "stride": [2, 1, 2, 1, 1]},
        {"kernel": 4, "padding": "causal", "stride": [4, 1, 2, 1, 1]},
        {"kernel": [2, 1, 1, 1, 1], "stride": [2, 2, 1, 1, 1], "init": "centre"},
    ],
    ids=str,
)
def test_it_holds_whatever_the_kernels_and_strides(options: dict[str, object]) -> None:
    assert still_video_error(built("test_resnet"), frames=5, **({"init": "tile"} | options)) <= 1e-5


def test_tiles_that_meet_zeros_at_the_ends_do_not_hold() -> None:
    assert still_video_error(built("test_resnet"), init="tile", padding="zero") > 0.1
