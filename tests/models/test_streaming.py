"""A stream gives what the whole clip gives, frame by frame, of any network that looks back only."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sslkit.contracts import ClipRows
from sslkit.errors import ModelError
from sslkit.models.architecture import Architecture
from sslkit.models.backbone import Backbone
from sslkit.models.creation import create_backbone
from sslkit.models.streaming import Stream


class Trail(nn.Module):
    """A network for video: groups of `stride` frames are averaged, then each row adds half the one before."""

    num_features = 3
    feature_info = (
        {"module": "still", "num_chs": 3, "reduction": 2},
        {"module": "trail", "num_chs": 3, "reduction": 4},
    )
    pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, 8, 8)}  # noqa: RUF012

    def __init__(self, stride: int, *, causal: bool = True) -> None:
        super().__init__()
        self.clip_rows, self.causal, self.stride = ClipRows(), causal, stride
        self.temporal_strides = (1, stride)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward_intermediates(
        self, rows: Tensor, indices: list[int], output_fmt: str, intermediates_only: bool
    ) -> list[Tensor]:
        """The frames at half size, and the trail at a quarter."""
        still = nn.functional.avg_pool2d(rows, 2) * self.scale
        clips = nn.functional.avg_pool2d(still, 2).unflatten(0, (self.clip_rows.clips, -1))
        history = self.clip_rows.history
        if history is not None:
            clips = torch.cat([history.get("open", clips[:, :0]), clips], dim=1)
            history["open"] = clips[:, clips.shape[1] // self.stride * self.stride :]
            clips = clips[:, : clips.shape[1] // self.stride * self.stride]
        groups = clips.split(self.stride, dim=1) if clips.shape[1] else []
        before = torch.zeros_like(rows.new_zeros(self.clip_rows.clips, *clips.shape[2:]))
        if history is not None:
            before = history.get("before", before)
        trail = []
        for group in groups:
            before = group.mean(dim=1) + before / 2
            trail.append(before)
        if history is not None:
            history["before"] = before
        found = torch.stack(trail, dim=1) if trail else clips[:, :0]
        return [[still, found.flatten(0, 1)][index] for index in indices]

    def forward(self, rows: Tensor) -> Tensor:
        """The trail, pooled."""
        return self.forward_intermediates(rows, [1], "NCHW", True)[0].mean(dim=(2, 3))


def backbone(stride: int = 1, *, causal: bool = True) -> Backbone:
    return Backbone(Trail(stride, causal=causal), Architecture("trail")).eval()


def noise(frames: int, seed: int = 0) -> Tensor:
    return torch.randn(2, frames, 3, 8, 12, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("chunk", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_embeddings_and_maps_are_those_of_the_whole_clip(stride: int, chunk: int) -> None:
    found, clips = backbone(stride), noise(7)
    stream, of_maps = Stream(found), Stream(found)
    pieces = clips.split(chunk, dim=1)
    embedded = torch.cat([stream(piece) for piece in pieces], dim=1)
    maps = [of_maps.maps(piece) for piece in pieces]
    torch.testing.assert_close(embedded, found.embed_frames(clips)[:, : 7 // stride].detach())
    for name, whole in found.feature_maps(clips).items():
        values = torch.cat([one[name].values for one in maps], dim=1)
        assert values.shape[1] == 7 // whole.temporal_stride
        torch.testing.assert_close(values, whole.values[:, : values.shape[1]].detach())
        assert {(one[name].stride, one[name].temporal_stride) for one in maps} == {
            (whole.stride, whole.temporal_stride)
        }


def test_what_is_not_known_yet_has_no_rows() -> None:
    stream = Stream(backbone(stride=3))
    assert [stream(noise(1)).shape for _ in range(3)] == [(2, 0, 3), (2, 0, 3), (2, 1, 3)]


class Late(Trail):
    """Its first map has a stride in time too."""

    def __init__(self) -> None:
        super().__init__(1)
        self.temporal_strides = (2, 2)

    def forward_intermediates(
        self, rows: Tensor, indices: list[int], output_fmt: str, intermediates_only: bool
    ) -> list[Tensor]:
        """Every second frame."""
        assert len(rows), "a network is never run on nothing"
        clips = rows.unflatten(0, (self.clip_rows.clips, -1))
        return super().forward_intermediates(
            clips[:, 1 - len(clips[0]) % 2 :: 2].flatten(0, 1), indices, output_fmt, intermediates_only
        )


def test_frames_wait_until_the_first_stride_is_whole() -> None:
    found, clips = Backbone(Late(), Architecture("late")).eval(), noise(6)
    stream, of_maps = Stream(found), Stream(found)
    given = [stream(clips[:, t : t + 1]) for t in range(6)]
    assert [one.shape[1] for one in given] == [0, 1, 0, 1, 0, 1]
    torch.testing.assert_close(torch.cat(given, dim=1), found.embed_frames(clips).detach())
    first, second = (of_maps.maps(clips[:, t : t + 1]) for t in range(2))
    assert [one.values.shape for one in first.values()] == [(2, 0, 3, 4, 6), (2, 0, 3, 2, 3)]
    assert [one.values.shape for one in second.values()] == [(2, 1, 3, 4, 6), (2, 1, 3, 2, 3)]
    torch.testing.assert_close(
        second["trail"].values, found.feature_maps(clips)["trail"].values[:, :1].detach()
    )


def test_streams_side_by_side_do_not_mix_and_reset_begins_anew() -> None:
    found, one, two = backbone(2), noise(4), noise(4, seed=1)
    first, second = Stream(found), Stream(found)
    pairs = [(first(one[:, t : t + 1]), second(two[:, t : t + 1])) for t in range(4)]
    for place, clips in enumerate((one, two)):
        known = torch.cat([pair[place] for pair in pairs], dim=1)
        torch.testing.assert_close(known, found.embed_frames(clips).detach())
    first(noise(1))
    first.reset()
    torch.testing.assert_close(first(two), found.embed_frames(two).detach())
    assert found.network.clip_rows.history is None


def test_a_network_for_images_sees_each_frame_alone() -> None:
    found = create_backbone("test_resnet", size=32, stem="standard").eval()
    clips = torch.randn(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    stream = Stream(found)
    parts = [stream(clips[:, :1]), stream(clips[:, 1:])]
    torch.testing.assert_close(torch.cat(parts, dim=1), found.embed_frames(clips).detach())
    assert not parts[0].requires_grad
    maps = Stream(found).maps(clips[:, :1])
    assert list(maps) == list(found.info.names)


def test_a_network_that_looks_ahead_is_refused() -> None:
    with pytest.raises(ModelError, match=r"'trail' looks at later frames.*build it causal"):
        Stream(backbone(causal=False))


def test_training_mode_and_other_shapes_are_refused_and_leave_the_stream_whole() -> None:
    found, clips = backbone(), noise(2)
    stream = Stream(found)
    stream(clips[:, :1])
    found.train()
    with pytest.raises(ModelError, match=r"call backbone.eval\(\) first"):
        stream(clips)
    found.eval()
    with pytest.raises(ModelError, match=r"frames \(N, t, C, H, W\), not \(2, 3, 8, 12\)"):
        stream(clips[:, 0])
    with pytest.raises(
        ModelError, match=r"began with 2 videos of \(3, 8, 12\) and was given 1 of \(3, 8, 12\)"
    ):
        stream(clips[:1])
    with pytest.raises(ModelError, match=r"was given 2 of \(3, 8, 8\); reset\(\) begins others"):
        stream(clips[..., :8])
    torch.testing.assert_close(stream(clips[:, 1:]), found.embed_frames(clips)[:, 1:].detach())
