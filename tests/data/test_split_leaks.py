"""What stands on both sides of a split is named, and an honest split passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.contracts import Frames, Item
from sslkit.data import split_leaks
from sslkit.data.sources.folder import ImageFolderSource
from sslkit.data.sources.moving_shapes import MovingShapesSource
from sslkit.data.sources.shapes import ShapesSource
from sslkit.data.sources.video import VideoSource
from sslkit.data.sources.video_list import VideoListSource
from sslkit.data.split_leaks import leaks
from tests.data.listed_sets import put, put_all, ucf, write_lists


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "cache"))


def image(path: Path, grey: int = 7) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), grey).save(path)
    return path


def test_a_scene_on_both_sides_is_named_and_an_honest_split_passes(tmp_path: Path) -> None:
    root = ucf(tmp_path / "set")

    def found() -> list[str]:
        sides = (VideoListSource(root, list="lists", split=split) for split in ("train", "test"))
        return leaks(*sides)

    assert found() == []
    put(root / "Run/v_Run_g08_c03.avi", grey=251)
    with (root / "lists/testlist01.txt").open("a") as file:
        file.write("Run/v_Run_g08_c03.avi\n")
    assert found() == [
        "group 'v_Run_g08' is in both: 2 samples of train, 1 of test, such as Run/v_Run_g08_c01.avi and "
        "Run/v_Run_g08_c03.avi"
    ]


def test_people_are_told_apart_by_name_and_not_by_number(tmp_path: Path) -> None:
    put_all(tmp_path, ["a.mp4", "b.mp4", "c.mp4", "d.mp4"])
    rows = "a.mp4,x,ann,train\nb.mp4,y,bo,train\nc.mp4,x,cy,test\nd.mp4,y,di,test\n"
    write_lists(tmp_path, {"l.csv": "path,label,subject,split\n" + rows})
    train, test = (VideoListSource(tmp_path, split=split) for split in ("train", "test"))
    assert train.groups.tolist() == test.groups.tolist() == [0, 1]
    assert leaks(train, test) == []
    write_lists(tmp_path, {"l.csv": "path,label,subject,split\n" + rows.replace("di", "ann")})
    (line,) = leaks(*(VideoListSource(tmp_path, split=split) for split in ("train", "test")))
    assert line == "group 'ann' is in both: 1 samples of train, 1 of test, such as a.mp4 and d.mp4"


def test_a_copy_of_a_video_is_found_under_another_name_and_one_file_under_one(tmp_path: Path) -> None:
    root = tmp_path / "set"
    put_all(root / "train", ["run/1.mp4", "hop/2.mp4"])
    put_all(root / "test", [])
    put(root / "test/run/3.mp4", grey=77)
    put(root / "test/hop/4.mp4", frames=12, grey=78)
    train, test = (VideoSource(root, split=split) for split in ("train", "test"))
    assert leaks(train, test) == []
    (root / "test/hop/5.mp4").write_bytes((root / "train/run/1.mp4").read_bytes())
    (root / "test/hop/6.mp4").symlink_to(root / "train/hop/2.mp4")
    lines = leaks(train, VideoSource(root, split="test"))
    assert lines == [
        "train/hop/2.mp4 @ 0.0 s of train and test/hop/6.mp4 @ 0.0 s of test are copies of one file",
        "train/run/1.mp4 @ 0.0 s of train and test/hop/5.mp4 @ 0.0 s of test are copies of one file",
    ]
    assert [line.endswith("is in both") for line in leaks(test, test)] == [True, True]


def test_the_moments_of_one_video_are_told_once(tmp_path: Path) -> None:
    put(tmp_path / "set/1.mp4", frames=40)
    source = VideoSource(tmp_path / "set", every=1.0)
    assert len(source) == 4
    assert leaks(source, source) == ["1.mp4 @ 0.0 s is in both"]


def test_images_are_copies_by_name_and_content(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for place in ("train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/1.png"):
        image(root / place, grey=len(place) if place == "test/b/1.png" else 7)

    def found() -> list[str]:
        return leaks(*(ImageFolderSource(root, split=split) for split in ("train", "test")))

    assert found() == []  # of one name and not alike, alike and of other names
    image(root / "test/b/1.png", grey=7)
    assert found() == ["train/a/1.png of train and test/b/1.png of test are copies of one file"]


def test_only_files_of_one_size_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "set"
    for name, size in (("train/1", 4), ("train/2", 5), ("test/3", 6)):
        put(root / f"{name}.mp4", frames=size)
    sizes = {path.stat().st_size for path in root.rglob("*.mp4")}
    assert len(sizes) == 3
    monkeypatch.setattr(split_leaks, "_digest", None)
    assert leaks(*(VideoSource(root, split=split) for split in ("train", "test"))) == []


def test_painters_are_the_same_where_they_paint_the_same() -> None:
    train = MovingShapesSource(count=30)
    assert leaks(train, MovingShapesSource(count=30, split="test")) == []
    lines = leaks(train, MovingShapesSource(count=3))
    assert lines == [f"train/{id}-{train.classes[id]} is in both" for id in range(3)]


def test_pairs_are_the_same_where_their_files_are() -> None:
    class Pairs(ShapesSource):
        def __init__(self, first: int) -> None:
            super().__init__(count=2, size=8)
            self.native_side, self.first = None, first

        def __getitem__(self, id: int) -> Item:
            start = self.first + id
            return Item(Frames((Path(f"{start}.png"), Path(f"{start + 1}.png"))), f"pair {start}", 0)

    assert leaks(Pairs(0), Pairs(2)) == []
    assert leaks(Pairs(0), Pairs(1)) == ["pair 1 is in both"]


def test_pixels_in_memory_are_never_asked_for() -> None:
    class Arrays(ShapesSource):
        def __getitem__(self, id: int) -> Item:
            assert id == 0, "asked for"
            return Item(np.zeros((8, 8, 3), np.uint8), "0", 0)

    source = Arrays(count=5, size=8)
    assert leaks(source, source) == []
    source.native_side = None
    assert leaks(source, source) == []
