"""Splits, classes and labels as folders tell them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sslkit.data.class_folders import available_splits, chosen_split, class_names, classes_and_labels
from sslkit.data.packed import PackedNames
from sslkit.errors import DataError, UnknownNameError


def one_by_one(names: list[str]) -> list[str] | None:
    """The class of each of the sorted names, by the rule in words, without runs of folders."""
    ways = [name.split("/")[:-1] for name in names]
    depth = 0
    while all(len(way) > depth and way[depth] == ways[0][depth] for way in ways):
        depth += 1  # a folder that holds all of them
    for level in (depth, 0):
        found = None if any(len(way) <= level for way in ways) else [way[level] for way in ways]
        if found and len(set(found)) > 1:
            return found
    return found


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["cat/1.jpg", "dog/2.jpg"], {"cat", "dog"}),
        (["images/cat/1.jpg", "images/dog/2.jpg"], {"cat", "dog"}),
        (["a/b/cat/1.jpg", "a/b/dog/2.jpg"], {"cat", "dog"}),
        (["images/1.jpg", "images/2.jpg"], {"images"}),
        (["images/1.jpg", "images/cat/1.jpg", "images/dog/1.jpg"], {"images"}),
        (["1.jpg", "cat/1.jpg"], None),
        ([], set()),
    ],
)
def test_the_first_folders_that_differ_are_the_classes(names: list[str], classes: set[str] | None) -> None:
    assert class_names(PackedNames(names)) == classes


def test_labels_are_those_of_the_names_taken_one_by_one() -> None:
    generator = random.Random(1)
    labelled, depths = 0, (0, *[1] * 9, *[2] * 9, *[3] * 9)
    for _ in range(300):
        names = set()
        for _ in range(generator.randint(1, 8)):
            way = [generator.choice(("a", "b", "a-b")) for _ in range(generator.choice(depths))]
            names.add("/".join([*way, f"{generator.randrange(3)}.jpg"]))
        ordered = sorted(names)
        classes, labels = classes_and_labels(PackedNames(ordered))
        expected = one_by_one(ordered)
        if expected is None or len(set(expected)) < 2:
            assert labels is None
            assert classes == ()
        else:
            assert labels is not None
            assert [classes[label] for label in labels] == expected
            assert list(classes) == sorted(set(expected))
            labelled += 1
    assert 100 < labelled < 290


def test_classes_of_other_splits_count_and_flat_splits_do_not() -> None:
    train = PackedNames(["x/cat/1.jpg", "x/dog/1.jpg"])
    val, flat = PackedNames(["x/dog/1.jpg", "x/eel/1.jpg"]), PackedNames(["1.jpg"])
    classes, labels = classes_and_labels(val, [train, flat])
    assert classes == ("cat", "dog", "eel")
    assert labels is not None
    assert labels.tolist() == [1, 2]
    assert classes_and_labels(flat, [train, val]) == ((), None)
    one, other = PackedNames(["cat/1.jpg"]), PackedNames(["dog/1.jpg"])
    assert classes_and_labels(one, [other])[0] == ("cat", "dog")
    assert classes_and_labels(one)[1] is None


def test_splits_need_train_and_another_and_train_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    assert available_splits(tmp_path) == ()
    (tmp_path / "train").mkdir()
    splits = available_splits(tmp_path)
    assert splits == ("train", "test")
    assert chosen_split(None, splits, tmp_path) == "train"
    assert chosen_split("test", splits, tmp_path) == "test"
    assert chosen_split(None, (), tmp_path) is None
    with pytest.raises(UnknownNameError, match=r"unknown split 'tst'; did you mean 'test'\? .*folders train"):
        chosen_split("tst", splits, tmp_path)
    with pytest.raises(DataError, match=r"video folder .*nowhere: not found"):
        available_splits(tmp_path / "nowhere", what="video folder")
