"""Videos as files and as folders of frames, cut into moments."""

from __future__ import annotations

import math
import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sslkit.contracts import Moment, Refused
from sslkit.data.clips import Clips
from sslkit.data.decode.encode import write_video
from sslkit.data.decode.moment import decode_moment
from sslkit.data.sources.video import VideoSource
from sslkit.errors import ConfigError, DataError, DecodeError, UnknownNameError
from sslkit.registry import open_source
from sslkit.testing.source_kit import check_source


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def written(path: Path, frames: int = 20, rate: float = 10.0) -> Path:
    """A video whose frame k is grey 10 k."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = (10 * np.arange(frames)).astype(np.uint8)
    write_video(path, np.broadcast_to(grey[:, None, None, None], (frames, 32, 48, 3)), rate)
    return path


def drawn(folder: Path, frames: int) -> Path:
    """A folder of frames: number 0, 1, ... without leading zeros, frame k grey 10 k."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(frames):
        Image.new("L", (12, 8), 10 * number).save(folder / f"{number}.png")
    return folder


def sound_alone(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", 8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    return path


def moments(source: VideoSource) -> list[Moment]:
    found = [source[id].content for id in range(len(source))]
    assert all(isinstance(one, Moment) for one in found)
    return [one for one in found if isinstance(one, Moment)]


def names(source: VideoSource) -> list[str]:
    return [source[id].name for id in range(len(source))]


def test_videos_in_subfolders_are_cut_into_moments_of_their_class(tmp_path: Path) -> None:
    root = tmp_path / "set"
    written(root / "walk/2.mp4", 21)
    written(root / "run/deep/1.avi", 10)
    (root / "walk/note.txt").write_text("no video")
    source = VideoSource(root)
    check_source(source)
    assert names(source) == [
        "run/deep/1.avi @ 0.0 s",
        "walk/2.mp4 @ 0.0 s",
        "walk/2.mp4 @ 0.7 s",
        "walk/2.mp4 @ 1.4 s",
    ]
    assert source.classes == ("run", "walk")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 1, 1]
    assert source.groups.tolist() == [0, 1, 1, 1]
    assert source.native_side is None
    last = moments(source)[-1]
    assert last.path == root / "walk/2.mp4"
    assert (last.start, last.length, last.duration, last.rate) == pytest.approx((1.4, 0.7, 2.1, 10.0))


@pytest.mark.parametrize(("every", "count"), [(10.0, 1), (2.0, 1), (1.9, 2), (1.0, 2), (0.1, 20), (0.3, 7)])
def test_a_video_has_as_many_moments_as_fit_and_they_cover_it(
    tmp_path: Path, every: float, count: int
) -> None:
    source = VideoSource(written(tmp_path / "walk.mp4"), every=every)  # of 2 seconds
    found = moments(source)
    assert len(found) == len(source) == count == math.ceil(2 / every - 1e-9)
    edges = [one.start for one in found] + [found[-1].start + found[-1].length]
    np.testing.assert_allclose(edges, np.linspace(0, 2, count + 1), atol=1e-6)


def test_whole_videos_are_one_item_each(tmp_path: Path) -> None:
    root = tmp_path / "set"
    written(root / "walk/2.mp4", 21)
    written(root / "run/1.avi", 10)
    (root / "run/3.avi").write_bytes(b"")
    source = VideoSource(root, every=None)
    check_source(source)
    assert names(source) == ["run/1.avi", "run/3.avi", "walk/2.mp4"]
    assert source.labels is not None
    assert (source.labels.tolist(), source.groups.tolist()) == ([0, 0, 1], [0, 1, 2])
    whole = source[2].content
    assert isinstance(whole, Moment)
    assert (whole.start, whole.length, whole.duration) == pytest.approx((0.0, 2.1, 2.1))
    named = open_source(f"video:{root},every=video")
    assert isinstance(named, VideoSource)
    assert named.fingerprint == source.fingerprint != VideoSource(root, every=1000).fingerprint
    assert len(open_source(f"video:{root},every=2.5")) == 3
    with pytest.raises(ConfigError, match="option 'every' of source 'video'"):
        open_source(f"video:{root},every=clip")
    with pytest.raises(ConfigError, match="every=video for whole ones"):
        VideoSource(root, every="clip")  # type: ignore[arg-type]


def test_rounding_makes_no_moment_more(tmp_path: Path) -> None:
    source = VideoSource(drawn(tmp_path / "walk", 21), frames=True, rate=10.0, every=0.3)
    assert 2.1 / 0.3 > 7
    assert len(source) == 7


