"""Which labelled images the built-in tasks recognise, and what they leave to others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sslkit.contracts import TransferTask
from sslkit.data.class_folders import available_splits
from sslkit.evaluation.tasks import of_classes, of_identities
from sslkit.evaluation.tasks.labelled_folders import Labelled, label_sets, labelled
from sslkit.registry import open_source

OF_CLASSES = {
    "knn": of_classes.KNN,
    "linear": of_classes.LINEAR,
    "few_shot": of_classes.FEW_SHOT,
    "label_efficiency": of_classes.LABEL_EFFICIENCY,
    "long_tail": of_classes.LONG_TAIL,
    "multi_label": of_classes.MULTI_LABEL,
}
OF_IDENTITIES = {
    "verification": of_identities.VERIFICATION,
    "identification": of_identities.IDENTIFICATION,
    "retrieval": of_identities.RETRIEVAL,
}


def lay(root: Path, **counts: int) -> Path:
    """So many empty files in folders; `__` in a name parts folders."""
    for folder, count in counts.items():
        for number in range(count):
            place = root.joinpath(*folder.split("__"))
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number}.jpg").touch()
    return root


def found(tasks: dict[str, TransferTask], folder: Path) -> set[str]:
    """The heads of the tasks that recognise something, each its own."""
    heads = set()
    for head, task in tasks.items():
        measured = task.recognise(folder)
        if measured is not None:
            assert measured.head == head
            heads.add(head)
    return heads


def test_folders_of_classes_are_counted_as_the_source_reads_them(tmp_path: Path) -> None:
    lay(tmp_path, cat=3, dog=5, empty=0)
    (tmp_path / "empty").mkdir()
    (tmp_path / "dog" / "notes.txt").touch()
    (tmp_path / "README.md").touch()
    place = str(tmp_path)
    assert labelled(tmp_path) == Labelled(place, None, {"cat": 3, "dog": 5}, place, {"cat": 3, "dog": 5})
    source = open_source(place)
    assert source.labels is not None
    assert dict(zip(source.classes, np.bincount(source.labels).tolist(), strict=True)) == {"cat": 3, "dog": 5}


def test_a_set_that_is_divided_is_judged_on_its_test_part(tmp_path: Path) -> None:
    lay(tmp_path, train__cat=4, train__dog=4, val__cat=1, val__dog=1, test__cat=2, test__dog=2)
    assert available_splits(tmp_path) == ("train", "val", "test")
    read = labelled(tmp_path)
    assert read is not None
    assert (read.data, read.test) == (str(tmp_path), None)
    assert read.judged == str(tmp_path / "test")
    assert (read.least, read.usual) == (4, 6)


@pytest.mark.parametrize(
    "counts",
    [
        {"cat": 3},
        {"cat": 3, "dog__brown": 3},
        {"images": 3, "masks": 3},
        {"Images": 3, "Other": 3},
        {"train__cat": 3, "train__dog": 3},
        {"train": 3, "val": 3},
        {".": 1, "cat": 3, "dog": 3},
        {"train__cat": 3, "train__dog": 3, "test__cat": 3, "test": 1},
        {".hidden": 3, "cat": 3},
    ],
)
def test_other_folders_of_images_are_none_of_classes(tmp_path: Path, counts: dict[str, int]) -> None:
    lay(tmp_path, **counts)
    assert labelled(tmp_path) is None


@pytest.mark.parametrize("beside", ["0.xml", "0.txt", "0.json", "flow10.flo", "1.pfm"])
def test_folders_with_annotations_beside_the_images_are_none_of_classes(tmp_path: Path, beside: str) -> None:
    lay(tmp_path, cat=3, dog=3)
    (tmp_path / "dog" / beside).touch()
    assert labelled(tmp_path) is None


@pytest.mark.parametrize(
    ("each", "heads"),
    [
        (1, set()),
        (2, {"knn"}),
        (3, {"knn", "linear"}),
        (13, {"knn", "linear", "few_shot", "label_efficiency"}),
        (25, {"knn", "linear", "few_shot", "label_efficiency", "long_tail"}),
    ],
)
def test_a_task_is_found_where_a_fifth_held_out_leaves_enough_to_learn_from(
    tmp_path: Path, each: int, heads: set[str]
) -> None:
    lay(tmp_path, cat=each, dog=2 * each)
    assert found(OF_CLASSES, tmp_path) == heads
    assert found(OF_IDENTITIES, tmp_path) == set()


def test_persons_are_many_with_few_pictures_each(tmp_path: Path) -> None:
    few = lay(tmp_path / "few", **{f"p{n}": 5 for n in range(7)})
    many = lay(tmp_path / "many", **{f"p{n}": 5 for n in range(8)})
    large = lay(tmp_path / "large", **{f"p{n}": 30 for n in range(8)})
    assert found(OF_IDENTITIES, few) == found(OF_IDENTITIES, large) == set()
    assert found(OF_IDENTITIES, many) == set(OF_IDENTITIES)
    assert of_identities.RETRIEVAL.recognise(many).data == str(many)  # type: ignore[union-attr]


def test_persons_of_the_test_that_nobody_learnt_are_compared_and_never_classified(tmp_path: Path) -> None:
    lay(tmp_path, **{f"train__p{n}": 10 for n in range(9)}, **{f"test__q{n}": 10 for n in range(9)})
    assert found(OF_CLASSES, tmp_path) == set()
    assert found(OF_IDENTITIES, tmp_path) == set(OF_IDENTITIES)
    measured = of_identities.VERIFICATION.recognise(tmp_path)
    assert measured is not None
    assert measured.data == str(tmp_path / "test")


def test_classes_with_a_small_test_part_are_no_persons(tmp_path: Path) -> None:
    lay(tmp_path, **{f"train__c{n}": 40 for n in range(9)}, **{f"test__c{n}": 5 for n in range(9)})
    assert found(OF_IDENTITIES, tmp_path) == set()
    assert len(found(OF_CLASSES, tmp_path)) == 5


def test_a_list_with_labels_is_found_and_one_without_is_not(tmp_path: Path) -> None:
    lay(tmp_path, pool=6)
    lines = [f"pool/{n}.jpg\t{'cat' if n % 2 else 'dog'}" for n in range(6)]
    (tmp_path / "mine.csv").write_text("# of mine\n\n" + "\n".join(lines) + "\n")
    (tmp_path / "notes.txt").write_text("to do\n")
    read = labelled(tmp_path)
    assert read is not None
    assert (read.data, read.test, dict(read.counts)) == (
        str(tmp_path / "mine.csv"),
        None,
        {"cat": 3, "dog": 3},
    )
    assert open_source(read.data).classes == ("cat", "dog")
    (tmp_path / "mine.csv").write_text("\n".join(line.partition("\t")[0] for line in lines))
    assert labelled(tmp_path) is None


def test_lists_of_training_and_test_belong_together_and_others_are_not_clear(tmp_path: Path) -> None:
    lay(tmp_path, pool=6)
    lines = "".join(f"pool/{n}.jpg\t{'cat' if n % 2 else 'dog'}\n" for n in range(6))
    for name in ("train_1.txt", "val.txt", "test.txt"):
        (tmp_path / name).write_text(lines)
    read = labelled(tmp_path)
    assert read is not None
    assert (read.data, read.test) == (str(tmp_path / "train_1.txt"), str(tmp_path / "test.txt"))
    assert read.least == 3
    (tmp_path / "train_1.txt").rename(tmp_path / "a.txt")
    assert labelled(tmp_path) is None


@pytest.mark.parametrize("first", ["nowhere/1.jpg\tcat", "pool/0.mp4\tcat", "pool/0.jpg\t", "pool/0.jpg,cat"])
def test_a_list_of_something_else_is_left(tmp_path: Path, first: str) -> None:
    lay(tmp_path, pool=6)
    (tmp_path / "list.txt").write_text(f"{first}\npool/1.jpg\tcat\npool/2.jpg\tdog\n")
    assert labelled(tmp_path) is None


def test_a_list_of_sets_is_of_several_labels_and_of_no_single_one(tmp_path: Path) -> None:
    lay(tmp_path, pool=6)
    file = tmp_path / "tags.txt"
    file.write_text("pool/0.jpg\tcat|dog\npool/1.jpg\tcat\npool/2.jpg\t|\n")
    assert label_sets(tmp_path) == (str(file), None)
    assert found(OF_CLASSES, tmp_path) == {"multi_label"}
    assert getattr(open_source(str(file)), "target_kind", None) == "labels"


@pytest.mark.parametrize("place", ["missing", "empty", "file"])
def test_nothing_is_found_where_nothing_is_and_nothing_is_raised(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert found(OF_CLASSES | OF_IDENTITIES, tmp_path / place) == set()
