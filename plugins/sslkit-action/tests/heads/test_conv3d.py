"""Convolutions over space and time: what they compute and that padding has no say."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import FeatureInfo, FeatureMap, HeadFeatures, Meta, Task
from sslkit.errors import ConfigError
from sslkit_action.heads.conv3d import Conv3d

INFO = FeatureInfo(("last",), (4,), (8,), 8, 8, (0.5,) * 3, (0.5,) * 3)
TASK = Task("label", ("sit", "stand", "walk"), (32, 32), frames=8)


def given(frames: int = 3, *, padding: int = 0, loud: float = 0.0) -> HeadFeatures:
    """A map of 3 x 2 cells of picture, with rows and columns of padding that say something loud."""
    values = torch.randn(2, frames, 4, 3, 2, generator=torch.Generator().manual_seed(frames))
    canvas = (8 * (3 + padding), 8 * (2 + padding))
    meta = Meta(0, "", (24, 16), (24, 16), canvas)
    last = FeatureMap(F.pad(values, (0, padding, 0, padding), value=loud), 8)
    return HeadFeatures(None, (last,), canvas, (meta,) * 2)


def trained(**options: int) -> Conv3d:
    """A head whose BatchNorm has seen something, in eval mode."""
    head = Conv3d(INFO, TASK, **options)  # type: ignore[arg-type]
    for module in head.modules():
        if isinstance(module, nn.BatchNorm3d):
            assert module.running_mean is not None
            module.running_mean.normal_()
            module.bias.data.normal_()
    return head.eval()


@pytest.mark.parametrize("layers", [1, 2])
def test_it_is_the_sum_over_space_and_time(layers: int) -> None:
    head, features = trained(layers=layers, width=5), given()
    maps: Tensor = features.maps[0].values.transpose(1, 2)
    for block in head.blocks:
        weight, norm = block[0].weight, block[1]  # type: ignore[index]
        padded = F.pad(maps, (1,) * 6)
        total = torch.zeros(2, 5, *maps.shape[2:])
        for time in range(3):
            for row in range(3):
                for column in range(3):
                    part = padded[:, :, time : time + maps.shape[2], row : row + 3, column : column + 2]
                    total += torch.einsum("oc,ncthw->nothw", weight[:, :, time, row, column], part)
        scale = norm.weight / (norm.running_var + 1e-5).sqrt()
        maps = ((total.transpose(1, 4) - norm.running_mean) * scale + norm.bias).transpose(1, 4).relu()
    expected = head.classify(maps.mean(dim=(2, 3, 4)))
    torch.testing.assert_close(head(features), expected, atol=1e-5, rtol=1e-4)


def test_without_layers_it_is_a_plane_through_the_mean() -> None:
    head, features = Conv3d(INFO, TASK, layers=0), given()
    torch.testing.assert_close(head(features), head.classify(features.maps[0].values.mean(dim=(1, 3, 4))))


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_padding_changes_nothing(layers: int) -> None:
    head = trained(layers=layers, width=5)
    torch.testing.assert_close(head(given(padding=3, loud=100.0)), head(given()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_clips_may_have_any_number_of_frames(frames: int) -> None:
    assert trained(layers=2, width=5)(given(frames)).shape == (2, 3)


def test_what_cannot_be_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match="layers is -1; it is a whole number, at least 0"):
        Conv3d(INFO, TASK, layers=-1)
