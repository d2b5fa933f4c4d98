"""DeepLab: branches of several reaches, summed or set side by side."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sslkit.contracts import FeatureInfo, FeatureMap, HeadFeatures, Meta, Task
from sslkit.errors import ConfigError
from sslkit_segmentation.heads.deeplab import DeepLab, PooledASPP, SummedASPP, atrous_rates

TASK = Task("semantic", ("sky", "road", "car"), (32, 32))
META = Meta(0, "", (32, 32), (32, 32), (32, 32))


def info(stride: int) -> FeatureInfo:
    return FeatureInfo(("m",), (6,), (stride,), stride, 4, (0.5,) * 3, (0.5,) * 3)


def test_the_papers_have_the_papers_rates_and_others_the_same_reach() -> None:
    assert atrous_rates(2, 8) == (6, 12, 18, 24)
    assert atrous_rates(3, 16) == (6, 12, 18)
    assert atrous_rates(3, 8) == (12, 24, 36)
    assert atrous_rates(3, 32) == (3, 6, 9)
    assert min(atrous_rates(2, 128)) == 1


def test_version_two_adds_up_its_branches() -> None:
    torch.manual_seed(0)
    module = SummedASPP(6, 3, (1, 3))
    values = torch.randn(2, 6, 9, 9)
    expected = torch.zeros(2, 3, 9, 9)
    for branch, rate in zip(module.branches, (1, 3), strict=True):
        assert isinstance(branch, nn.Conv2d)
        expected += F.conv2d(values, branch.weight, branch.bias, padding=rate, dilation=rate)
    torch.testing.assert_close(module(values, torch.ones(2, 1, 9, 9)), expected)


def test_version_three_pools_the_image_without_its_padding() -> None:
    torch.manual_seed(0)
    module = PooledASPP(6, 3, (1, 3), 8).eval()
    values, valid = torch.randn(1, 6, 1, 40), torch.zeros(1, 1, 1, 40)
    valid[..., :10] = 1
    scores = module(values, valid)
    values[..., 20:] += 5  # padding, out of reach of every branch
    torch.testing.assert_close(module(values, valid)[..., :4], scores[..., :4])
    values[..., 9] += 5  # of the image, out of reach too: only the pooled branch sees it
    assert (module(values, valid)[..., :4] - scores[..., :4]).abs().max() > 1e-3


def test_it_trains_on_one_image() -> None:
    head = DeepLab(info(8), TASK, width=8).train()
    maps = (FeatureMap(torch.randn(1, 6, 4, 4), 8),)
    head(HeadFeatures(None, maps, (32, 32), (META,))).sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_any_stride_ends_on_the_canvas(version: int, stride: int) -> None:
    head = DeepLab(info(stride), TASK, version=version, width=8).eval()
    maps = (FeatureMap(torch.randn(2, 6, 32 // stride, 32 // stride), stride),)
    assert head(HeadFeatures(None, maps, (32, 32), (META, META))).shape == (2, 3, 32, 32)


def test_other_versions_are_refused() -> None:
    with pytest.raises(ConfigError, match="version is 4; it is one of 2, 3"):
        DeepLab(info(8), TASK, version=4)
