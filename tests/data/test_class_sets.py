"""Sets of classes from boxes, masks and labels of pixels."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from sslkit.contracts import ClassLabel, ClassSet, Item, LabelledSource, Source, Target
from sslkit.data.class_sets import ClassSets, SetTable
from sslkit.data.label_targets import offers
from sslkit.data.mixed import MixedSource
from sslkit.data.sources.list_file import ListFileSource
from sslkit.data.subset import Subset
from sslkit.testing.source_kit import check_labelled_source

COUNTS = np.array([[2, 0, 1], [0, 0, 0], [0, 5, 1], [1, 0, 0]])


class Counted:
    """Four small pictures with objects that only `class_counts` knows."""

    classes: Sequence[str] = ("a", "b", "c")
    labels: np.ndarray | None = None
    native_side: int | None = 4
    splits: Sequence[str] = ()
    fingerprint = "counted"

    def __init__(self, kind: str) -> None:
        self.target_kind = kind

    def __len__(self) -> int:
        return 4

    def __getitem__(self, id: int) -> Item:
        if not 0 <= id < 4:
            raise IndexError(id)
        return Item(np.full((4, 4, 3), id, np.uint8), f"{id}.png")

    def target(self, id: int) -> Target:
        raise AssertionError("an annotation was looked at")

    def problems(self) -> list[str]:
        return ["1.xml: broken"]

    def class_counts(self) -> np.ndarray:
        return COUNTS


def present(source: LabelledSource) -> list[list[int]]:
    return [cast(ClassSet, source.target(id)).present.int().tolist() for id in range(len(source))]


@pytest.mark.parametrize("kind", ["boxes", "masks", "semantic"])
def test_the_classes_that_occur_are_the_set_and_no_annotation_is_read(kind: str) -> None:
    source = offers(Counted(kind), "labels")
    assert source is not None
    assert (source.target_kind, source.classes, len(source)) == ("labels", ("a", "b", "c"), 4)
    assert present(source) == (COUNTS > 0).astype(int).tolist()
    assert np.array_equal(source.class_counts(), COUNTS > 0)
    assert source.problems() == ["1.xml: broken"]
    assert source[2].name == "2.png"
    for outside in (4, -1):
        with pytest.raises(IndexError):
            source.target(outside)
    copy = pickle.loads(pickle.dumps(source))
    assert present(copy) == present(source)


def test_a_part_of_a_source_has_its_own_sets_before_and_after() -> None:
    part = offers(Subset(cast(Source, Counted("boxes")), np.array([2, 0])), "labels")
    after = Subset(ClassSets(Counted("boxes")), np.array([2, 0]))
    assert part is not None
    assert present(part) == present(cast(LabelledSource, after)) == [[0, 1, 1], [1, 0, 1]]
    assert part.fingerprint != Counted.fingerprint


def test_a_target_that_was_changed_does_not_change_the_source() -> None:
    source = ClassSets(Counted("boxes"))
    source.target(0).present[:] = True
    assert source.target(0).present.tolist() == [True, False, True]


def test_sources_of_single_labels_and_of_flow_have_no_sets(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"")
    (tmp_path / "list.txt").write_text("1.png\ta\n1.png\tb\n")
    single = ListFileSource(tmp_path / "list.txt")
    assert offers(single, "labels") is None
    assert offers(cast(Source, Counted("flow")), "labels") is None
    found = offers(single, "label")
    assert found is not None
    assert found.target(1) == ClassLabel(1)
    (tmp_path / "list.txt").write_text("1.png\ta|b\n1.png\tb\n")
    sets = ListFileSource(tmp_path / "list.txt")
    assert offers(sets, "labels") is sets
    assert offers(sets, "label") is None


def test_it_keeps_the_contract_of_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counted, "problems", lambda _: [])
    check_labelled_source(ClassSets(Counted("boxes")))


def test_a_table_holds_the_set_of_each_sample() -> None:
    table = SetTable([(2, 0, 2), (), (1,)], np.array([1, 0, 2, 0]), 4)
    sets: list[Tensor] = [table.target(id).present for id in range(4)]
    expected = [[0, 0, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0]]
    assert torch.stack(sets).int().tolist() == expected
    assert table.class_counts().tolist() == expected
    assert table.class_counts().dtype == np.int64
    assert table.content() == SetTable([(0, 2), (1,), ()], np.array([2, 0, 1, 0]), 4).content()
    assert table.content() != SetTable([(0, 2), (1,), ()], np.array([2, 1, 0, 0]), 4).content()
    for outside in (4, -1):
        with pytest.raises(IndexError):
            table.target(outside)


def test_a_mixture_of_boxes_has_sets() -> None:
    both = MixedSource([cast(Source, Counted("boxes")), cast(Source, Counted("boxes"))], [1, 1])
    source = offers(both, "labels")
    assert source is not None
    assert present(source)[4:] == (COUNTS > 0).astype(int).tolist()
