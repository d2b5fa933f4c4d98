"""What is trained on and judged on: found, kept apart, and checked before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from sslkit.config.head_training import HeadTraining, read_training
from sslkit.contracts import HeadSpec, Moment
from sslkit.data.moving_shapes import write_videos
from sslkit.errors import DataError
from sslkit.registry import open_source
from sslkit.runs.splits import open_head_splits, open_splits
from tests.runs.test_head_clips import TRAINING

CLIPS = HeadSpec("here", "clip", "vector", "label", "top1")


def plan(**clip: Any) -> HeadTraining:
    return read_training({**TRAINING, "clip": {**TRAINING["clip"], **clip}}, "here")


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty of two seconds, ten classes; train and test."""
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "cache"))
    for split, seed in (("train", 0), ("test", 1)):
        write_videos(tmp_path / "videos" / split, videos=20, seconds=2.0, size=16, rate=10, seed=seed)
    return tmp_path / "videos"


def test_a_head_of_clips_has_each_video_once(videos: Path) -> None:
    splits = open_head_splits(CLIPS, str(videos), None, plan())
    assert (len(splits.train), len(splits.test)) == (20, 20)
    moments = open_head_splits(CLIPS, f"video:{videos},every=0.5", None, plan())
    assert len(moments.train) == 80
    assert len(open_source(str(videos))) == 40  # an unlabelled look at moments of a second


def test_the_split_that_is_judged_is_not_the_one_that_the_text_names(videos: Path) -> None:
    splits = open_head_splits(CLIPS, f"video:{videos},split=train,every=video", None, plan())
    places = [
        {cast(Moment, source[id].content).path for id in range(len(source))}
        for source in (splits.train, splits.test)
    ]
    assert [len(place) for place in places] == [20, 20]
    assert not places[0] & places[1]


def test_videos_shorter_than_a_clip_are_named_and_refused(videos: Path) -> None:
    with pytest.raises(
        DataError, match=r"20 videos are too short for clips of 16 frames at stride 2"
    ) as told:
        open_head_splits(CLIPS, str(videos), None, plan(frames=16))
    assert "0000.mp4" in str(told.value)
    assert "and 8 more" in str(told.value)
    assert len(open_head_splits(CLIPS, str(videos), None, plan(frames=16, short="repeat")).train) == 20


def test_a_video_on_both_sides_is_named_and_refused(videos: Path) -> None:
    copied = next((videos / "train").glob("*/0003.mp4"))
    (videos / "test" / copied.parent.name / "copy.mp4").write_bytes(copied.read_bytes())
    with pytest.raises(DataError, match=r"share 1 videos or groups(.|\n)*0003.mp4(.|\n)*copy.mp4"):
        open_head_splits(CLIPS, str(videos), None, plan())


def test_a_video_without_frames_is_named_and_refused(videos: Path) -> None:
    (videos / "train" / "circle").mkdir(exist_ok=True)
    (videos / "train" / "circle" / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"1 problems in the annotations(.|\n)*broken.mp4"):
        open_head_splits(CLIPS, str(videos), None, plan())


def test_moments_of_a_video_are_held_out_together(videos: Path) -> None:
    splits = open_splits(f"video:{videos / 'train'},every=0.5", None)
    of_sides = [
        {source[id].name.partition(" @ ")[0] for id in range(len(source))}
        for source in (splits.train, splits.test)
    ]
    assert not of_sides[0] & of_sides[1]
    assert len(of_sides[1]) == 4
    assert np.isclose(len(splits.test) / (len(splits.train) + len(splits.test)), 0.2)
