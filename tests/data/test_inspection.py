"""What `inspect_source` says of a folder with good and bad files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from sslkit.data.inspection import inspect_source
from sslkit.data.sources.folder import ImageFolderSource


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


def test_json_can_write_it(folder: ImageFolderSource) -> None:
    written = json.loads(json.dumps(inspect_source(folder).to_dict()))
    assert written["unreadable"][0]["name"] == "dog/bad.jpg"
    assert written["classes"]["dog"] == 4
