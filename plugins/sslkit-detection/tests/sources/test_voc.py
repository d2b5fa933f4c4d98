"""Pascal VOC folders as sources of labelled images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sslkit.contracts import LabelledSource, Refused
from sslkit.errors import DataError, UnknownNameError
from sslkit_detection.sources.voc import VocSource
from sslkit_detection.sources.xml_text import parsed

Picture = Callable[..., Path]


def one(name: str = "dog", corners: str = "1 1 10 20", difficult: int = 0) -> str:
    left, top, right, bottom = corners.split()
    box = f"<xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
    part = "<part><name>head</name><bndbox><xmin>3</xmin></bndbox></part>"
    return (
        f"<object><name>{name}</name>{part}<difficult>{difficult}</difficult><bndbox>{box}</bndbox></object>"
    )


def annotated(*objects: str, size: str = "40 30", filename: str = "whatever.jpg") -> str:
    width, height = size.split()
    sides = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation><filename>{filename}</filename>{sides}{''.join(objects)}</annotation>"


def voc(folder: Path, picture: Picture, **texts: str) -> Path:
    """A VOC folder with an image and an XML file for each keyword."""
    for key, text in texts.items():
        picture(f"JPEGImages/{key}.jpg")
        (folder / "Annotations").mkdir(exist_ok=True)
        (folder / "Annotations" / f"{key}.xml").write_text(text)
    return folder


def lists(folder: Path, **splits: str) -> None:
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for name, text in splits.items():
        (folder / "ImageSets" / "Main" / f"{name}.txt").write_text(text)


def test_corners_count_from_one_and_belong_to_the_object(tmp_path: Path, picture: Picture) -> None:
    text = annotated(one("dog", "1 1 40 30"), one("cat", "5 6 5 6", difficult=1))
    source = VocSource(voc(tmp_path, picture, a=text, b=annotated()))
    assert isinstance(source, LabelledSource)
    target = source.target(0)
    assert target.boxes.tolist() == [[0.0, 0.0, 40.0, 30.0], [4.0, 5.0, 5.0, 6.0]]
    assert target.labels.tolist() == [1, 0]
    assert target.crowd is not None
    assert target.crowd.tolist() == [False, True]
    assert (source.classes, source.target_kind, target.areas) == (("cat", "dog"), "boxes", None)
    assert len(source.target(1)) == 0  # images without objects stay
    assert source.problems() == []
    assert source.class_counts().tolist() == [[1, 1], [0, 0]]
    assert source[0].content == tmp_path / "JPEGImages" / "a.jpg"


def test_lists_are_splits_with_the_classes_of_all(tmp_path: Path, picture: Picture) -> None:
    root = voc(tmp_path, picture, a=annotated(one("dog")), b=annotated(one("cat")), c=annotated())
    lists(root, train="a\nc \n", val="b\n", dog_train="a 1\nc -1\n", dog_val="b -1\n")
    train, val = VocSource(root), VocSource(root, split="val")
    assert train.splits == val.splits == ("train", "val")
    assert [train[id].name for id in range(2)] == ["a.jpg", "c.jpg"]
    assert train.classes == val.classes == ("cat", "dog")
    assert [val[0].name, val.target(0).labels.tolist()] == ["b.jpg", [0]]
    assert train.fingerprint != val.fingerprint
    with pytest.raises(UnknownNameError, match="unknown split 'test'"):
        VocSource(root, split="test")


def test_images_and_xml_may_lie_together_or_in_folders_of_splits(tmp_path: Path, picture: Picture) -> None:
    for key, name in [("train/a", "cat"), ("train/deep/b", "dog"), ("valid/c", "cat")]:
        picture(f"{key}.png")
        (tmp_path / f"{key}.xml").write_text(annotated(one(name)))
    source = VocSource(tmp_path)
    assert source.splits == ("train", "valid")
    assert [source[id].name for id in range(len(source))] == ["train/a.png", "train/deep/b.png"]
    assert source.target(1).labels.tolist() == [1]
    flat = VocSource(tmp_path / "train" / "deep")
    assert (len(flat), flat.classes, flat.splits) == (1, ("dog",), ())
    assert VocSource(tmp_path, split="valid").problems() == []


def test_fingerprint_follows_content_not_place(tmp_path: Path, picture: Picture) -> None:
    root = voc(tmp_path, picture, a=annotated(one()))
    (tmp_path / "moved").mkdir()
    first = VocSource(root).fingerprint
    for name in ("JPEGImages", "Annotations"):
        (root / name).rename(tmp_path / "moved" / name)
    assert VocSource(tmp_path / "moved").fingerprint == first
    (tmp_path / "moved" / "Annotations" / "a.xml").write_text(annotated(one(corners="1 1 10 21")))
    assert VocSource(tmp_path / "moved").fingerprint != first


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            annotated(one(), one(corners="1 1 44 20")),
            "object 2: box .* leaves the image of 40 x 30 by 4.0 pixels",
        ),
        (annotated(one(corners="11 1 9 20")), "object 1: box .* ends before it begins"),
        (annotated(one(corners="11 1 10 20")), "object 1: box .* has no area"),
        (annotated(one(corners="1 nan 10 20")), "object 1: box .* not finite"),
        (annotated(one(corners="1 x 10 20")), "object 1: its bndbox has no number ymin"),
        (annotated("<object><name>dog</name></object>"), "object 1: its bndbox has no number xmin, ymin"),
        (annotated(one(name=" ")), "object 1: has no name"),
        ("<annotation>\n<object></annotation>", r"line 2, column 11: broken XML \(mismatched tag\)"),
        ("", "line 1, column 1: broken XML"),
    ],
)
def test_each_fault_of_an_xml_file_is_named_and_leaves_no_target(
    tmp_path: Path, picture: Picture, text: str, fault: str
) -> None:
    source = VocSource(voc(tmp_path, picture, a=text, b=annotated(one())))
    (line,) = source.problems()
    assert line.startswith(f"{tmp_path / 'Annotations' / 'a.xml'}, image 'a.jpg'")
    with pytest.raises(DataError, match=fault) as raised:
        source.target(0)
    assert str(raised.value) == line
    assert len(source.target(1)) == 1


def test_a_corner_of_zero_is_clipped_silently(tmp_path: Path, picture: Picture) -> None:
    source = VocSource(voc(tmp_path, picture, a=annotated(one(corners="0 0 41 31"))))
    assert source.problems() == []
    assert source.target(0).boxes.tolist() == [[0.0, 0.0, 40.0, 30.0]]


def test_files_that_are_missing_or_of_another_size_are_named(tmp_path: Path, picture: Picture) -> None:
    root = voc(tmp_path, picture, a=annotated(size="41 30"), b=annotated(), c=annotated(size="0 0"))
    (root / "JPEGImages" / "b.jpg").unlink()
    picture("JPEGImages/d.jpg")
    source = VocSource(root)
    faults = dict(zip("abcd", [line.partition("': ")[2] for line in source.problems()], strict=False))
    assert len(source.problems()) == 3
    assert faults["a"] == "is annotated as 41 x 30, the file has 40 x 30 pixels"
    assert faults["b"].startswith("no such image file")
    assert faults["c"] == "has no XML file"  # that of d; c says no size, so the image's counts
    with pytest.raises(DataError, match=r"image 'd\.jpg': has no XML file"):
        source.target(3)


ENTITY = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "ha">]><annotation>&x;</annotation>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_in_any_encoding(tmp_path: Path, picture: Picture, encoding: str) -> None:
    root = voc(tmp_path, picture, a=annotated(), b=annotated(one()))
    (root / "Annotations" / "a.xml").write_bytes(ENTITY.encode(encoding))
    source = VocSource(root)
    (line,) = source.problems()
    assert "image 'a.jpg': declares a document type or entities" in line


def test_an_xml_file_of_unreasonable_size_is_not_parsed() -> None:
    with pytest.raises(DataError, match="bytes of XML for one image"):
        parsed(b"<a>" + b" " * (16 * 2**20) + b"</a>")


def test_a_name_that_leaves_the_folder_is_not_followed(tmp_path: Path, picture: Picture) -> None:
    root = voc(tmp_path, picture, a=annotated(filename="../secret.jpg"), b=annotated(one()))
    (root / "JPEGImages" / "a.jpg").rename(tmp_path / "secret.jpg")
    lists(root, train="a\n../secret\nb\n")
    source = VocSource(root)
    for id, name in enumerate(["../secret.jpg", "../secret.jpg"]):
        item = source[id]
        assert item.name == name
        assert isinstance(item.content, Refused)
    assert sum("leaves the folder" in line for line in source.problems()) == 2


def test_a_folder_without_xml_files_is_refused(tmp_path: Path, picture: Picture) -> None:
    picture("a.jpg")
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match="holds no XML files"):
            VocSource(folder)
    lists(voc(tmp_path, picture, a=annotated()), train="\n")
    with pytest.raises(DataError, match="lists no images"):
        VocSource(tmp_path)
