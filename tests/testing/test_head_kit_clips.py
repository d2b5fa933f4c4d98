"""What the kit holds of heads of clips: frames of any number, several views, all frames drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from sslkit.contracts import Figures
from sslkit.testing.backbones import NETWORKS, TinyBackbone
from sslkit.testing.head_checks import head_checks
from sslkit.testing.head_kit import checks
from tests.testing.sound_clips import Clips, Videos
from tests.testing.sound_heads import Labels, failures


class Unlearnt(Clips):
    """The same without having learnt much, for checks that ask for no goal."""

    steps = 1


@pytest.mark.parametrize("check", head_checks(Clips))
def test_a_sound_head_of_clips(check) -> None:
    check()


class FixedFrames(Unlearnt):
    """Takes it that as many frames come out of a backbone as go in."""

    def __init__(self, info, task, *, hidden: int = 16) -> None:
        super().__init__(info, task, hidden=hidden)
        self.layers = nn.Linear(task.frames * info.embedding_dim, len(task.classes))

    def forward(self, features):
        return self.layers(features.vector.flatten(1))


class LastView(Clips):
    """The last view of a video is the one that counts."""

    class Last(Videos):
        def update(self, ids, predictions, targets) -> None:
            super().update(ids, predictions, targets)
            for id in ids:
                self.scores[id] = self.scores[id][-1:]

    def metrics(self):
        return self.Last()


class NoVideo(Unlearnt):
    """Where videos are seen several times, a figure is left out."""

    class Less(Videos):
        def compute(self):
            several = any(len(scores) > 1 for scores in self.scores.values())
            more = {} if several else {"single": 1.0}
            return Figures({**super().compute().figures, **more})

    def metrics(self):
        return self.Less()


class FloatStrip(Unlearnt):
    def draw_frames(self, frames, shown):
        return super().draw_frames(frames, shown) / 255


class DrawsOnFrames(Unlearnt):
    def draw_frames(self, frames, shown):
        frames[:, :3, :3] = 77
        return frames[0]


class OneFrameTask(Unlearnt):
    @classmethod
    def example_batch(cls, seed):
        example = super().example_batch(seed)
        return replace(example, task=replace(example.task, frames=1))


class SeedsFrames(Unlearnt):
    def draw_frames(self, frames, shown):
        np.random.seed(0)
        return super().draw_frames(frames, shown)


@pytest.mark.parametrize(
    ("broken", "expected", "message"),
    [
        (FixedFrames, {"builds_on_video"}, "RuntimeError"),
        (LastView, {"views"}, "depend on how they are taken in: 'share'"),
        (NoVideo, {"views"}, "figures ['single'] are missing"),
        (FloatStrip, {"draw"}, "draw_frames of a target gave float64"),
        (DrawsOnFrames, {"draw"}, "changed the frames themselves"),
        (OneFrameTask, {"example"}, "4 frames, and task.frames is 1"),
        (SeedsFrames, {"no_global_state"}, "draw changed numpy's generator"),
    ],
)
def test_one_check_catches_it(broken, expected, message) -> None:
    found = failures(broken, {"example", "builds[convnext]", *expected})
    assert set(found) == expected, found
    assert all(message in said for said in found.values()), found


def test_heads_of_images_are_not_held_to_it() -> None:
    for id in ("builds_on_video", "views"):
        with pytest.raises(Exception, match=r"sees no clips|is seen once"):
            checks()[id](Labels)


def test_the_video_network_offers_fewer_frames_and_each_map_says_how_many() -> None:
    backbone = NETWORKS["video"](64).eval()
    clips = torch.rand(2, 7, 3, 64, 40)
    maps = backbone.feature_maps(clips)
    assert [values.temporal_stride for values in maps.values()] == [1, 2, 2, 4]
    assert backbone.info.temporal_strides == (1, 2, 2, 4)
    assert [one.values.shape[:2] for one in maps.values()] == [(2, 7), (2, 4), (2, 4), (2, 2)]
    assert [one.values.shape[2] for one in maps.values()] == list(backbone.info.channels)
    embeddings = backbone.embed_frames(clips)
    assert embeddings.shape == (2, 2, 32)
    assert torch.allclose(embeddings, maps["stage3"].values.mean(dim=(3, 4)))
    assert torch.allclose(backbone(clips), embeddings.mean(dim=1))
    assert torch.allclose(backbone(clips[:, 0]), backbone(clips[:, :1]))
    assert backbone.feature_maps(clips[:, 0])["stage3"].values.shape == (2, 32, 2, 2)
    assert not torch.allclose(backbone(clips), backbone(clips[:, [0, 2, 1, 3, 4, 5, 6]]))


@pytest.mark.parametrize("build", [TinyBackbone, lambda: NETWORKS["odd_stride"](48)])
def test_other_tiny_backbones_see_each_frame_alone(build) -> None:
    backbone = build().eval()
    clips = torch.rand(2, 3, 3, 48, 48)
    frames = torch.stack([backbone(frame) for frame in clips.unbind(1)], dim=1)
    assert torch.allclose(backbone.embed_frames(clips), frames, atol=1e-6)
    assert torch.allclose(backbone(clips), frames.mean(dim=1), atol=1e-6)
    assert backbone.info.temporal_strides == ()
    for name, one in backbone.feature_maps(clips).items():
        alone = torch.stack([backbone.feature_maps(frame)[name].values for frame in clips.unbind(1)], dim=1)
        assert torch.allclose(one.values, alone, atol=1e-6)
        assert one.temporal_stride == 1
