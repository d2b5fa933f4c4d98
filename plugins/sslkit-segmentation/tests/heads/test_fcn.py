"""FCN: bilinear at first, scores added from coarse to fine."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sslkit.contracts import FeatureInfo, FeatureMap, HeadFeatures, Meta, Task
from sslkit.errors import ConfigError
from sslkit_segmentation.heads.fcn import FCN, _upsampling, bilinear_kernel

TASK = Task("semantic", ("sky", "road", "car"), (64, 96))
META = Meta(0, "", (64, 96), (64, 96), (64, 96))


def built(strides: tuple[int, ...], stride: int) -> tuple[FCN, HeadFeatures]:
    torch.manual_seed(0)
    channels = tuple(8 + 4 * place for place in range(len(strides)))
    info = FeatureInfo(("m",) * len(strides), channels, strides, strides[-1], 4, (0.5,) * 3, (0.5,) * 3)
    maps = tuple(
        FeatureMap(torch.randn(2, width, 64 // step, 96 // step), step)
        for width, step in zip(channels, strides, strict=True)
    )
    return FCN(info, TASK, stride=stride).eval(), HeadFeatures(None, maps, (64, 96), (META, META))


@pytest.mark.parametrize("ratio", [2, 3, 4])
def test_upsampling_starts_as_bilinear_interpolation_of_each_class(ratio: int) -> None:
    values = torch.randn(1, 3, 6, 7)
    expected = F.interpolate(values, scale_factor=ratio, mode="bilinear", align_corners=False)
    found = _upsampling(3, ratio)(values)
    assert found.shape == expected.shape
    inside = (..., slice(ratio, -ratio), slice(ratio, -ratio))  # beyond the edge it sees zeros
    torch.testing.assert_close(found[inside], expected[inside])


def test_the_kernel_of_factor_two_is_the_known_one() -> None:
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    assert torch.equal(bilinear_kernel(2), line[:, None] * line)
    torch.testing.assert_close(bilinear_kernel(3)[2] * 3, torch.tensor([1.0, 2, 3, 2, 1]))


@pytest.mark.parametrize(("stride", "used"), [(32, 1), (16, 2), (8, 3)])
def test_the_stride_says_how_many_maps_have_a_say(stride: int, used: int) -> None:
    head, given = built((4, 8, 16, 32), stride)
    for skip in head.skips:
        torch.nn.init.ones_(skip.weight)  # type: ignore[arg-type]
    before = head(given)
    for place in range(4):
        maps = list(given.maps)
        maps[place] = FeatureMap(maps[place].values + 1, maps[place].stride)
        after = head(HeadFeatures(None, tuple(maps), given.canvas, given.metas))
        assert bool((after - before).abs().max() > 1e-4) == (place >= 4 - used)


def test_skips_start_at_zero_so_that_fine_nets_begin_like_the_coarse_one() -> None:
    coarse, given = built((8, 16, 32), 32)
    fine, _ = built((8, 16, 32), 8)
    fine.start.load_state_dict(coarse.start.state_dict())
    inside = (..., slice(24, -24), slice(24, -24))
    one, other = fine(given)[inside].detach(), coarse(given)[inside].detach()
    # Interpolated in steps, not at once: alike, not equal.
    assert float((one - other).std() / other.std()) < 0.2
    assert (fine.skips[0].weight == 0).all()


@pytest.mark.parametrize("strides", [(16, 16, 16), (4, 7, 14), (3, 6, 12), (8,)])
def test_networks_of_other_strides_have_a_net_too(strides: tuple[int, ...]) -> None:
    info = FeatureInfo(("m",) * len(strides), (8,) * len(strides), strides, 1, 4, (0.5,) * 3, (0.5,) * 3)
    maps = tuple(FeatureMap(torch.randn(2, 8, -(-64 // s), -(-96 // s)), s) for s in strides)
    head = FCN(info, TASK)
    scores = head(HeadFeatures(None, maps, (64, 96), (META, META)))
    assert scores.shape == (2, 3, 64, 96)
    scores.square().sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters() if parameter.requires_grad)


def test_other_strides_are_no_fcn() -> None:
    with pytest.raises(ConfigError, match="stride is 4; it is one of 32, 16, 8"):
        built((8, 16, 32), 4)
