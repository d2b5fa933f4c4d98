"""A part of a source is a source."""

import pickle

import numpy as np
import pytest
import torch

from sslkit.contracts import ClassLabel, LabelledSource, Objects
from sslkit.data.sources.shapes import ShapesSource
from sslkit.data.subset import Subset
from sslkit.testing.source_kit import check_source


def test_a_subset_is_a_source_with_the_samples_asked_for() -> None:
    whole = ShapesSource(count=40)
    part = Subset(whole, np.array([7, 3, 30]))
    check_source(part)
    assert [part[i].name for i in range(3)] == [whole[i].name for i in (7, 3, 30)]
    assert part.labels.tolist() == [7, 3, 0]
    assert np.array_equal(part.read_many(np.array([1])), whole.read_many(np.array([3])))


def test_other_samples_or_another_source_give_another_fingerprint() -> None:
    whole = ShapesSource(count=40)
    prints = {
        Subset(whole, np.array([1, 2])).fingerprint,
        Subset(whole, np.array([2, 1])).fingerprint,
        Subset(ShapesSource(count=40, seed=1), np.array([1, 2])).fingerprint,
        whole.fingerprint,
    }
    assert len(prints) == 4


def test_an_id_outside_is_refused() -> None:
    with pytest.raises(IndexError, match=r"0\.\.1"):
        Subset(ShapesSource(count=40), np.array([1, 2]))[2]


class Outlined(ShapesSource):
    """Shapes with one box each, of the class that the image shows."""

    target_kind = "boxes"

    def target(self, id: int) -> Objects:
        return Objects(torch.tensor([[0.0, 0.0, 4.0, float(id + 1)]]), torch.tensor([int(self.labels[id])]))

    def problems(self) -> list[str]:
        return ["all is well but this"]

    def class_counts(self) -> np.ndarray:
        return np.eye(len(self.classes), dtype=np.int64)[self.labels]


def test_the_targets_are_those_of_the_samples_asked_for() -> None:
    part = Subset(Outlined(count=40), np.array([7, 3, 30]))
    assert isinstance(part, LabelledSource)
    assert part.target_kind == "boxes"
    assert [part.target(id).boxes[0, 3].item() for id in range(3)] == [8, 4, 31]
    assert part.class_counts().argmax(axis=1).tolist() == part.labels.tolist()
    assert part.problems() == ["all is well but this"]
    again = pickle.loads(pickle.dumps(part))
    assert again.target(2).labels.tolist() == [0]
    with pytest.raises(IndexError, match=r"0\.\.2"):
        part.target(-1)


def test_without_targets_it_is_no_labelled_source() -> None:
    assert not isinstance(Subset(ShapesSource(count=40), np.array([1])), LabelledSource)


def test_a_kind_of_subset_may_bring_targets_of_its_own() -> None:
    class Own(Subset):
        target_kind = "label"

        def target(self, id: int) -> ClassLabel:
            return ClassLabel(5)

    assert Own(Outlined(count=40), np.array([1])).target(0) == ClassLabel(5)
