"""COCO JSON as a source of labelled images."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sslkit.contracts import LabelledSource, Objects, Refused
from sslkit.errors import DataError, UnknownNameError
from sslkit_detection.sources.coco import CocoSource

MakeCoco = Callable[..., Path]
Picture = Callable[..., Path]


def column(objects: Objects, name: str) -> Any:
    value = getattr(objects, name)
    return None if value is None else value.tolist()


def test_boxes_labels_crowds_and_areas_are_those_of_the_file(make_coco: MakeCoco) -> None:
    path = make_coco(
        {"bbox": [1.5, 2, 10, 5.25], "area": 31.5}, {"category_id": 9, "bbox": [0, 0, 40, 30], "iscrowd": 1}
    )
    source = CocoSource(path)
    assert isinstance(source, LabelledSource)
    assert source.classes == ("cat", "dog")  # by id, and ids have gaps
    assert (len(source), source.target_kind, source.labels, source.splits) == (2, "boxes", None, ())
    target = source.target(0)
    assert target.boxes.dtype == torch.float32
    assert target.labels.dtype == torch.int64
    assert column(target, "boxes") == [[1.5, 2.0, 11.5, 7.25], [0.0, 0.0, 40.0, 30.0]]
    assert column(target, "labels") == [0, 1]
    assert column(target, "crowd") == [False, True]
    assert column(target, "areas") == [31.5, 1200.0]
    assert target.masks is None
    assert source.problems() == []
    assert source.class_counts().tolist() == [[1, 1], [0, 0]]
    assert source.class_counts().dtype == np.int64


def test_images_without_objects_stay(make_coco: MakeCoco) -> None:
    source = CocoSource(make_coco({}))
    target = source.target(1)
    assert target.boxes.shape == (0, 4)
    assert len(target.labels) == 0
    assert source[1].name == "b.jpg"
    assert source[1].label is None


def test_a_source_of_masks_says_so_and_is_another_source(make_coco: MakeCoco) -> None:
    path = make_coco({"segmentation": [[2, 3, 30, 5, 12.5, 25]]})
    boxes, masks = CocoSource(path), CocoSource(path, masks=True)
    assert (boxes.target_kind, masks.target_kind) == ("boxes", "masks")
    assert boxes.fingerprint != masks.fingerprint
    empty = masks.target(1).masks
    assert empty is not None
    assert empty.shape == (0, 30, 40)


def test_fingerprint_follows_content_not_place(tmp_path: Path, make_coco: MakeCoco) -> None:
    first = CocoSource(make_coco({})).fingerprint
    (tmp_path / "annotations").rename(tmp_path / "moved")
    assert CocoSource(tmp_path / "moved" / "set.json").fingerprint == first
    assert CocoSource(make_coco({"bbox": [1, 2, 10, 6]})).fingerprint != first


def test_the_folder_of_images_is_found_or_given(
    tmp_path: Path, make_coco: MakeCoco, picture: Picture
) -> None:
    path = make_coco({})
    image = tmp_path / "images" / "a.jpg"
    assert CocoSource(path)[0].content == image
    picture("elsewhere/b.jpg")
    assert CocoSource(path, images=str(tmp_path / "elsewhere"))[0].content == tmp_path / "elsewhere" / "a.jpg"
    assert CocoSource(path, images="../elsewhere")[1].content == path.parent / "../elsewhere/b.jpg"
    with pytest.raises(DataError, match=r"images=nowhere: no such folder"):
        CocoSource(path, images="nowhere")
    (tmp_path / "images").rename(tmp_path / "set")  # as COCO's own val2017 beside instances_val2017.json
    assert CocoSource(path)[0].content == tmp_path / "set" / "a.jpg"
    (tmp_path / "set").rename(tmp_path / "lost")
    with pytest.raises(
        DataError, match=r"none of its first 2 images, such as 'a\.jpg', is in .*images=FOLDER"
    ):
        CocoSource(path)


def test_a_folder_of_files_is_divided_into_splits(tmp_path: Path, make_coco: MakeCoco) -> None:
    whole = make_coco({})
    text = whole.read_text()
    (tmp_path / "annotations" / "instances_train.json").write_text(text)
    whole.rename(tmp_path / "annotations" / "val.json")
    assert CocoSource(tmp_path).splits == ("train", "val")
    assert CocoSource(tmp_path).path.name == "instances_train.json"
    assert CocoSource(tmp_path, split="val").path.name == "val.json"
    with pytest.raises(UnknownNameError, match="unknown split 'vall'; did you mean 'val'"):
        CocoSource(tmp_path, split="vall")
    with pytest.raises(UnknownNameError, match="one set"):
        CocoSource(tmp_path / "annotations" / "val.json", split="val")
    with pytest.raises(DataError, match="holds no JSON"):
        CocoSource(tmp_path / "images")


@pytest.mark.parametrize(
    ("annotation", "fault"),
    [
        ({"bbox": [30, 2, 12.5, 5]}, r"box \(30, 2, 42.5, 7\) leaves the image of 40 x 30 by 2.5 pixels"),
        ({"bbox": [-3, 2, 10, 5]}, "leaves the image of 40 x 30 by 3.0 pixels"),
        ({"bbox": [1, 2, 0, 5]}, "has no area"),
        ({"bbox": [10, 2, -4, 5]}, "ends before it begins"),
        ({"bbox": [1, math.nan, 4, 5]}, "holds a number that is not finite"),
        ({"bbox": [1, 2, math.inf, 5]}, "holds a number that is not finite"),
        ({"bbox": [1, 2, 10]}, "bbox is not four numbers x, y, width, height"),
        ({"bbox": [1, 2, "3", 4]}, "bbox is not four numbers"),
        ({"category_id": 6}, "its category_id 6 is no category"),
    ],
)
def test_each_fault_of_a_box_is_named_and_leaves_no_target(
    make_coco: MakeCoco, annotation: dict[str, Any], fault: str
) -> None:
    source = CocoSource(make_coco({}, annotation))
    (line,) = source.problems()
    assert line.startswith(f"{source.path}, image 'a.jpg'")
    assert "annotation 102" in line
    with pytest.raises(DataError, match=fault) as raised:
        source.target(0)
    assert str(raised.value) == line
    assert len(source.target(1)) == 0
    assert source.class_counts().sum() in (1, 2)


def test_what_leaves_the_image_by_a_pixel_or_less_is_clipped(make_coco: MakeCoco) -> None:
    source = CocoSource(make_coco({"bbox": [-0.5, -1, 41.5, 31.9]}))
    assert source.problems() == []
    assert column(source.target(0), "boxes") == [[0.0, 0.0, 40.0, 30.0]]


def test_faults_of_the_set_are_named(make_coco: MakeCoco) -> None:
    images = [
        {"id": 10, "file_name": "a.jpg", "width": 40, "height": 30},
        {"id": 10, "file_name": "b.jpg", "width": 40, "height": 30},
        {"id": 30, "file_name": "a.jpg", "width": 40, "height": 30},
        {"id": 40},
        "c.jpg",
    ]
    categories = [
        {"id": 5, "name": "cat"},
        {"id": 5, "name": "dog"},
        {"id": 7, "name": "cat"},
        {"name": "owl"},
    ]
    path = make_coco({"id": 1}, {"id": 1}, {"image_id": 77}, images=images, categories=categories)
    source = CocoSource(path)
    lines = source.problems()
    assert all(line.startswith(f"{path}: ") for line in lines)
    assert {line.removeprefix(f"{path}: ") for line in lines} == {
        "category 5: its id is given twice",
        "category 4: needs a whole number 'id' and a text 'name'",
        "categories: the name 'cat' is given twice",
        "entry 5 of 'images' is no mapping",
        "image 'b.jpg': its id 10 is that of 'a.jpg' too",
        "image 'a.jpg': is listed twice, the second time with id 30",
        "image 4: needs a whole number 'id' and a text 'file_name'",
        "annotation 1: its id is given twice",
        "annotation 103: its image_id 77 is that of no image",
    }
    assert source.classes == ("cat (5)", "cat (7)")
    assert len(source.target(0)) == 2


def test_a_file_that_is_missing_damaged_or_of_another_size_is_named(
    tmp_path: Path, make_coco: MakeCoco, picture: Picture
) -> None:
    names = ["a.jpg", "gone.jpg", "broken.jpg", "large.jpg", "lying.jpg", "upright.jpg"]
    images = [{"id": id, "file_name": name, "width": 40, "height": 30} for id, name in enumerate(names)]
    path = make_coco(images=images)
    (tmp_path / "images" / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    picture("images/large.jpg", (41, 30))
    picture("images/lying.jpg", (40, 30), orientation=6)
    picture("images/upright.jpg", (30, 40), orientation=6)  # shown as 40 x 30
    lines = CocoSource(path).problems()
    assert [line.partition("image ")[2].partition(":")[0] for line in lines] == [
        f"'{name}'" for name in names[1:5]
    ]
    for line, fault in zip(
        lines,
        [
            "no such image file",
            "not readable as an image",
            "the file has 41 x 30 pixels",
            "EXIF turns it to 30 x 40",
        ],
        strict=True,
    ):
        assert fault in line


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "x/../../a.jpg", "..\\a.jpg", "C:\\a.jpg", ""]
)
def test_a_name_that_leaves_the_folder_is_not_followed(make_coco: MakeCoco, name: str) -> None:
    images = [{"id": 10, "file_name": name, "width": 40, "height": 30}, {"id": 20, "file_name": "b.jpg"}]
    source = CocoSource(make_coco({}, images=images))
    content = source[0].content
    assert isinstance(content, Refused)
    assert "path" in content.reason
    (line,) = source.problems()
    assert f"image '{name}'" in line


def test_a_size_that_the_file_does_not_say_is_read_from_the_image(
    make_coco: MakeCoco, picture: Picture
) -> None:
    path = make_coco(
        {"bbox": [0, 0, 30, 40]},
        {"image_id": 20},
        images=[{"id": 10, "file_name": "a.jpg"}, {"id": 20, "file_name": "c"}],
    )
    picture("images/a.jpg", (40, 30), orientation=8)
    source = CocoSource(path)
    assert column(source.target(0), "boxes") == [[0.0, 0.0, 30.0, 40.0]]  # of the upright image
    with pytest.raises(DataError, match="has no size, and no such image file"):
        source.target(1)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"images": [}', r"line 1, column 13: broken JSON"),
        ('{"images":\n [{"id": 1,', r"line 2, column 12: broken JSON"),
        ("[]", "is a list, not a mapping"),
        ("{}", "has no list 'images'"),
        ('{"images": {}}', "has no list 'images'"),
        ('{"images": []}', "lists no images"),
        ('{"images": [], "annotations": 3}', "'annotations' is no list"),
        ("[" * 200_000, "is no JSON text|broken JSON"),
        ("\udcff", "is no JSON text|broken JSON"),
    ],
)
def test_what_is_no_annotation_file_is_refused_at_once(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "set.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=fault):
        CocoSource(path)
    with pytest.raises(DataError, match="cannot read the annotation file"):
        CocoSource(tmp_path / "missing.json")


def test_a_forged_size_takes_no_memory(make_coco: MakeCoco) -> None:
    images = [{"id": 10, "file_name": "a.jpg", "width": 2**30, "height": 2**30}]
    source = CocoSource(make_coco({}, images=images), masks=True)
    with pytest.raises(DataError, match="larger than any image read"):
        source.target(0)
    assert "the file has 40 x 30 pixels" in source.problems()[0]


def test_ids_outside_the_set_are_index_errors(make_coco: MakeCoco) -> None:
    source = CocoSource(make_coco({}))
    for id in (-1, 2):
        with pytest.raises(IndexError):
            source[id]
        with pytest.raises(IndexError):
            source.target(id)


def test_annotations_may_come_in_any_order_of_images(make_coco: MakeCoco) -> None:
    rows = [{"image_id": 20}, {"category_id": 9}, {"image_id": 20, "category_id": 9}]
    source = CocoSource(make_coco(*rows))
    assert column(source.target(0), "labels") == [1]
    assert column(source.target(1), "labels") == [0, 1]
    assert json.loads(source.path.read_text())["annotations"][1]["category_id"] == 9
