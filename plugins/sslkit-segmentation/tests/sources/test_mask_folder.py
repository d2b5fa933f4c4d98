"""Folders of images and masks as sources of labelled images."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.contracts import LabelledSource, Refused
from sslkit.errors import DataError
from sslkit.testing.source_kit import check_labelled_source
from sslkit_segmentation.sources.mask_folder import MaskFolderSource

Put = Callable[..., Path]
Make = Callable[..., Path]
IDS = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [1, 1, 0, 255]], np.uint8)


def test_masks_are_targets_and_counts(make: Make) -> None:
    root = make(a=IDS, b=2)
    (root / "classes.json").write_text('["sky", "unlabelled", "road", "car"]')
    source = MaskFolderSource(root)
    assert isinstance(source, LabelledSource)
    check_labelled_source(source)
    assert source.classes == ("sky", "road", "car")
    assert source.target(0).labels.tolist() == [[0, 255, 1, 2], [2, 1, 255, 0], [255, 255, 0, 255]]
    assert source.class_counts().tolist() == [[3, 2, 2], [0, 12, 0]]
    assert source.problems() == []
    assert (source[0].name, source[0].content) == ("images/a.jpg", root / "images" / "a.jpg")
    assert (source.target_kind, source.labels, source.splits) == ("semantic", None, ())


def test_classes_without_names_are_numbers_of_all_splits(put: Put, tmp_path: Path) -> None:
    for split, highest in (("train", 1), ("val", 4)):
        put(f"images/{split}/a.jpg")
        put(f"masks/{split}/a.png", np.array([[0, highest, 255, 0]] * 3, np.uint8))
    train, val = MaskFolderSource(tmp_path), MaskFolderSource(tmp_path, split="val")
    assert train.classes == val.classes == ("0", "1", "2", "3", "4")
    assert val.class_counts().tolist() == [[6, 0, 0, 0, 3]]
    assert MaskFolderSource(tmp_path, split="val", ignore=0).classes == ("1", "2", "3", "4")


def test_colours_become_classes(put: Put, tmp_path: Path) -> None:
    pixels = np.zeros((3, 4, 3), np.uint8)
    pixels[1] = (128, 64, 128)
    put("images/a.jpg")
    put("masks/a.png", pixels)
    (tmp_path / "c.csv").write_text("name,r,g,b\nvoid,0,0,0\nroad,128,64,128\ncar,1,2,3")
    source = MaskFolderSource(tmp_path, colours="c.csv")
    check_labelled_source(source)
    assert source.classes == ("road", "car")
    assert source.target(0).labels[:, 0].tolist() == [255, 0, 255]
    with pytest.raises(
        DataError, match="mode RGB, not ids; say which colour is which class with colours=FILE"
    ):
        MaskFolderSource(tmp_path)


def test_black_and_white_masks_are_told_and_mended_by_colours(make: Make) -> None:
    root = make(a=np.array([[0, 255]] * 2, np.uint8), b=0)
    (line,) = MaskFolderSource(root).problems()
    assert "hold 0 and 255 alone, and 255 is ignored" in line
    assert MaskFolderSource(root, ignore=255).problems() == []
    (root / "c.csv").write_text("rest,0,0,0\nthing,255,255,255")
    source = MaskFolderSource(root, colours="c.csv")
    assert source.problems() == []
    assert source.target(0).labels.tolist() == [[0, 1], [0, 1]]


def spoil(root: Path, put: Put, fault: str) -> None:
    """Give image b a fault."""
    mask, image = root / "masks" / "b.png", root / "images" / "b.jpg"
    if fault == "missing":
        mask.unlink()
    elif fault == "two":
        put("masks/b.bmp", np.zeros((3, 4), np.uint8))
    elif fault == "size":
        put("masks/b.png", np.zeros((4, 3), np.uint8))
    elif fault == "id":
        put("masks/b.png", np.full((3, 4), 7, np.uint8))
    elif fault == "cut":
        mask.write_bytes(mask.read_bytes()[:40])
    elif fault == "rgb":
        put("masks/b.png", np.zeros((3, 4, 3), np.uint8))
    elif fault == "jpeg":
        mask.unlink()
        put("masks/b.jpg", np.zeros((3, 4), np.uint8))
    elif fault == "image":
        image.write_bytes(b"")
    elif fault in ("lying", "upside down"):
        put("images/b.jpg", orientation=6 if fault == "lying" else 3)
    elif fault == "link":
        outside = root.parent / f"{root.name} outside.png"
        mask.rename(outside)
        mask.symlink_to(outside)
    elif fault == "image link":
        outside = root.parent / f"{root.name} outside.jpg"
        image.rename(outside)
        image.symlink_to(outside)


@pytest.mark.parametrize(
    ("fault", "file", "said"),
    [
        ("missing", "images/b.jpg", "has no mask of its stem in masks"),
        ("two", "images/b.jpg", r"has 2 masks \(masks/b\.bmp, masks/b\.png\)"),
        ("size", "masks/b.png", r"has 3 x 4 pixels, the image has 4 x 3: images/b\.jpg"),
        ("id", "masks/b.png", r"holds ids 7 that no class has; ids are 0\.\.1"),
        ("cut", "masks/b.png", "not readable as an image"),
        ("rgb", "masks/b.png", "mode RGB, not ids"),
        ("jpeg", "masks/b.jpg", "is a JPEG"),
        ("image", "images/b.jpg", "not readable as an image"),
        ("lying", "images/b.jpg", r"EXIF turns it \(orientation 6\)"),
        ("upside down", "images/b.jpg", r"EXIF turns it \(orientation 3\)"),
        ("link", "masks/b.png", "is a link that leaves the folder"),
        ("image link", "images/b.jpg", "is a link that leaves the folder"),
    ],
)
def test_each_fault_is_named_and_leaves_no_target(
    make: Make, put: Put, fault: str, file: str, said: str
) -> None:
    root = make(a=0, b=1)
    (root / "classes.txt").write_text("sky\nroad")
    spoil(root, put, fault)
    source = MaskFolderSource(root)
    (line,) = source.problems()
    assert line.startswith(f"{root / file}: ")
    with pytest.raises(DataError, match=said) as raised:
        source.target(1)
    assert str(raised.value) == line
    assert source.class_counts().tolist() == [[12, 0], [0, 0]]
    assert source.target(0).labels.unique().tolist() == [0]
    assert isinstance(source[1].content, Refused) == (fault == "image link")
    assert len(source) == 2  # still an image to pretrain on


def test_a_lying_image_whose_mask_stands_is_sound(make: Make, put: Put) -> None:
    root = make(a=np.zeros((4, 3), np.uint8), b=1)
    put("images/a.jpg", (4, 3), orientation=6)
    source = MaskFolderSource(root)
    assert source.problems() == []
    assert source.target(0).labels.shape == (4, 3)


def test_a_mask_without_an_image_is_told(make: Make, put: Put) -> None:
    root = make(a=0, b=1)
    put("masks/z.png", IDS[:, :2])
    source = MaskFolderSource(root)
    assert source.problems() == [f"{root / 'masks/z.png'}: is a mask, but no image has its stem"]


def test_every_mask_is_read_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(a=0, b=1)
    (root / "classes.txt").write_text("sky\nroad")
    source, opened = MaskFolderSource(root), []
    before = Image.open
    monkeypatch.setattr(Image, "open", lambda path, **rest: opened.append(path) or before(path, **rest))
    source.problems()
    source.class_counts()[0] = 99
    assert source.class_counts().tolist() == [[12, 0], [0, 12]]
    assert sorted(opened) == sorted(
        root / part for part in ("images/a.jpg", "images/b.jpg", "masks/a.png", "masks/b.png")
    )
    assert pickle.loads(pickle.dumps(source)).problems() == []
    assert len(opened) == 4


def test_the_fingerprint_follows_what_is_there(make: Make, put: Put) -> None:
    root = make(a=0, b=1)
    first = MaskFolderSource(root)
    moved = root.rename(root.with_name(f"{root.name} moved"))
    assert MaskFolderSource(moved).fingerprint == first.fingerprint
    assert MaskFolderSource(moved, ignore=1).fingerprint != first.fingerprint
    (moved / "classes.txt").write_text("sky\nroad")
    assert MaskFolderSource(moved).fingerprint != first.fingerprint
    (moved / "classes.txt").unlink()
    (moved / "images" / "b.jpg").rename(moved / "images" / "c.jpg")
    assert MaskFolderSource(moved).fingerprint != first.fingerprint
    (moved / "images" / "c.jpg").rename(moved / "images" / "b.jpg")
    assert MaskFolderSource(moved).fingerprint == first.fingerprint
    Image.fromarray(np.full((3, 4), 0, np.uint8)).save(moved / "masks" / "b.png")
    assert MaskFolderSource(moved).fingerprint != first.fingerprint


def test_targets_do_not_share_memory(make: Make) -> None:
    source = MaskFolderSource(make(a=0, b=1))
    source.target(0).labels[:] = 9
    assert source.target(0).labels.unique().tolist() == [0]
