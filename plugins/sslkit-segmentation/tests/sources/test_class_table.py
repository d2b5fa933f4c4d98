"""Names, ids and colours of classes, from files of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.errors import ConfigError, DataError
from sslkit_segmentation.sources.class_table import ClassTable, class_table


def table(root: Path, **options: str | int | None) -> ClassTable:
    given = {"classes": None, "colours": None, "ignore": None} | options
    return class_table(root, highest=lambda: 3, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "text", "classes"),
    [
        ("classes.json", '["sky", "road"]', ("sky", "road")),
        ("classes.json", '{"1": "road", "0": "sky", "255": "none"}', ("sky", "road")),
        ("classes.txt", "\ufeffsky\r\nroad\n\n", ("sky", "road")),
        ("other.txt", "", ("0", "1", "2", "3")),
    ],
)
def test_names_come_from_the_folder(tmp_path: Path, name: str, text: str, classes: tuple[str, ...]) -> None:
    (tmp_path / name).write_text(text)
    assert table(tmp_path).classes == classes


def test_a_given_file_goes_before_that_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text('["a", "b"]')
    (tmp_path / "mine.txt").write_text("c\nd\ne")
    assert table(tmp_path, classes="mine.txt").classes == ("c", "d", "e")
    with pytest.raises(DataError, match=r"classes=none\.txt: no such file"):
        table(tmp_path, classes="none.txt")


def test_ignored_ids_become_255_and_the_others_close_up() -> None:
    names = dict(enumerate(["sky", "Void", "road", "unlabelled", "car", "background"]))
    made = ClassTable.of(names, ignore=2)
    assert made.classes == ("sky", "car", "background")
    assert made.labels[:7].tolist() == [0, 255, 255, 255, 1, 2, -1]
    assert made.labels[255] == 255
    assert made.stray(np.bincount([0, 1, 2, 3, 4, 5, 255], minlength=256)) is None
    counts = made.counts(np.arange(256))
    assert counts.tolist() == [0, 4, 5]
    assert counts.dtype == np.int64


def test_ids_with_gaps_close_up_and_those_between_are_strays() -> None:
    made = ClassTable.of({7: "road", 11: "building", 26: "car"})
    assert [int(made.labels[id]) for id in (7, 11, 26)] == [0, 1, 2]
    said = made.stray(np.bincount([7, 8, 30], minlength=256))
    assert said == "holds ids 8, 30 that no class has; ids are 7, 11, 26; name the class, or say ignore=8"


def test_an_id_beyond_the_classes_may_be_ignored() -> None:
    made = ClassTable.of({0: "a", 1: "b"}, ignore=19)
    assert made.labels[[0, 1, 19]].tolist() == [0, 1, 255]
    assert made.stray(np.bincount([19], minlength=256)) is None
    for wrong in (-1, 256, "a"):
        with pytest.raises(ConfigError, match=r"ids are 0\.\.255"):
            ClassTable.of({0: "a"}, ignore=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.json", '{"sky": [0, 0, 255], "road mark": [128, 64, 128], "void": [0, 0, 0]}'),
        ("c.csv", "name,r,g,b\nsky,0,0,255\nroad mark,128,64,128\nVoid,0,0,0\n"),
        ("c.txt", "0 0 255\t\tsky\n128 64 128\troad mark\n0 0 0\tVoid\n"),
        (
            "labelmap.txt",
            "# label:color_rgb:parts:actions\nsky:0,0,255::\nroad mark:128,64,128::\nvoid:0,0,0::\n",
        ),
    ],
)
def test_colours_of_every_file_are_the_same_classes(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    made = table(tmp_path, colours=name)
    assert made.classes == ("sky", "road mark")
    pixels = np.array([[[0, 0, 255], [128, 64, 128]], [[0, 0, 0], [0, 0, 255]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "m.png")
    assert made.labels[made.read(tmp_path / "m.png")].tolist() == [[0, 1], [255, 0]]


def test_colours_nobody_names_are_told(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("sky,0,0,255\nroad,128,64,128")
    pixels = np.array([[[0, 0, 255], [255, 255, 255], [128, 64, 129], [0, 0, 0]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"\(0, 0, 0\), \(128, 64, 129\), \(255, 255, 255\) that .*c\.csv"):
        table(tmp_path, colours="c.csv").read(tmp_path / "m.png")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("classes.json", "[1", "broken JSON"),
        ("classes.json", '{"sky": 0}', "must be a list of names, or a mapping of ids"),
        ("classes.json", "[]", "names no class"),
        ("classes.txt", "a\n\nb", "empty line"),
        ("classes.txt", "a\nb\na", "'a' to two classes"),
        ("classes.json", '{"256": "a"}', "up to id 256"),
        ("classes.json", '["void"]', "no class is left"),
        ("colours.json", "[[0, 0, 0]]", "must be a mapping of names"),
        ("colours.json", '{"a": [0, 0]}', r"'a': its colour is \[0, 0\]"),
        ("colours.csv", "a,0,0,256", "line 1: its colour is"),
        ("colours.csv", "a,0,0,0\nb,0,0", "line 2: 'b,0,0' is no name with three numbers"),
        ("colours.csv", "a,0,0", "line 1"),
        ("colours.csv", "a,0,0,0\nb,0,0,0", "one colour to two classes"),
        ("colours.csv", "name,r,g,b", "names no class"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said):
        table(tmp_path, **({"colours": name} if name.startswith("colours") else {}))


def test_colours_and_classes_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave one out"):
        table(tmp_path, colours="a", classes="b")
