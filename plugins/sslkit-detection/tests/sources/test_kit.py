"""What every source of labelled images promises, on all three formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sslkit.testing.source_kit import check_labelled_source
from sslkit_detection.sources.annotations import AnnotatedImages
from sslkit_detection.sources.coco import CocoSource
from sslkit_detection.sources.voc import VocSource
from sslkit_detection.sources.yolo import YoloSource


@pytest.fixture(params=["coco", "voc", "yolo"])
def source(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    make_coco: Callable[..., Path],
    picture: Callable[..., Path],
) -> AnnotatedImages:
    """Two images of 40 x 30, the first with a cat on its left half."""
    if request.param == "coco":
        return CocoSource(make_coco({"bbox": [0, 0, 20, 30]}))
    for name in ("a.jpg", "b.jpg"):
        picture(f"images/{name}")
    box = "<xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>30</ymax>"
    cat = f"<object><name>cat</name><bndbox>{box}</bndbox></object>"
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.25 0.5 0.5 1")
    if request.param == "yolo":
        return YoloSource(tmp_path, classes=["cat"])
    for name, inside in (("a", cat), ("b", "")):
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / "annotations" / f"{name}.xml").write_text(f"<annotation>{inside}</annotation>")
    return VocSource(tmp_path)


def test_all_formats_say_the_same(source: AnnotatedImages) -> None:
    check_labelled_source(source)
    target = source.target(0)
    assert target.boxes.tolist() == [[0.0, 0.0, 20.0, 30.0]]
    assert target.labels.tolist() == [0]
    assert source.class_counts()[:, 0].tolist() == [1, 0]
    assert source.problems() == []


def test_masks_keep_the_contract_too(make_coco: Callable[..., Path]) -> None:
    check_labelled_source(CocoSource(make_coco({"segmentation": [[0, 0, 20, 0, 20, 30]]}), masks=True))


def test_targets_do_not_share_memory(source: AnnotatedImages) -> None:
    target = source.target(0)
    target.labels[0] = 99
    target.boxes[0] = 99
    assert source.target(0).labels.tolist() == [0]
    assert source.target(0).boxes.tolist() == [[0.0, 0.0, 20.0, 30.0]]
