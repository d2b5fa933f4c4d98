"""Targets of several sources, by the classes of all."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from sslkit.contracts import (
    ClassLabel,
    FlowField,
    Item,
    LabelledSource,
    Objects,
    SemanticMap,
    Target,
)
from sslkit.data.mixed import MixedSource


class Annotated:
    """Images of one pixel; sample k has the target `make(k)` of `kind`."""

    labels: np.ndarray | None = None
    native_side: int | None = None
    splits: Sequence[str] = ()

    def __init__(self, targets: Sequence[Target], classes: Sequence[str], kind: str = "boxes") -> None:
        self.targets, self.classes, self.target_kind = list(targets), classes, kind
        self.fingerprint = f"{classes}"

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, id: int) -> Item:
        return Item(np.zeros((1, 1), np.uint8), str(id))

    def target(self, id: int) -> Target:
        return self.targets[id]

    def problems(self) -> list[str]:
        return [f"problem of {self.classes}"]

    def class_counts(self) -> np.ndarray:
        return np.arange(1, 1 + len(self) * len(self.classes)).reshape(len(self), -1)


def objects(*labels: int) -> Objects:
    return Objects(torch.rand(len(labels), 4), torch.tensor(labels, dtype=torch.int64))


def mixture(*sources: Annotated) -> MixedSource:
    return MixedSource(sources, [1] * len(sources))


def test_labels_become_those_of_the_classes_together() -> None:
    pets = Annotated([objects(0, 1), objects()], ("dog", "cat"))
    farm = Annotated([objects(1, 0, 1)], ("cow", "dog"))
    mixed = mixture(pets, farm)
    assert isinstance(mixed, LabelledSource)
    assert (mixed.target_kind, mixed.classes) == ("boxes", ("cat", "cow", "dog"))
    assert [mixed.target(id).labels.tolist() for id in range(3)] == [[2, 0], [], [2, 1, 2]]
    assert torch.equal(mixed.target(2).boxes, farm.targets[0].boxes)
    assert mixed.class_counts().tolist() == [[2, 0, 1], [4, 0, 3], [0, 1, 2]]
    assert mixed.problems() == ["problem of ('dog', 'cat')", "problem of ('cow', 'dog')"]
    assert pickle.loads(pickle.dumps(mixed)).target(2).labels.tolist() == [2, 1, 2]
    for id in (-1, 3):
        with pytest.raises(IndexError, match=r"0\.\.2"):
            mixed.target(id)


def test_one_order_of_classes_stays() -> None:
    mixed = mixture(*(Annotated([objects(0, 1)], ("void", "car")) for _ in range(2)))
    assert mixed.classes == ("void", "car")
    assert mixed.target(1).labels.tolist() == [0, 1]


def test_maps_and_class_labels_are_renumbered_and_flow_is_not() -> None:
    labels = torch.tensor([[0, 1, 255]], dtype=torch.uint8)
    one = Annotated([SemanticMap(labels)], ("sky", "road"), "semantic")
    other = Annotated([SemanticMap(labels)], ("road", "tree"), "semantic")
    mixed = mixture(one, other)
    assert mixed.classes == ("road", "sky", "tree")
    assert [mixed.target(id).labels.tolist() for id in range(2)] == [[[1, 0, 255]], [[0, 2, 255]]]
    assert mixed.target(1).labels.dtype == torch.uint8
    named = mixture(
        Annotated([ClassLabel(0)], ("b",), "label"), Annotated([ClassLabel(1)], ("b", "a"), "label")
    )
    assert [named.target(id).label for id in range(2)] == [1, 0]
    flow = FlowField(torch.zeros(2, 1, 1))
    assert mixture(Annotated([flow], (), "flow")).target(0) is flow


def test_targets_of_several_kinds_are_none() -> None:
    mixed = mixture(Annotated([objects(0)], ("a",)), Annotated([ClassLabel(0)], ("a",), "label"))
    assert not isinstance(mixed, LabelledSource)
