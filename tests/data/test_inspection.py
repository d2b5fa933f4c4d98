"""What `inspect_source` says of a folder with good and bad files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit.contracts import FlowField, Frames, Item, Moment, Objects
from sslkit.data.decode.encode import write_video
from sslkit.data.inspection import inspect_source
from sslkit.data.mixed import MixedSource
from sslkit.data.sources.folder import ImageFolderSource
from sslkit.data.sources.video import VideoSource


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolderSource:
    for number in range(10):
        path = tmp_path / ("cat" if number < 7 else "dog") / f"{number}.{'jpg' if number % 2 else 'png'}"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB" if number % 2 else "L", (100 + number, 50)).save(path)
    (tmp_path / "dog" / "bad.jpg").write_bytes(b"")
    return ImageFolderSource(tmp_path)


def test_counts_formats_sizes_and_unreadable_files(folder: ImageFolderSource) -> None:
    found = inspect_source(folder, sample=None)
    assert (found.count, found.sampled) == (11, 11)
    assert found.classes == {"cat": 7, "dog": 4}
    assert found.formats == {"PNG L": 5, "JPEG RGB": 5}
    assert (found.widths["minimum"], found.widths["maximum"], found.heights["median"]) == (100, 109, 50)
    assert [(bad.name, bad.id) for bad in found.unreadable] == [("dog/bad.jpg", 10)]
    assert "empty" in found.unreadable[0].reason


def test_a_sample_is_spread_over_the_whole_set(folder: ImageFolderSource) -> None:
    found = inspect_source(folder, sample=2)
    assert (found.count, found.sampled) == (11, 2)
    assert found.widths == {"minimum": 100, "5 %": 100, "median": 100, "95 %": 105, "maximum": 105}


def test_nothing_readable_leaves_sizes_empty(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"x")
    found = inspect_source(ImageFolderSource(tmp_path))
    assert (found.widths, found.formats, len(found.unreadable)) == ({}, {}, 1)
    assert found.classes == {}


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VideoSource:
    """Of 1, 2 and 3 seconds, and one that was cut off."""
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "videos"
    for seconds, name in ((1, "run/1.avi"), (2, "run/2.avi"), (3, "walk/3.mp4")):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, np.zeros((5 * seconds, 32, 32 + 2 * seconds, 3), np.uint8), 5.0)
    (root / "walk/bad.mp4").write_bytes((root / "walk/3.mp4").read_bytes()[:100])
    return VideoSource(root)


def test_of_videos_lengths_and_codecs_are_told(videos: VideoSource) -> None:
    found = inspect_source(videos)
    assert (found.count, found.sampled, found.videos) == (7, 7, 3)
    assert found.classes == {"run": 3, "walk": 4}
    assert found.formats == {"avi h264": 3, "mov h264": 3}
    assert found.durations == {"minimum": 1.0, "5 %": 1.0, "median": 2.0, "95 %": 3.0, "maximum": 3.0}
    assert (found.widths["minimum"], found.widths["maximum"], found.heights["median"]) == (34, 38, 32)
    assert [(bad.name, bad.id) for bad in found.unreadable] == [("walk/bad.mp4", 6)]
    assert "cut off" in found.unreadable[0].reason


def test_a_video_that_was_damaged_since_then_is_unreadable(videos: VideoSource) -> None:
    (videos.path / "run/2.avi").write_bytes(b"")
    found = inspect_source(videos)
    assert [bad.id for bad in found.unreadable] == [1, 2, 6]
    assert found.videos == 2


def test_folders_of_frames_and_images_beside_videos_are_told_apart(
    folder: ImageFolderSource, videos: VideoSource, tmp_path: Path
) -> None:
    for number in range(4):
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.new("RGB", (20, 10)).save(tmp_path / f"frames/{number}.png")
    frames = VideoSource(tmp_path / "frames", frames=True, rate=2.0)
    found = inspect_source(MixedSource([folder, videos, frames], (1, 1, 1)))
    assert found.formats == {"PNG L": 5, "JPEG RGB": 5, "avi h264": 3, "mov h264": 3, "folder PNG RGB": 2}
    assert found.videos == 4
    assert found.durations["maximum"] == 3.0


def test_images_have_no_durations(folder: ImageFolderSource) -> None:
    found = inspect_source(folder)
    assert (found.videos, found.durations) == (0, {})


def test_json_can_write_it(folder: ImageFolderSource) -> None:
    written = json.loads(json.dumps(inspect_source(folder).to_dict()))
    assert written["unreadable"][0]["name"] == "dog/bad.jpg"
    assert written["classes"]["dog"] == 4


class Pairs:
    """Two pairs with flow, the second of frames of two sizes, and a painted video."""

    target_kind, classes, labels, splits, fingerprint, native_side = "flow", (), None, (), "here", None

    def __len__(self) -> int:
        return 3

    def __getitem__(self, id: int) -> Item:
        frames = [np.zeros((8, 10 + (id if place else 0), 3), np.uint8) for place in range(2)]
        painted = Moment(lambda seconds: np.zeros((len(seconds), 6, 9, 3), np.uint8), 0.0, 1.0, 1.0, 5.0)
        return Item(painted if id == 2 else Frames(tuple(frames)), f"pair {id}")

    def target(self, id: int) -> FlowField:
        return FlowField(torch.zeros(2, 8, 10))

    def problems(self) -> list[str]:
        return []

    def class_counts(self) -> np.ndarray:
        return np.zeros((3, 0), np.int64)


def test_pairs_and_painted_videos_are_counted_and_targets_without_classes_have_none() -> None:
    found = inspect_source(Pairs())
    assert found.formats == {"2 x array RGB": 1, "painted RGB": 1}
    assert [(bad.name, bad.reason) for bad in found.unreadable] == [
        ("pair 1", "its frames have 10x8 and 11x8 pixels")
    ]
    assert (found.widths["minimum"], found.widths["maximum"]) == (9, 10)
    told = found.to_dict()
    assert (told["target"], told["problems"]) == ("flow", ())
    assert "empty_images" not in told


class Boxes(ImageFolderSource):
    """Boxes of three classes on the images of a folder: many cars, few dogs, and a class that never comes."""

    target_kind = "boxes"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.classes, self.labels = ("car", "dog", "ghost"), None

    def target(self, id: int) -> Objects:
        return Objects.none()

    def problems(self) -> list[str]:
        return ["3.jpg: box 1 has no area"]

    def class_counts(self) -> np.ndarray:
        counts = np.zeros((len(self), 3), np.int64)
        counts[:6, 0], counts[5, 1] = [3, 1, 1, 2, 1, 1], 2
        return counts


def test_annotations_are_counted_by_class_and_their_problems_told(folder: ImageFolderSource) -> None:
    found = inspect_source(Boxes(folder.path))
    assert found.annotations is not None
    assert found.annotations.class_images == {"car": 6, "dog": 1, "ghost": 0}
    assert found.annotations.class_objects == {"car": 9, "dog": 2, "ghost": 0}
    assert (found.annotations.imbalance, found.annotations.empty_images) == (4.5, 5)
    told = found.to_dict()
    assert "annotations" not in told
    assert (told["target"], told["problems"]) == ("boxes", ("3.jpg: box 1 has no area",))
    assert inspect_source(folder).annotations is None
    assert "problems" not in inspect_source(folder).to_dict()
