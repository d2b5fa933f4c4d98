"""YOLO folders as sources of labelled images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sslkit.contracts import LabelledSource
from sslkit.errors import ConfigError, DataError, UnknownNameError
from sslkit_detection.sources.coco import CocoSource
from sslkit_detection.sources.yolo import YoloSource

Picture = Callable[..., Path]


def yolo(folder: Path, picture: Picture, **texts: str | None) -> Path:
    """images/KEY.jpg of 40 x 30 and labels/KEY.txt for each keyword; None writes no text file."""
    (folder / "labels").mkdir(exist_ok=True)
    for key, text in texts.items():
        picture(f"images/{key}.jpg")
        if text is not None:
            (folder / "labels" / f"{key}.txt").write_text(text)
    return folder


def test_lines_are_shares_of_the_sides(tmp_path: Path, picture: Picture) -> None:
    root = yolo(tmp_path, picture, a="1 0.5 0.5 1 1\n\n0 0.25 0.5 0.5 0.2\n", b="", c=None)
    source = YoloSource(root, classes=["cat", "dog"])
    assert isinstance(source, LabelledSource)
    target = source.target(0)
    assert target.labels.tolist() == [1, 0]
    assert target.boxes.tolist() == [
        [0.0, 0.0, 40.0, 30.0],
        [0.0, pytest.approx(12.0), 20.0, pytest.approx(18.0)],
    ]
    assert target.crowd is not None
    assert not target.crowd.any()
    assert (len(source.target(1)), len(source.target(2)), target.areas) == (0, 0, None)
    assert source.problems() == []
    assert source.class_counts().tolist() == [[1, 1], [0, 0], [0, 0]]
    assert (source.classes, source.target_kind, source.labels) == (("cat", "dog"), "boxes", None)


def test_shares_are_of_the_upright_image(tmp_path: Path, picture: Picture) -> None:
    root = yolo(tmp_path, picture, a="0 0.5 0.5 1 1")
    picture("images/a.jpg", (40, 30), orientation=6)
    assert YoloSource(root).target(0).boxes.tolist() == [[0.0, 0.0, 30.0, 40.0]]


def test_outlines_are_boxes_and_masks(
    tmp_path: Path, picture: Picture, make_coco: Callable[..., Path]
) -> None:
    text = "0 0.1 0.2 0.9 0.2 0.5 0.8\n"
    source = YoloSource(yolo(tmp_path, picture, a=text), masks=True)
    target = source.target(0)
    assert target.boxes.tolist() == [[4.0, 6.0, 36.0, 24.0]]
    polygon = [4.0, 6.0, 36.0, 6.0, 20.0, 24.0]
    expected = CocoSource(make_coco({"segmentation": [polygon]}), masks=True).target(0).masks
    assert target.masks is not None
    assert expected is not None
    assert torch.equal(target.masks, expected)
    assert source.problems() == []
    boxes = YoloSource(tmp_path)
    assert (boxes.target_kind, source.target_kind) == ("boxes", "masks")
    assert boxes.target(0).boxes.tolist() == target.boxes.tolist()
    assert boxes.fingerprint != source.fingerprint


def test_a_box_has_no_mask(tmp_path: Path, picture: Picture) -> None:
    source = YoloSource(yolo(tmp_path, picture, a="0 0.5 0.5 1 1"), masks=True)
    with pytest.raises(DataError, match="line 1: is a box, not an outline, so it has no mask"):
        source.target(0)


@pytest.mark.parametrize(
    ("name", "text", "classes"),
    [
        ("data.yaml", "path: ../elsewhere\ntrain: /etc\nnames: [cat, dog]\n", ("cat", "dog")),
        ("data.yaml", "names:\n  1: dog\n  0: cat\n  2: owl\n", ("cat", "dog", "owl")),
        ("classes.txt", "cat\r\ndog\n\n", ("cat", "dog")),
        ("other.txt", "", ("0", "1", "2")),
    ],
)
def test_class_names_come_from_the_folder(
    tmp_path: Path, picture: Picture, name: str, text: str, classes: tuple[str, ...]
) -> None:
    root = yolo(tmp_path, picture, a="1 0.5 0.5 1 1", b="2 0.5 0.5 1 1" if len(classes) == 3 else "")
    (root / name).write_text(text)
    assert YoloSource(root).classes == classes


@pytest.mark.parametrize(
    "text", ["names: 3", "- a", "names: {0: a, 2: b}", "names: []", "names: [a", "names: !!python/x 1"]
)
def test_a_broken_data_yaml_is_refused(tmp_path: Path, picture: Picture, text: str) -> None:
    root = yolo(tmp_path, picture, a="")
    (root / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=r"data\.yaml: "):
        YoloSource(root)


@pytest.mark.parametrize("pattern", ["{part}/{split}/{name}", "{split}/{part}/{name}"])
def test_splits_are_folders_in_either_order(tmp_path: Path, picture: Picture, pattern: str) -> None:
    for split, name, label in [("train", "a", 0), ("train", "b", 1), ("val", "c", 2)]:
        picture(pattern.format(part="images", split=split, name=f"{name}.png"))
        file = tmp_path / pattern.format(part="labels", split=split, name=f"{name}.txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{label} 0.5 0.5 0.5 0.5")
    picture("overview.png")
    train, val = YoloSource(tmp_path), YoloSource(tmp_path, split="val")
    assert train.splits == val.splits == ("train", "val")
    assert (len(train), len(val)) == (2, 1)
    assert train.classes == val.classes == ("0", "1", "2")  # numbers of all splits
    assert [train.target(1).labels.tolist(), val.target(0).labels.tolist()] == [[1], [2]]
    with pytest.raises(UnknownNameError, match="unknown split 'valid'; did you mean 'val'"):
        YoloSource(tmp_path, split="valid")


def test_text_files_may_lie_beside_images(tmp_path: Path, picture: Picture) -> None:
    picture("a.jpg")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 1 1")
    source = YoloSource(tmp_path)
    assert (len(source), source.splits, len(source.target(0))) == (1, (), 1)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("0 0.5 0.5 1.2 1", "box .* leaves the image of 40 x 30 by 4.0 pixels"),
        ("0 0.5 0.5 0 1", "has no area"),
        ("0 0.5 0.5 -0.5 1", "ends before it begins"),
        ("0 nan 0.5 0.5 1", "not finite"),
        ("2 0.5 0.5 0.5 1", r"class 2; with 2 classes they are 0\.\.1"),
        ("-1 0.5 0.5 0.5 1", "class -1; classes are whole numbers"),
        ("0.5 0.5 0.5 0.5 1", "class 0.5; classes are whole numbers"),
        ("1e30 0.5 0.5 0.5 1", "class 1e30; classes are whole numbers"),
        ("cat 0.5 0.5 0.5 1", "something else than numbers: 'cat 0.5"),
        ("0 0.5 0.5 0.5", "3 numbers after the class; expected 4"),
        ("0 0.5 0.5 0.5 0.5 0.9", "5 numbers after the class"),
        ("0", "0 numbers after the class"),
        ("\x00\x01", "something else than numbers"),
    ],
)
def test_each_fault_of_a_line_is_named_and_leaves_no_target(
    tmp_path: Path, picture: Picture, line: str, fault: str
) -> None:
    root = yolo(tmp_path, picture, a=f"0 0.5 0.5 1 1\n{line}\n", b="1 0.5 0.5 1 1")
    source = YoloSource(root, classes=["cat", "dog"])
    (said,) = source.problems()
    assert said.startswith(f"{root / 'labels' / 'a.txt'}, image 'images/a.jpg'")
    assert "line 2: " in said
    with pytest.raises(DataError, match=fault) as raised:
        source.target(0)
    assert str(raised.value) == said
    assert source.target(1).labels.tolist() == [1]
    assert source.class_counts()[1].tolist() == [0, 1]  # a class above the last is not the next image's first


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path, picture: Picture) -> None:
    root = yolo(tmp_path, picture, a="0 0.5 0.5 1 1")
    (root / "images" / "a.jpg").write_bytes(b"")
    source = YoloSource(root)
    (line,) = source.problems()
    assert "not readable as an image" in line
    with pytest.raises(DataError, match="has no size, and not readable"):
        source.target(0)


def test_fingerprint_follows_content_not_place(tmp_path: Path, picture: Picture) -> None:
    first = YoloSource(yolo(tmp_path, picture, a="0 0.5 0.5 1 1"), classes=["cat"])
    assert YoloSource(tmp_path, classes=["dog"]).fingerprint != first.fingerprint
    (tmp_path / "moved").mkdir()
    for name in ("images", "labels"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    assert YoloSource(tmp_path / "moved", classes=["cat"]).fingerprint == first.fingerprint
    (tmp_path / "moved" / "labels" / "a.txt").write_text("0 0.5 0.5 1 0.9")
    assert YoloSource(tmp_path / "moved", classes=["cat"]).fingerprint != first.fingerprint


def test_what_is_no_yolo_folder_is_refused(tmp_path: Path, picture: Picture) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match=r"holds no images|is no folder"):
            YoloSource(folder)
    with pytest.raises(ConfigError, match="give a list of names"):
        YoloSource(yolo(tmp_path, picture, a=""), classes="cat")
