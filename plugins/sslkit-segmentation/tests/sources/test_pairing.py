"""Which mask belongs to which image, in the layouts people use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sslkit.errors import DataError, UnknownNameError
from sslkit_segmentation.sources.pairing import Pair, Pairing, paired

Put = Callable[..., Path]


def look(root: Path, **options: str | None) -> Pairing:
    return paired(root, **({"split": None, "images": None, "masks": None} | options))


@pytest.mark.parametrize("pattern", ["{part}/{split}/{name}", "{split}/{part}/{name}"])
def test_splits_are_folders_in_either_order(tmp_path: Path, put: Put, pattern: str) -> None:
    for split, name in [("val", "c"), ("train", "b"), ("train", "a")]:
        put(pattern.format(part="images", split=split, name=f"{name}.jpg"))
        put(pattern.format(part="labels", split=split, name=f"{name}.png"))
    train, val = look(tmp_path), look(tmp_path, split="val")
    assert train.splits == val.splits == ("train", "val")
    image, mask = (pattern.format(part=part, split="train", name="a") for part in ("images", "labels"))
    assert train.pairs[0] == Pair(f"{image}.jpg", (f"{mask}.png",))
    assert (len(train.pairs), len(val.pairs), len(train.every)) == (2, 1, 3)
    with pytest.raises(UnknownNameError, match="unknown split 'test'"):
        look(tmp_path, split="test")


@pytest.mark.parametrize("images", ["Images", "JPEGImages", "imgs"])
@pytest.mark.parametrize("masks", ["SegmentationClass", "annotations", "Masks"])
def test_folders_of_known_names_are_found(tmp_path: Path, put: Put, images: str, masks: str) -> None:
    put(f"{images}/a.jpg")
    put(f"{masks}/a.png")
    found = look(tmp_path)
    assert found.pairs == (Pair(f"{images}/a.jpg", (f"{masks}/a.png",)),)
    assert found.splits == ()


def test_folders_of_boxes_are_not_those_of_masks(tmp_path: Path, put: Put) -> None:
    put("JPEGImages/a.jpg")
    put("SegmentationClass/a.png")
    for name in ("Annotations/a.xml", "labels/a.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert look(tmp_path).pairs[0].masks == ("SegmentationClass/a.png",)


def test_folders_of_other_names_are_given(tmp_path: Path, put: Put) -> None:
    put("photos/a.jpg")
    put("truth/ids/a.png")
    assert look(tmp_path, images="photos", masks="truth/ids").pairs[0].masks == ("truth/ids/a.png",)
    with pytest.raises(
        DataError, match="no folder of images, such as 'images'; say which it is with images="
    ):
        look(tmp_path)
    with pytest.raises(DataError, match="masks=nowhere: no such folder"):
        look(tmp_path, images="photos", masks="nowhere")


def test_folders_inside_are_part_of_the_stem_and_no_splits(tmp_path: Path, put: Put) -> None:
    for city in ("ulm", "bonn"):
        put(f"images/{city}/0.jpg")
        put(f"masks/{city}/0.png")
    found = look(tmp_path)
    assert found.splits == ()
    assert [pair.masks for pair in found.pairs] == [("masks/bonn/0.png",), ("masks/ulm/0.png",)]


def test_what_has_no_partner_is_told_and_other_splits_are_left(tmp_path: Path, put: Put) -> None:
    put("images/train/a.jpg")
    put("images/val/b.jpg")
    for name in ("train/a.png", "train/a.bmp", "train/z.png", "val/y.png"):
        put(f"masks/{name}")
    found = look(tmp_path)
    assert found.pairs == (Pair("images/train/a.jpg", ("masks/train/a.bmp", "masks/train/a.png")),)
    assert found.lonely == ("masks/train/z.png",)
    other = look(tmp_path, split="val")
    assert (other.pairs[0].masks, other.lonely) == ((), ("masks/val/y.png",))


def test_what_is_no_such_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        look(tmp_path / "none")
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    with pytest.raises(DataError, match="holds no images in images"):
        look(tmp_path)


def test_a_folder_elsewhere_is_refused(tmp_path: Path, put: Put) -> None:
    put("elsewhere/a.png")
    put("data/images/a.jpg")
    (tmp_path / "data" / "masks").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="masks: leaves the folder"):
        look(tmp_path / "data")
    with pytest.raises(DataError, match="elsewhere: leaves the folder"):
        look(tmp_path / "data", masks="../elsewhere")
