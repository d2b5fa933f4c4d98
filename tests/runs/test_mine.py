"""`mine` end to end: from a backbone and data to pairs with names, a page and files."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sslkit.contracts import Item
from sslkit.errors import ConfigError, DataError, RunError, UnknownNameError
from sslkit.models.creation import create_backbone
from sslkit.runs import mine as home
from sslkit.runs.embedder import Embedder, default_device, on_device
from sslkit.runs.mine import ConfusedPairs, mine, mine_class
from sslkit.runs.pretrain import pretrain


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    torch.manual_seed(0)
    return Embedder(on_device(create_backbone("test_resnet", size=32)), 32, "random", default_device())


@pytest.fixture(autouse=True)
def untrained(monkeypatch: pytest.MonkeyPatch, embedder: Embedder) -> None:
    """Runs that need a checkpoint of their own say so; the others share an untrained network."""
    monkeypatch.setattr(home, "open_embedder", lambda model: embedder)


def blotches(count: int, *, side: int = 32) -> np.ndarray:
    """Pictures of one random colour each: the untrained network tells them apart by it."""
    colours = np.random.default_rng(0).integers(0, 256, (count, 1, 1, 3))
    noise = np.random.default_rng(1).integers(-20, 20, (count, side, side, 3))
    return np.clip(colours + noise, 0, 255).astype(np.uint8)


def saved(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "set.npz", **arrays)
    return folder / "set.npz"


def found(data: Path, **options: Any) -> ConfusedPairs:
    return mine("net", data, progress=False, **options)


def test_a_picture_under_two_labels_is_the_first_pair(tmp_path: Path) -> None:
    images = blotches(40)
    images[31] = images[6]
    data = saved(tmp_path, images=images, labels=np.arange(40) // 20, classes=["left", "right"])
    first = found(data, pairs=5).rows()[0]
    assert {first["anchor_id"], first["neighbour_id"]} == {6, 31}
    assert {first["anchor_class"], first["neighbour_class"]} == {"left", "right"}
    assert (first["kind"], first["rank"]) == ("confused", 0)
    assert first["similarity"] == pytest.approx(1.0, abs=1e-4)


def test_without_labels_the_same_picture_twice_is_a_near_duplicate(tmp_path: Path) -> None:
    images = blotches(40)
    images[31] = images[6]
    result = found(saved(tmp_path, images=images), cap=0.99999)
    twice = [row for row in result.rows() if {row["anchor_id"], row["neighbour_id"]} == {6, 31}]
    assert [row["kind"] for row in twice] == ["near-duplicate"]
    assert result.to_dict()["near_duplicate"] == 0.99999
    assert result.to_dict()["false_negatives"] == []
    assert twice[0]["anchor_class"] is None


def test_pictures_of_one_group_are_no_pair(tmp_path: Path) -> None:
    images = blotches(40)
    images[31] = images[6]
    groups = np.arange(40)
    groups[31] = 6
    rows = found(saved(tmp_path, images=images, groups=groups), pairs=20).rows()
    assert rows
    assert all({row["anchor_id"], row["neighbour_id"]} != {6, 31} for row in rows)


def test_the_page_shows_both_pictures_of_every_pair(tmp_path: Path) -> None:
    data = saved(tmp_path, images=blotches(40), labels=np.arange(40) % 2, classes=["<left>", "right"])
    result = found(data, pairs=4, html=tmp_path / "deep" / "page.html")
    page = (tmp_path / "deep" / "page.html").read_text()
    assert page.count("<img") == 2 * len(result.rows())
    assert "http" not in page
    assert "mining.skip_nearest" in page
    assert "&lt;left&gt;" in page
    assert all(row["anchor"] in page for row in result.rows())


def test_files_hold_what_is_printed(tmp_path: Path) -> None:
    data = saved(tmp_path, images=blotches(40), labels=np.arange(40) % 2)
    result = found(data, pairs=4, out=tmp_path / "found")
    read = json.loads((tmp_path / "found" / "confusions.json").read_text())
    assert read == json.loads(json.dumps(result.to_dict()))
    with (tmp_path / "found" / "pairs.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert table == [{name: str(cell) for name, cell in row.items()} for row in result.rows()]
    assert [row["first"] for row in read["false_negatives"]] == [0, 10]
    assert read["chance"] == pytest.approx(19 / 39)
    text = result.to_text()
    assert "0-9" in text
    assert table[0]["anchor"] in text


def test_names_and_labels_stay_right_where_samples_could_not_be_read(tmp_path: Path) -> None:
    for number, pixels in enumerate(blotches(24)):
        folder = tmp_path / "photos" / ("left", "right")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    (tmp_path / "photos" / "left" / "00.png").write_bytes(b"broken")
    result = found(tmp_path / "photos", pairs=6, html=tmp_path / "page.html")
    assert len(result.features) == 23
    for row in result.rows():
        assert row["anchor"].startswith(f"{row['anchor_class']}/")
        assert row["neighbour"].startswith(f"{row['neighbour_class']}/")
        assert result.source[row["anchor_id"]].name == row["anchor"]
    assert "1 images could not be decoded" in result.to_text()
    page = (tmp_path / "page.html").read_text()
    pictures = [io.BytesIO(base64.b64decode(data)) for data in re.findall(r'base64,([^"]+)', page)]
    shown = [np.asarray(Image.open(picture)).mean(axis=(0, 1)) for picture in pictures]  # each has its colour
    colours = blotches(24).mean(axis=(1, 2))
    numbers = [int(Path(row[side]).stem) for row in result.rows() for side in ("anchor", "neighbour")]
    assert [int(np.abs(colours - colour).sum(axis=1).argmin()) for colour in shown] == numbers


def test_groups_stay_right_where_samples_could_not_be_read(tmp_path: Path) -> None:
    lines = []
    for number, pixels in enumerate(blotches(6).repeat(4, axis=0)):  # the same picture four times a clip
        Image.fromarray(pixels).save(tmp_path / f"{number:02d}.png")
        lines.append(f"{number:02d}.png\t\tclip {number // 4}\n")
    (tmp_path / "00.png").write_bytes(b"broken")
    (tmp_path / "list.txt").write_text("".join(lines))
    rows = found(tmp_path / "list.txt", pairs=12, cap=1.0).rows()
    assert rows
    assert all(row["anchor_id"] // 4 != row["neighbour_id"] // 4 for row in rows)


def test_a_picture_that_vanished_is_still_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(tmp_path, images=blotches(20))
    result = found(data, pairs=2)
    monkeypatch.setattr(type(result.source), "__getitem__", lambda self, id: Item(b"gone", f"name {id}"))
    result.draw(tmp_path / "page.html")
    assert "no picture" in (tmp_path / "page.html").read_text()
    assert f"name {result.rows()[0]['anchor_id']}" in (tmp_path / "page.html").read_text()


def test_one_class_alone_is_as_good_as_no_labels(tmp_path: Path) -> None:
    assert not found(saved(tmp_path, images=blotches(20), labels=np.zeros(20, np.int64))).labelled


def test_a_network_that_tells_nothing_apart_is_said_to(tmp_path: Path) -> None:
    result = found(saved(tmp_path, images=np.full((12, 32, 32, 3), 99, np.uint8)))
    assert any("hardly tells its samples apart" in note for note in result.notes)


def test_a_run_knows_its_own_data(
    tmp_path: Path, photos: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    run = pretrain(photos, out=tmp_path / "run", overrides=[*tiny, "batch.size=10"], progress=False)
    own, named = mine(run, progress=False, pairs=3), mine(run, photos, progress=False, pairs=3)
    assert own.rows() == named.rows()
    assert own.to_dict()["model"] == "run"
    assert len(own.features) == 20


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"pairs": 0}, ConfigError, "pairs=0"),
        ({"cap": -1.0}, ConfigError, "cap=-1.0"),
        ({"data": "nowhere"}, DataError, "no 'nowhere'"),
        ({"data": None}, ConfigError, "name DATA after the model"),
    ],
)
def test_what_cannot_be_mined_is_refused(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], named: str
) -> None:
    arguments = {"data": saved(tmp_path, images=blotches(9))} | options
    with pytest.raises(error, match=named):
        mine("net", **arguments, progress=False)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run"):
        mine(tmp_path)


def test_a_class_is_bootstrapped_and_shown(tmp_path: Path) -> None:
    images = blotches(120)
    images[::4, :, :, 0] //= 4
    labels = np.ones(120, np.int64)
    labels[::4] = 0
    data = saved(tmp_path, images=images, labels=labels, classes=["dark", "light"])
    options: dict[str, Any] = {"html": tmp_path / "page.html", "out": tmp_path / "out", "progress": False}
    result = mine_class("net", data, "dark", rounds=3, **options)
    assert json.loads((tmp_path / "out" / "bootstrap.json").read_text()) == result.to_dict()
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img") == sum(min(one.added, 12) for one in result.rounds)
    assert result.rounds[0].added > 0
    assert "Added by round 1" in page
    with pytest.raises(UnknownNameError, match="did you mean 'dark'"):
        mine_class("net", data, "dork", progress=False)
