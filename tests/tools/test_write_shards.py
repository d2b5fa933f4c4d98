"""Shards hold the files of a folder byte for byte, with their labels."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from sslkit.data.sources.folder import ImageFolderSource
from sslkit.data.sources.shards import ShardsSource


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "write_shards.py"
    spec = importlib.util.spec_from_file_location("write_shards", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def photos(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 4), (number, 0, 0)).save(path)
    return root


def contents(source: ImageFolderSource | ShardsSource) -> list[tuple[bytes, str | None]]:
    """Every image's bytes with its class, sorted."""
    found = []
    for id in range(len(source)):
        item = source[id]
        content = item.content.read_bytes() if isinstance(item.content, Path) else item.content
        assert isinstance(content, bytes)
        found.append((content, None if item.label is None else source.classes[item.label]))
    return sorted(found, key=lambda pair: pair[0])


def test_shards_of_splits_hold_every_file_and_class(tmp_path: Path, tool: ModuleType) -> None:
    train = [f"train/{'cat' if k % 2 else 'dog'}/a.{k}.{'png' if k < 9 else 'bmp'}" for k in range(12)]
    folder = photos(tmp_path / "photos", *train, "val/cow/1.png", "train/dog/a.0.bmp")
    tool.main([str(folder), str(tmp_path / "out"), "--samples", "5"])
    for split in ("train", "val"):
        written = ShardsSource(tmp_path / "out", split=split)
        assert contents(written) == contents(ImageFolderSource(folder, split=split))
        assert written.classes == ("cat", "cow", "dog")
    assert sorted(path.name for path in (tmp_path / "out/train").iterdir()) == [
        f"shard-{k:06d}.tar" for k in range(3)
    ]


def test_samples_are_shuffled_and_the_same_each_time(tmp_path: Path, tool: ModuleType) -> None:
    folder = photos(tmp_path / "photos", *(f"{k // 10}/{k}.png" for k in range(40)))
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        tool.main([str(folder), str(tmp_path / name), "--samples", "40", "--seed", str(seed)])
    first, again, other = ((tmp_path / name / "shard-000000.tar").read_bytes() for name in "abc")
    assert first == again != other
    labels = ShardsSource(tmp_path / "a").labels
    assert labels is not None
    assert np.abs(np.diff(labels)).sum() > 20  # sorted by class it would be 3


def test_what_cannot_be_written_is_refused(
    tmp_path: Path, tool: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = photos(tmp_path / "photos", "1.png")
    for arguments, why in (
        ([str(folder), str(folder)], "is not empty"),
        ([str(folder), str(tmp_path / "out"), "--samples", "0"], "at least 1 sample"),
        (["shapes:count=3,size=8", str(tmp_path / "out")], "is no file"),
        ([str(tmp_path / "gone"), str(tmp_path / "other")], "there is no"),
    ):
        with pytest.raises(SystemExit) as stopped:
            tool.main(arguments)
        assert stopped.value.code
        assert why in capsys.readouterr().err