def test_a_single_file_is_one_video(tmp_path: Path) -> None:
    written(tmp_path / "other.mp4")
    source = VideoSource(written(tmp_path / "walk.mp4"))
    check_source(source)
    assert names(source) == ["walk.mp4 @ 0.0 s", "walk.mp4 @ 1.0 s"]
    assert source.labels is None
    assert source.splits == ()


def test_the_frames_of_a_moment_are_those_of_its_seconds(tmp_path: Path) -> None:
    second = moments(VideoSource(written(tmp_path / "walk.mp4")))[1]
    pixels, rectangle = decode_moment(second, Clips(frames=2, stride=4).still(second), canvas=48)
    assert rectangle == (0, 0, 32, 48)
    np.testing.assert_allclose(pixels[0, :, :, :32].mean((1, 2, 3)), [130, 170], atol=3)


# ---------------------------------------------------------------------------------- folders of frames


def test_folders_of_frames_are_videos(tmp_path: Path) -> None:
    drawn(tmp_path / "set/walk/one", 12)
    drawn(tmp_path / "set/walk/two", 3)
    drawn(tmp_path / "set/run/one", 4)
    source = VideoSource(tmp_path / "set", frames=True, rate=4.0)
    check_source(source)
    assert names(source) == [
        "run/one @ 0.0 s",
        "walk/one @ 0.0 s",
        "walk/one @ 1.0 s",
        "walk/one @ 2.0 s",
        "walk/two @ 0.0 s",
    ]
    assert source.classes == ("run", "walk")
    third = moments(source)[3]
    assert (third.path, third.start, third.duration, third.rate) == (tmp_path / "set/walk/one", 2.0, 3.0, 4.0)
    pixels, _ = decode_moment(third, third.start + np.arange(4)[None] / 4, canvas=16)
    assert pixels[0, :, 0, 0, 0].tolist() == [80, 90, 100, 110]  # frames 8, 9, 10, 11


def test_a_folder_with_images_is_a_video_though_a_subfolder_has_some_too(tmp_path: Path) -> None:
    drawn(tmp_path / "set/a", 2)
    drawn(tmp_path / "set/a/0", 3)  # sorts between 0.png and 1.png
    drawn(tmp_path / "set/b", 1)
    source = VideoSource(tmp_path / "set", frames=True, rate=1.0)
    assert [round(one.duration) for one in moments(source)] == [2, 2, 3, 3, 3, 1]
    assert source.groups.tolist() == [0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize("inside", ["", "train"])
def test_a_folder_may_itself_be_the_one_video(tmp_path: Path, inside: str) -> None:
    drawn(tmp_path / "walk" / inside, 5)
    if inside:
        drawn(tmp_path / "walk" / "test", 2)
    source = VideoSource(tmp_path / "walk", frames=True, rate=5.0)
    check_source(source)
    assert names(source) == [f"{inside or 'walk'} @ 0.0 s"]


# ------------------------------------------------------------------------------------- what is wrong


def test_what_cannot_be_probed_is_one_item_that_says_why(tmp_path: Path) -> None:
    root = tmp_path / "set"
    sound = written(root / "b/sound.mp4")
    (root / "a").mkdir()
    sound_alone(root / "a/1.mp4")
    (root / "a/2.mp4").write_bytes(sound.read_bytes()[:200])
    (root / "a/3.mp4").write_bytes(b"")
    (root / "a/4.mp4").symlink_to("gone.mp4")
    source = VideoSource(root)
    check_source(source)
    items = [source[id] for id in range(len(source))]
    assert [item.name for item in items[:4]] == ["a/1.mp4", "a/2.mp4", "a/3.mp4", "a/4.mp4"]
    reasons = [item.content.reason for item in items[:4] if isinstance(item.content, Refused)]
    assert len(reasons) == 4
    for reason, said in zip(reasons, ("only audio", "cut off", "empty", "no such file"), strict=True):
        assert said in reason
    assert all(isinstance(item.content, Moment) for item in items[4:])
    assert source.labels is not None
    assert source.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert source.groups.tolist() == [0, 1, 2, 3, 4, 4]


@pytest.mark.parametrize("split", ["", "train"])
def test_all_that_cannot_be_read_and_empty_classes_are_told_before_training(
    tmp_path: Path, split: str
) -> None:
    root = tmp_path / "set" / split
    for name in ("run/1.mp4", "walk/2.mp4"):
        written(root / name, 3)
    if split:
        written(tmp_path / "set/test/run/1.mp4", 3)
    assert VideoSource(tmp_path / "set").problems() == []
    sound_alone(root / "run/3.mp4")
    (root / "jump").mkdir()
    (root / "jump/note.txt").write_text("no video")
    (root / ".cache").mkdir()
    reason, empty = VideoSource(tmp_path / "set").problems()
    assert reason == f"{root / 'run/3.mp4'}: no video in it, only audio"
    assert empty == f"{root / 'jump'}: the class 'jump' has no video"


def test_a_length_that_no_video_has_is_refused_before_it_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "set/1.mp4")
    written(tmp_path / "set/2.mp4")
    from sslkit.data import video_headers

    probe = video_headers.probe_video

    def boasting(path: Path) -> object:
        header = probe(path)
        vars(header)["duration"] = 1e12 if path.name == "1.mp4" else header.duration
        return header

    monkeypatch.setattr(video_headers, "probe_video", boasting)
    source = VideoSource(tmp_path / "set")
    assert len(source) == 3
    assert isinstance(source[0].content, Refused)
    assert "says that it lasts 1e+12 s" in source[0].content.reason


