"""Which annotations of boxes are recognised, and which files are taken for none."""

from __future__ import annotations

import importlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from sslkit_detection import plugin
from sslkit_detection.sources.coco import CocoSource
from sslkit_detection.sources.voc import VocSource
from sslkit_detection.sources.yolo import YoloSource
from sslkit_detection.tasks import DETECTION, recognise_detection


def write(path: Path, text: str | bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def coco(path: Path, **more: Any) -> Path:
    """A COCO file of one picture, which lies in `images` above."""
    image = {"id": 1, "file_name": "1.jpg", "width": 8, "height": 8}
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}
    whole = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "thing"}], **more}
    return write(path, json.dumps(whole))


XML = (
    "<annotation><object><name>cat</name>"
    "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></object></annotation>"
)


def found(folder: Path) -> tuple[str, str | None] | None:
    measured = recognise_detection(folder)
    return None if measured is None else (measured.data, measured.test)


def test_a_single_coco_file_is_found_beside_files_that_are_none(tmp_path: Path) -> None:
    file = coco(tmp_path / "boxes.json")
    write(tmp_path / "images" / "1.jpg")
    write(tmp_path / "classes.json", '["cat", "dog"]')
    write(tmp_path / "notes.json", '{"images": 3, "annotations": []}')
    assert found(tmp_path) == (str(file), None)
    assert CocoSource(file).classes == ("thing",)


def test_a_large_coco_file_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    file = coco(tmp_path / "boxes.json", info={"text": "x" * 70_000})
    assert file.stat().st_size > 1 << 16
    assert found(tmp_path) == (str(file), None)
    write(file, '{"a": "' + "x" * 70_000 + '"}')
    assert found(tmp_path) is None


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("annotations/instances_train2017.json", "annotations/instances_val2017.json"),
        ("annotations/train.json", "annotations/test.json"),
        ("boxes_train.json", "boxes_test.json"),
        ("train/_annotations.coco.json", "valid/_annotations.coco.json"),
    ],
)
def test_files_of_training_and_test_are_told_apart(tmp_path: Path, train: str, test: str) -> None:
    coco(tmp_path / test)
    coco(tmp_path / train)
    if "instances" in train:
        coco(tmp_path / "annotations" / "captions_train2017.json")
    assert found(tmp_path) == (str(tmp_path / train), str(tmp_path / test))


def test_the_whole_training_set_comes_before_a_part_of_it_and_test_before_val(tmp_path: Path) -> None:
    for name in ("train100", "train", "val", "test", "all"):
        coco(tmp_path / "annotations" / f"{name}.json")
    places = tmp_path / "annotations"
    assert found(tmp_path) == (str(places / "train.json"), str(places / "test.json"))


def test_of_several_coco_files_without_a_training_set_none_is_taken(tmp_path: Path) -> None:
    coco(tmp_path / "a.json")
    coco(tmp_path / "b.json")
    assert found(tmp_path) is None


@pytest.mark.parametrize("place", ["Annotations/1.xml", "1.xml", "train/1.xml"])
def test_xml_files_are_those_of_voc(tmp_path: Path, place: str) -> None:
    write(tmp_path / place, XML)
    assert found(tmp_path) == (f"voc:{tmp_path}", None)
    assert list(VocSource(tmp_path).classes) == ["cat"]


def test_xml_of_something_else_is_none_of_boxes(tmp_path: Path) -> None:
    write(tmp_path / "1.xml", "<html></html>")
    assert found(tmp_path) is None


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("images/1.jpg", "labels/1.txt"),
        ("images/train/1.jpg", "labels/train/1.txt"),
        ("train/images/1.jpg", "train/labels/1.txt"),
        ("1.jpg", "1.txt"),
    ],
)
@pytest.mark.parametrize("line", ["0 0.5 0.5 0.2 0.2\n", "3 .1 .1 .4 .1 .4 .4\n"])
def test_text_files_of_numbers_are_those_of_yolo(tmp_path: Path, image: str, text: str, line: str) -> None:
    write(tmp_path / image)
    write(tmp_path / text, line)
    assert found(tmp_path) == (f"yolo:{tmp_path}", None)
    assert len(YoloSource(tmp_path)) == 1


def test_an_empty_text_file_does_not_hide_the_others(tmp_path: Path) -> None:
    for name in ("1", "2"):
        write(tmp_path / "images" / f"{name}.jpg")
        write(tmp_path / "labels" / f"{name}.txt", "" if name == "1" else "0 0.5 0.5 0.2 0.2")
    assert found(tmp_path) == (f"yolo:{tmp_path}", None)


@pytest.mark.parametrize("text", ["images/1.jpg\tcat\n", "a picture of a cat", "1.5 0.5 0.5 0.2 0.2"])
def test_other_text_beside_images_is_none_of_boxes(tmp_path: Path, text: str) -> None:
    write(tmp_path / "images" / "1.jpg")
    write(tmp_path / "labels" / "1.txt", text)
    assert found(tmp_path) is None


def test_masks_and_class_folders_are_none_of_boxes(tmp_path: Path) -> None:
    for name in ("images/1.jpg", "labels/1.png", "cat/1.jpg", "dog/1.jpg", "dog/readme.txt"):
        write(tmp_path / name)
    assert found(tmp_path) is None


def test_the_procedural_measurement_names_a_head_and_a_protocol_of_this_package() -> None:
    measured = DETECTION.procedural
    assert measured is not None
    assert measured.synthetic
    assert measured.protocol in plugin.sslkit_protocols()
    package, _, path = plugin.sslkit_protocols()[measured.protocol].partition(":")
    protocol = yaml.safe_load((files(package) / path).read_text("utf-8"))
    assert protocol["head"] == measured.head in plugin.sslkit_heads()
    assert protocol["mode"] == "frozen"
    assert protocol["training"]["cache"] is True
    module, _, name = plugin.sslkit_tasks()["detection"].partition(":")
    assert getattr(importlib.import_module(module), name) is DETECTION


@pytest.mark.parametrize("place", ["missing", "empty", "file"])
def test_nothing_is_found_where_nothing_is_and_nothing_is_raised(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert recognise_detection(tmp_path / place) is None
