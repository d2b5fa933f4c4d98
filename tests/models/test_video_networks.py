"""Backbones that look along time: how clips reach them, what comes back, and how they are built again."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from sslkit.errors import ModelError
from sslkit.models.architecture import Transform
from sslkit.models.backbone import Backbone
from sslkit.models.creation import create_backbone, rebuilt, transformed
from sslkit.models.memory_layout import lay_out
from tests.models.mixing import mix


def mixed(stride: int = 1, **options: float) -> Backbone:
    torch.manual_seed(0)
    transform = Transform("mix", {"stride": stride, **options}, mix)
    return create_backbone("test_resnet", size=64, stem="standard", transforms=[transform]).eval()


@pytest.fixture
def clips() -> Tensor:
    return torch.rand(2, 5, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_frames_of_a_clip_meet_and_those_of_two_clips_never(clips: Tensor) -> None:
    backbone = mixed()
    both = backbone.embed_frames(clips)
    assert both.shape == (2, 5, backbone.embedding_dim)
    alone = torch.cat([backbone.embed_frames(clip[None]) for clip in clips])
    torch.testing.assert_close(both, alone, rtol=1e-5, atol=1e-6)
    changed = clips.clone()
    changed[:, 2] = 0
    moved = (backbone.embed_frames(changed) - both).abs().amax(dim=(0, 2)) > 1e-6
    assert moved.tolist() == [False, False, True, True, False]


def test_the_embedding_of_a_clip_is_the_mean_of_its_frames(clips: Tensor) -> None:
    backbone = mixed(stride=2)
    torch.testing.assert_close(backbone(clips), backbone.embed_frames(clips).mean(dim=1))
    assert backbone.embed_frames(clips).shape[1] == 3


def test_an_image_is_a_clip_of_one_frame(clips: Tensor) -> None:
    backbone = mixed(stride=2)
    images = clips[:, 0]
    torch.testing.assert_close(backbone(images), backbone.embed_frames(images[:, None])[:, 0])


@pytest.mark.parametrize("stride", [1, 2])
def test_maps_of_clips_say_which_frames_they_are_of(clips: Tensor, stride: int) -> None:
    backbone = mixed(stride=stride)
    info = backbone.info
    assert info.temporal_strides == (stride,) * len(info.names)
    maps = backbone.feature_maps(clips)
    for part, name in enumerate(info.names):
        side = 64 // info.strides[part]
        assert maps[name].values.shape == (2, -(-5 // stride), info.channels[part], side, side)
        assert maps[name].temporal_stride == stride


def test_a_network_of_images_sees_each_frame_alone(clips: Tensor) -> None:
    backbone = create_backbone("test_resnet", size=64, stem="standard").eval()
    assert backbone.info.temporal_strides == ()
    one_by_one = torch.stack([backbone(clips[:, t]) for t in range(5)], dim=1)
    torch.testing.assert_close(backbone.embed_frames(clips), one_by_one)
    for name, of_clips in backbone.feature_maps(clips).items():
        frames = torch.stack([backbone.feature_maps(clips[:, t])[name].values for t in range(5)], dim=1)
        torch.testing.assert_close(of_clips.values, frames)
        assert of_clips.temporal_stride == 1


def test_a_failure_leaves_the_rows_as_they_were(clips: Tensor) -> None:
    backbone = mixed()
    rows = backbone.network.clip_rows
    with pytest.raises(RuntimeError):
        backbone(clips[..., :2, :, :])
    assert rows.clips == 1


def test_a_copy_has_rows_of_its_own(clips: Tensor) -> None:
    backbone = mixed()
    other = copy.deepcopy(backbone)
    assert other.network.clip_rows is other.network.conv1[0].rows
    assert other.network.clip_rows is not backbone.network.clip_rows
    torch.testing.assert_close(other(clips), backbone(clips))


def test_the_same_architecture_is_built_again_with_its_transforms(clips: Tensor) -> None:
    backbone = mixed(stride=2, weight=0.25)
    again = rebuilt(backbone.architecture).eval()
    assert again.architecture.described == "test_resnet + mix"
    again.load_state_dict(backbone.state_dict())
    torch.testing.assert_close(again(clips), backbone(clips))


def test_transforms_are_made_in_their_order() -> None:
    order = []

    def note(network: nn.Module, *, name: str) -> nn.Module:
        order.append(name)
        return network

    backbone = create_backbone("test_resnet", size=64, stem="standard").eval()
    steps = [Transform(name, {"name": name}, note) for name in ("b", "a")]
    changed = transformed(backbone, steps)
    assert order == ["b", "a"]
    assert changed.architecture.described == "test_resnet + b + a"
    assert not changed.training
    assert not changed.network.training


def test_a_network_that_cannot_be_changed_is_named() -> None:
    with pytest.raises(ModelError, match=r"backbone 'test_vit' with mix: .* has no conv1"):
        create_backbone("test_vit", transforms=[Transform("mix", {}, mix)])


def test_a_network_that_is_not_timms_has_the_same_interface(clips: Tensor) -> None:
    def network(*, pretrained: bool = False, width: int = 8) -> nn.Module:
        built: nn.Module = create_backbone("test_resnet", stem="standard").network
        built.asked = (pretrained, width)  # type: ignore[assignment]
        return built

    backbone = create_backbone("mine", network=network, pretrained=True, options={"width": 4}).eval()
    assert backbone.network.asked == (True, 4)
    assert backbone.weights.startswith("plugin:mine")
    assert backbone.feature_maps(clips).keys() == dict.fromkeys(backbone.info.names).keys()
    assert rebuilt(backbone.architecture, {"width": 2}).network.asked == (False, 2)


def test_weights_of_images_and_of_clips_are_laid_out_each_in_their_way() -> None:
    module = nn.ModuleList([nn.Conv2d(4, 4, 3), nn.Conv3d(4, 4, 3), nn.Linear(3, 3)])
    before = [parameter.detach().clone() for parameter in module.parameters()]
    given = list(module.parameters())
    lay_out(module, channels_last=True)
    assert module[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert module[1].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert all(torch.equal(one, other) for one, other in zip(module.parameters(), before, strict=True))
    assert all(one is other for one, other in zip(module.parameters(), given, strict=True))
    lay_out(module, channels_last=False)
    assert all(parameter.is_contiguous() for parameter in module.parameters())