def test_none_that_can_be_probed_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.mkv").write_bytes(b"")
    with pytest.raises(DataError, match=r"none of 5 videos .* empty \(0 bytes\); .*\(and 2 more\)"):
        VideoSource(tmp_path)
    (tmp_path / "note.txt").write_text("no video")
    with pytest.raises(DataError, match=r"none of 1 videos .*note\.txt"):
        VideoSource(tmp_path / "note.txt")


def test_no_videos_says_what_was_found_instead(tmp_path: Path) -> None:
    drawn(tmp_path / "set/a", 2)
    with pytest.raises(DataError, match=r"only files ending in 2 \.png; .*\.mp4.*use frames=True"):
        VideoSource(tmp_path / "set")
    written(tmp_path / "videos/1.mp4")
    with pytest.raises(DataError, match=r"no folders of frames in .* 1 \.mp4"):
        VideoSource(tmp_path / "videos", frames=True)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="is empty"):
        VideoSource(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"video folder .* not found"):
        VideoSource(tmp_path / "nowhere")


@pytest.mark.parametrize("options", [{"every": 0.0}, {"every": math.nan}, {"every": math.inf}, {"rate": 0.0}])
def test_numbers_that_cannot_work_are_refused(tmp_path: Path, options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"use seconds of at least 0\.001"):
        VideoSource(written(tmp_path / "walk.mp4"), **options)  # type: ignore[arg-type]


# ------------------------------------------------------------------------ splits, and what is the same


@pytest.mark.parametrize("frames", [False, True])
def test_train_is_the_default_of_the_splits_and_labels_mean_the_same_in_each(
    tmp_path: Path, frames: bool
) -> None:
    for name in ("train/run/1", "train/walk/1", "test/skip/2", "test/walk/2"):
        drawn(tmp_path / "set" / name, 3) if frames else written(tmp_path / "set" / f"{name}.mp4", 3)
    train, test = (VideoSource(tmp_path / "set", split=split, frames=frames) for split in (None, "test"))
    check_source(train)
    check_source(test)
    assert train.splits == test.splits == ("train", "test")
    assert names(train)[0].startswith("train/run/1")
    assert train.classes == test.classes == ("run", "skip", "walk")
    assert train.labels is not None
    assert test.labels is not None
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 2], [1, 2])
    with pytest.raises(UnknownNameError, match="did you mean 'test'"):
        VideoSource(tmp_path / "set", split="tset", frames=frames)


def test_names_sizes_lengths_and_cuts_are_in_the_fingerprint(tmp_path: Path) -> None:
    here, there = (tmp_path / place for place in ("here", "there"))
    for root in (here, there):
        written(root / "a/1.mp4")
        written(root / "b/1.mp4")
    same = VideoSource(here).fingerprint
    assert VideoSource(there).fingerprint == same
    found = {same, VideoSource(here, every=0.5).fingerprint}
    (there / "a/1.mp4").rename(there / "a/2.mp4")
    found.add(VideoSource(there).fingerprint)
    (there / "a/2.mp4").rename(there / "a/1.mp4")
    os.truncate(there / "a/1.mp4", 100)
    found.add(VideoSource(there).fingerprint)
    written(there / "a/1.mp4", 19)
    found.add(VideoSource(there).fingerprint)
    with (there / "a/1.mp4").open("ab") as file:
        file.write(bytes(1000))  # behind all that is read
    found.add(VideoSource(there).fingerprint)
    assert len(found) == 6


def test_a_relative_path_survives_a_change_of_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "set/1.mp4", 3)
    monkeypatch.chdir(tmp_path)
    source = VideoSource("set")
    monkeypatch.chdir("/")
    assert moments(source)[0].path.exists()


def test_a_file_lost_since_then_is_for_decoding_to_report(tmp_path: Path) -> None:
    source = VideoSource(written(tmp_path / "walk.mp4"))
    (tmp_path / "walk.mp4").unlink()
    with pytest.raises(DecodeError, match="no such file"):
        decode_moment(moments(source)[0], Clips().still(moments(source)[0]), canvas=16)
