"""The kit accepts a sound source and names each broken promise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sslkit.contracts import Item
from sslkit.data.sources.shapes import ShapesSource
from sslkit.testing.source_kit import check_source


class Sound:
    """A small source that keeps the contract; the tests break one promise each."""

    def __init__(self) -> None:
        self.classes: Sequence[str] = ("even", "odd")
        self.labels: np.ndarray | None = np.arange(6, dtype=np.int64) % 2
        self.fingerprint = "six"
        self.native_side: int | None = 8
        self.splits: Sequence[str] = ()

    def __len__(self) -> int:
        return 6

    def __getitem__(self, id: int) -> Item:
        if not 0 <= id < 6:
            raise IndexError(id)
        return Item(
            np.full((8, 8, 3), id, np.uint8), f"{id}", None if self.labels is None else int(self.labels[id])
        )


class Restless(Sound):
    calls = 0

    def __getitem__(self, id: int) -> Item:
        self.calls += 1
        return Item(np.full((8, 8, 3), self.calls, np.uint8), f"{id}", id % 2)


class Unbounded(Sound):
    def __getitem__(self, id: int) -> Item:
        return super().__getitem__(id % 6)


class ChangedByPickling(Sound):
    def __reduce__(self) -> Any:
        return Sound, (), {"fingerprint": "another"}


class Empty(Sound):
    def __len__(self) -> int:
        return 0


class Undecodable(Sound):
    def __getitem__(self, id: int) -> Item:
        return Item(b"no image", f"{id}", id % 2)


class Mislabelled(Sound):
    def __getitem__(self, id: int) -> Item:
        return Item(np.full((8, 8, 3), id, np.uint8), f"{id}", 0)


class ReadsOthers(Sound):
    def read_many(self, ids: np.ndarray) -> np.ndarray:
        return np.zeros((len(ids), 8, 8, 3), np.uint8)


def test_sound_sources_pass() -> None:
    check_source(Sound())
    check_source(ShapesSource(count=3, size=8))


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (Restless, "another item the second time"),
        (Unbounded, "must raise IndexError"),
        (ChangedByPickling, "pickled copy has another fingerprint"),
        (Empty, "is empty"),
        (Undecodable, "items must be arrays"),
        (Mislabelled, r"\[1\]\.label is 0, but labels\[1\] is 1"),
        (ReadsOthers, "read_many differs"),
    ],
)
def test_broken_items_are_named(broken: type[Sound], named: str) -> None:
    with pytest.raises(AssertionError, match=named):
        check_source(broken())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"labels": None}, "2 classes but no labels"),
        ({"labels": np.zeros(5, np.int64)}, r"shape \(5,\)"),
        ({"labels": np.zeros(6, np.int32)}, "is int32"),
        ({"labels": np.full(6, 2)}, "are 2..2 for 2 classes"),
        ({"classes": ("a", "a")}, "a name twice"),
        ({"classes": (0, 1)}, "else than strings"),
        ({"groups": [0] * 6}, "is a list, not an array"),
        ({"groups": np.zeros(6, np.int32)}, "groups is int32"),
        ({"groups": np.zeros((6, 1), np.int64)}, r"groups has shape \(6, 1\)"),
        ({"fingerprint": ""}, "fingerprint"),
        ({"native_side": 4}, "side of 8, above native_side 4"),
    ],
)
def test_broken_attributes_are_named(change: dict[str, Any], named: str) -> None:
    source = Sound()
    vars(source).update(change)
    with pytest.raises(AssertionError, match=named):
        check_source(source)


def test_a_missing_attribute_is_no_source() -> None:
    source = Sound()
    del source.native_side
    with pytest.raises(AssertionError, match="lacks one of"):
        check_source(source)
