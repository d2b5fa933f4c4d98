"""FlowNetC: levels from 64 to 4, and a correlation that tells a shift from another."""

from __future__ import annotations

import pytest
import torch

from sslkit.contracts import FeatureInfo, FeatureMap, HeadFeatures, Meta, Task
from sslkit.errors import ConfigError
from sslkit_flow.heads.flownet_c import FlowNetC

GREY = (0.5, 0.5, 0.5)
CANVAS = (40, 72)
TASK = Task("flow", (), CANVAS, frames=2)
META = Meta(0, "", CANVAS, CANVAS, CANVAS)


def info(*strides: int) -> FeatureInfo:
    names = tuple(f"m{place}" for place in range(len(strides)))
    return FeatureInfo(names, (6,) * len(strides), strides, 1, 4, GREY, GREY)


def seen(*strides: int) -> HeadFeatures:
    generator = torch.Generator().manual_seed(0)
    maps = tuple(
        FeatureMap(torch.randn(2, 2, 6, -(-CANVAS[0] // s), -(-CANVAS[1] // s), generator=generator), s)
        for s in strides
    )
    return HeadFeatures(None, maps, CANVAS, (META, META))


@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (16, 16), (6, 12)])
def test_it_predicts_at_strides_64_to_4_on_any_network(strides: tuple[int, ...]) -> None:
    head = FlowNetC(info(*strides), TASK, channels=8, max_displacement=2, displacement_stride=2, width=4)
    levels = head(seen(*strides))
    assert [level.stride for level in levels] == [64, 32, 16, 8, 4]
    for level in levels:
        assert level.vectors.shape == (2, 2, *(-(-side // level.stride) for side in CANVAS))


@torch.no_grad()
def test_the_second_frame_speaks_through_the_correlation_alone() -> None:
    head, features = FlowNetC(info(8), TASK, channels=8, max_displacement=1, width=4).eval(), seen(8)
    head.join.weight[:, :9] = 0  # the correlation's channels
    before = head(features)[-1].vectors
    moved = features.maps[0].values.clone()
    moved[:, 1] += 1
    after = head(HeadFeatures(None, (FeatureMap(moved, 8),), CANVAS, features.metas))[-1].vectors
    assert torch.equal(before, after)
    moved[:, 0] += 1
    again = head(HeadFeatures(None, (FeatureMap(moved, 8),), CANVAS, features.metas))[-1].vectors
    assert not torch.equal(before, again)


def test_displacements_that_there_are_not_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_displacement and displacement_stride are 0 and 1"):
        FlowNetC(info(8), TASK, max_displacement=0)
