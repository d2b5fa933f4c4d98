"""Which folders of masks are recognised, and which are taken for something else."""

from __future__ import annotations

import importlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from sslkit_segmentation import plugin
from sslkit_segmentation.sources.mask_folder import MaskFolderSource
from sslkit_segmentation.tasks import SEGMENTATION, recognise_segmentation


def picture(path: Path, *, grey: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((8, 8) if grey else (8, 8, 3), np.uint8)
    pixels[:4] = 1
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images/1.png", "masks/1.png"),
        ("images/1.png", "labels/1.png"),
        ("JPEGImages/1.png", "SegmentationClass/1.png"),
        ("images/train/1.png", "labels/train/1.png"),
        ("train/images/1.png", "train/masks/1.png"),
    ],
)
def test_masks_beside_images_are_found_and_can_be_opened(tmp_path: Path, images: str, masks: str) -> None:
    picture(tmp_path / images)
    picture(tmp_path / masks, grey=True)
    measured = recognise_segmentation(tmp_path)
    assert measured is not None
    assert (measured.data, measured.test) == (f"masks:{tmp_path}", None)
    source = MaskFolderSource(tmp_path)
    assert len(source) == 1
    assert source.problems() == []


def test_masks_of_colours_have_no_ids_and_are_left(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "1.png")
    picture(tmp_path / "masks" / "1.png")
    assert recognise_segmentation(tmp_path) is None


def test_text_files_in_labels_are_no_masks(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "1.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "1.txt").write_text("0 .5 .5 .1 .1")
    assert recognise_segmentation(tmp_path) is None


def test_a_folder_of_sets_is_not_taken_for_one(tmp_path: Path) -> None:
    picture(tmp_path / "scenes" / "images" / "1.png")
    picture(tmp_path / "scenes" / "masks" / "1.png", grey=True)
    picture(tmp_path / "boxes" / "images" / "2.png")
    assert recognise_segmentation(tmp_path) is None
    assert recognise_segmentation(tmp_path / "scenes") is not None


def test_the_procedural_measurement_names_a_head_and_a_protocol_of_this_package() -> None:
    measured = SEGMENTATION.procedural
    assert measured is not None
    assert measured.synthetic
    assert measured.protocol in plugin.sslkit_protocols()
    package, _, path = plugin.sslkit_protocols()[measured.protocol].partition(":")
    protocol = yaml.safe_load((files(package) / path).read_text("utf-8"))
    assert protocol["head"] == measured.head in plugin.sslkit_heads()
    assert protocol["mode"] == "frozen"
    assert protocol["training"]["cache"] is True
    module, _, name = plugin.sslkit_tasks()["segmentation"].partition(":")
    assert getattr(importlib.import_module(module), name) is SEGMENTATION


@pytest.mark.parametrize("place", ["missing", "empty", "file"])
def test_nothing_is_found_where_nothing_is_and_nothing_is_raised(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert recognise_segmentation(tmp_path / place) is None
