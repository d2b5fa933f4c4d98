"""FlowNetS: levels at every stride, both frames have a say, the stacked net needs no backbone."""

from __future__ import annotations

import pytest
import torch

from sslkit.contracts import FeatureInfo, FeatureMap, HeadFeatures, Meta, Task
from sslkit.errors import ModelError
from sslkit_flow.heads.flownet_s import FlowNetS
from sslkit_flow.heads.flownet_s_stacked import StackedFlowNetS

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
    pixels = torch.randn(2, 2, 3, *CANVAS, generator=generator)
    return HeadFeatures(None, maps, CANVAS, (META, META), pixels)


@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (16, 16), (6, 12)])
def test_it_predicts_at_strides_32_to_4_on_any_network(strides: tuple[int, ...]) -> None:
    levels = FlowNetS(info(*strides), TASK, channels=8, width=4)(seen(*strides))
    assert [level.stride for level in levels] == [32, 16, 8, 4]
    for level in levels:
        assert level.vectors.shape == (2, 2, *(-(-side // level.stride) for side in CANVAS))


@torch.no_grad()
def test_frames_are_kept_apart_from_those_of_other_pairs() -> None:
    head, features = FlowNetS(info(4, 8), TASK, channels=8, width=4).eval(), seen(4, 8)
    before = head(features)[-1].vectors
    for frame in (0, 1):
        moved = features.maps[0].values.clone()
        moved[1, frame] += torch.randn(moved[1, frame].shape, generator=torch.Generator().manual_seed(1))
        maps = (FeatureMap(moved, 4), features.maps[1])
        after = head(HeadFeatures(None, maps, CANVAS, features.metas))[-1].vectors
        torch.testing.assert_close(after[0], before[0])
        assert float((after[1] - before[1]).abs().max()) > 1e-2


def test_the_stacked_net_predicts_at_strides_64_to_4() -> None:
    levels = StackedFlowNetS(info(32), TASK, width=2)(seen(32))
    assert [level.stride for level in levels] == [64, 32, 16, 8, 4]
    assert levels[-1].vectors.shape == (2, 2, 10, 18)


@torch.no_grad()
def test_the_stacked_net_sees_no_backbone_unless_joined() -> None:
    features = seen(32)
    other = HeadFeatures(
        None, (FeatureMap(-features.maps[0].values, 32),), CANVAS, features.metas, features.pixels
    )
    for joined in (False, True):
        head = StackedFlowNetS(info(32), TASK, width=2, joined=joined).eval()
        same = torch.equal(head(features)[-1].vectors, head(other)[-1].vectors)
        assert same != joined


def test_the_stacked_net_reaches_all_its_parameters_and_not_the_maps() -> None:
    head, features = StackedFlowNetS(info(32), TASK, width=2), seen(32)
    sum(level.vectors.square().sum() for level in head(features)).backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_the_stacked_net_refuses_features_without_pixels() -> None:
    features = seen(32)
    kept = HeadFeatures(None, features.maps, CANVAS, features.metas)
    with pytest.raises(ModelError, match="flownet_s_stacked looks at pixels"):
        StackedFlowNetS(info(32), TASK, width=2)(kept)


def test_the_stacked_net_of_width_64_has_the_papers_channels() -> None:
    head = StackedFlowNetS(info(32), TASK, width=64)
    found = [convolution.weight.shape[:2] for convolution in head.contract.halve]
    assert [shape[0] for shape in found] == [64, 128, 256, 512, 512, 1024]
    assert found[0][1] == 6
