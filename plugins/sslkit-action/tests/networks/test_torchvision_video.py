"""torchvision's video networks behind the contract: the same numbers, folded into rows."""

from __future__ import annotations

import urllib.error
from functools import cache, partial
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import video
from torchvision.models.video.mvit import MSBlockConfig, MViT

from sslkit.errors import ModelError, WeightsError
from sslkit.models.backbone import Backbone
from sslkit.models.creation import create_backbone
from sslkit.models.modes import layers
from sslkit_action.networks import torchvision_video
from sslkit_action.networks.torchvision_video import MultiscaleTokens

CONVOLUTIONAL = ("r3d_18", "r2plus1d_18", "s3d")


@cache
def opened(name: str) -> Backbone:
    """In eval mode, with norms whose running statistics are not those of a fresh network."""
    torch.manual_seed(0)
    backbone = create_backbone(name, network=getattr(torchvision_video, name)).eval()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return backbone


def reference(name: str, backbone: Backbone) -> nn.Module:
    """torchvision's own network with the same weights and nothing after the pooling."""
    network: Any = getattr(video, name)()
    network.load_state_dict(backbone.network.video.state_dict(), strict=False)  # type: ignore[union-attr]
    if name == "s3d":
        network.classifier = nn.Identity()
        network.avgpool = nn.Identity()  # torchvision's takes 224 pixels and no fewer
    else:
        network.fc = nn.Identity()
    return cast(nn.Module, network.eval())


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_the_embedding_is_what_torchvision_pools(name: str) -> None:
    backbone = opened(name)
    clips = torch.randn(1, 16, 3, *((64, 96) if name == "s3d" else (32, 48)))  # 2 x 3 cells at the end
    with torch.no_grad():
        expected = reference(name, backbone)(clips.transpose(1, 2))
        found = backbone(clips)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(found, expected.view(1, -1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_strides_are_those_of_a_real_forward(name: str) -> None:
    backbone = opened(name)
    with torch.no_grad():
        maps = backbone.feature_maps(torch.randn(1, 16, 3, 64, 32))
    assert tuple(maps) == backbone.info.names
    for one, channels in zip(maps.values(), backbone.info.channels, strict=True):
        expected = (1, 16 // one.temporal_stride, channels, 64 // one.stride, 32 // one.stride)
        assert one.values.shape == expected
    assert backbone.info.temporal_strides == ((2, 2, 2, 4, 8) if name == "s3d" else (1, 2, 4, 8))
    assert backbone.info.strides == ((2, 4, 8, 16, 32) if name == "s3d" else (2, 4, 8, 16))


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_clips_of_a_batch_do_not_meet(name: str) -> None:
    backbone = opened(name)
    clips = torch.randn(2, 8, 3, 32, 32)
    with torch.no_grad():
        both = backbone.embed_frames(clips)
        for place in range(2):
            alone = backbone.embed_frames(clips[place : place + 1])
            torch.testing.assert_close(both[place : place + 1], alone, atol=1e-5, rtol=1e-4)


def test_an_image_is_a_clip_of_one_frame() -> None:
    backbone = opened("r3d_18")
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images), backbone(images[:, None]))


def test_clips_that_are_too_short_are_refused_with_the_least_number() -> None:
    backbone = opened("s3d")
    with torch.no_grad():
        assert backbone.embed_frames(torch.randn(1, 5, 3, 32, 32)).shape == (1, 1, 1024)
        with pytest.raises(RuntimeError):  # torchvision itself: the pooling has nothing left
            reference("s3d", backbone)(torch.randn(1, 3, 4, 32, 32))
        for few in (torch.randn(1, 4, 3, 32, 32), torch.randn(1, 3, 32, 32)):
            with pytest.raises(ModelError, match=r"s3d takes clips of at least 5 frames and was given [14]"):
                backbone(few)


def small_mvit(weights: object = None, progress: bool = True) -> MViT:
    """MViT v2 in small: three resolutions, two blocks each; clips of 4 frames of 32 pixels."""
    assert weights is None
    widths = [(16, 16, 1), (16, 32, 2), (32, 32, 2), (32, 64, 2)]
    blocks = [
        MSBlockConfig(
            num_heads=heads,
            input_channels=before,
            output_channels=after,
            kernel_q=[3, 3, 3],
            kernel_kv=[3, 3, 3],
            stride_q=[1, 2, 2] if before != after else [1, 1, 1],
            stride_kv=[1, 1, 1],
        )
        for before, after, heads in widths
    ]
    return MViT(
        (32, 32),
        4,
        blocks,
        True,
        False,
        True,
        True,
        num_classes=3,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    )


def small_tokens() -> MultiscaleTokens:
    torch.manual_seed(0)
    return MultiscaleTokens("small", small_mvit, video.MViT_V2_S_Weights.DEFAULT, False).eval()


def test_the_embedding_of_mvit_is_the_class_token_in_every_row() -> None:
    network = small_tokens()
    twin: Any = small_mvit()
    twin.load_state_dict(network.video.state_dict(), strict=False)
    twin.head = nn.Identity()
    clips = torch.randn(2, 4, 3, 32, 32)
    network.clip_rows.clips = 2
    with torch.no_grad():
        rows = network(clips.flatten(0, 1))
        expected = twin.eval()(clips.transpose(1, 2))
    assert rows.shape == (2 * 2, 64)
    torch.testing.assert_close(rows, expected.repeat_interleave(2, dim=0), atol=1e-5, rtol=1e-5)


def test_maps_of_mvit_are_the_tokens_at_the_end_of_each_resolution() -> None:
    network = small_tokens()
    seen: dict[int, Tensor] = {}
    for place, block in enumerate(network.video.blocks):  # type: ignore[arg-type]
        block.register_forward_hook(lambda _m, _g, out, place=place: seen.update({place: out[0]}))
    network.clip_rows.clips = 2
    with torch.no_grad():
        maps = network.forward_intermediates(torch.randn(8, 3, 32, 32), intermediates_only=True)
    assert [stage["module"] for stage in network.feature_info] == [
        f"video.blocks.{place}" for place in (0, 2, 3)
    ]
    assert [stage["reduction"] for stage in network.feature_info] == [4, 8, 16]
    assert network.temporal_strides == (2, 2, 2)
    for values, place, side in zip(maps, (0, 2, 3), (8, 4, 2), strict=True):
        assert values.shape[0] == 2 * 2
        token = seen[place][
            1, 1 + side * side + 1
        ]  # second clip, second frame, second cell of the first line
        assert torch.equal(values[3, :, 0, 1], token)


def test_mvit_takes_its_own_size_and_refuses_other_lengths() -> None:
    backbone = create_backbone("small", network=lambda pretrained: small_tokens())
    assert backbone.fixed_size == (32, 32)
    assert backbone.info.temporal_strides == (2, 2, 2)
    for clips in (torch.randn(1, 6, 3, 32, 32), torch.randn(1, 3, 32, 32)):
        with pytest.raises(ModelError, match=r"small takes clips of exactly 4 frames and was given [16]"):
            backbone(clips)


@pytest.mark.parametrize("name", ["mvit_v1_b", "mvit_v2_s"])
def test_the_large_ones_are_described_as_they_are(name: str) -> None:
    with torch.device("meta"):
        network = getattr(torchvision_video, name)()
    assert (network.minimum_frames, network.num_features) == (16, 768)
    assert [stage["reduction"] for stage in network.feature_info] == [4, 8, 16, 32]
    assert network.pretrained_cfg["input_size"] == (3, 224, 224)
    assert network.pretrained_cfg["mean"] == (0.45,) * 3


def test_pixels_are_normalised_as_the_weights_expect() -> None:
    info = opened("r3d_18").info
    assert info.mean == (0.43216, 0.394666, 0.37645)
    assert info.std == (0.22803, 0.22145, 0.216989)


def test_layers_run_from_the_stem_to_the_last_block() -> None:
    names = layers(opened("r3d_18"))
    assert len(names) == 1 + 4 * 2
    assert names[0][0].startswith("network.video.stem")
    assert names[-1][0].startswith("network.video.layer4.1")
    small = layers(create_backbone("small", network=lambda pretrained: small_tokens()))
    assert len(small) == 1 + 4
    assert small[-1][-1].startswith("network.video.norm")


def test_weights_that_cannot_be_had_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_given: object, **_options: object) -> object:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(WeightsError, match=r"pretrained weights of 'r3d_18' could not be loaded.*no route"):
        torchvision_video.r3d_18(pretrained=True)


def test_other_formats_of_maps_are_refused() -> None:
    network: Any = torchvision_video.r3d_18()
    with pytest.raises(ModelError, match="gives maps as NCHW and was asked for NLC"):
        network.forward_intermediates(torch.zeros(1, 3, 32, 32), output_fmt="NLC")
