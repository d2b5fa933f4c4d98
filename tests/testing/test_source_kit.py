"""The kit accepts a sound source and names each broken promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sslkit.contracts import Item, Moment, Refused
from sslkit.data.decode.encode import write_video
from sslkit.data.sources.shapes import ShapesSource
from sslkit.errors import DecodeError
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


class Ordered(Sound):
    """Also offers what a source may have; `change` is done to each order, `lost` items are left out."""

    change: Any = staticmethod(lambda order, seed, epoch: order)
    lost = 0

    def order(self, seed: int, epoch: int) -> Any:
        return self.change((seed + epoch + np.arange(6, dtype=np.int64)) % 6, seed, epoch)

    def items(self, ids: np.ndarray) -> list[Item]:
        return [self[id] for id in ids.tolist()][self.lost :]


class Swapped(Ordered):
    def items(self, ids: np.ndarray) -> list[Item]:
        return [self[id] for id in sorted(ids.tolist())]


class NewlyOrdered(Ordered):
    calls = 0

    def order(self, seed: int, epoch: int) -> Any:
        self.calls += 1
        return super().order(seed, self.calls)


class OrderedByPlace(Ordered):
    """The order depends on something that is not sent to other processes."""

    shift = 1

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"shift": 0}

    def order(self, seed: int, epoch: int) -> Any:
        return super().order(seed, epoch + self.shift)


def once(order: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    return np.arange(6)


def by_seed_alone(order: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    return (seed + np.arange(6)) % 6


def by_epoch_alone(order: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    return (epoch + np.arange(6)) % 6


class Watched(Sound):
    """Six moments of one second each of one video; some are `refused`."""

    def __init__(self, path: Path, refused: Sequence[int] = (), **change: Any) -> None:
        super().__init__()
        self.native_side = None
        self.path, self.refused, self.change = path, refused, change

    def __getitem__(self, id: int) -> Item:
        item = super().__getitem__(id)
        moment = Moment(self.path, float(id), 1.0, 6.0, 4.0)
        return replace(
            item, content=Refused("cut off") if id in self.refused else replace(moment, **self.change)
        )


class Silent(Watched):
    def __getitem__(self, id: int) -> Item:
        return replace(super().__getitem__(id), content=Refused("")) if id == 2 else super().__getitem__(id)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "walk.mp4"
    write_video(path, np.zeros((24, 32, 32, 3), np.uint8), 4.0)
    return path


def test_sound_sources_pass(video: Path) -> None:
    check_source(Sound())
    check_source(Ordered())
    check_source(Watched(video))
    check_source(Watched(video, refused=(0, 3)))
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
        (lambda order, *_: order.tolist(), "order gave a list, not an array"),
        (lambda order, *_: order.astype(np.int32), "order is int32, not int64"),
        (lambda order, *_: order[:-1], r"order has shape \(5,\), not \(6,\)"),
        (lambda order, *_: order + 1, r"order holds ids 1\.\.6; they are 0\.\.5"),
        (lambda order, *_: order - 1, r"order holds ids -1\.\.4"),
        (once, "order is the same whatever the epoch"),
        (by_seed_alone, "order is the same whatever the epoch"),
        (by_epoch_alone, "order is the same whatever the seed"),
    ],
)
def test_broken_orders_are_named(change: Any, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ordered, "change", staticmethod(change))
    with pytest.raises(AssertionError, match=named):
        check_source(Ordered())


def test_orders_and_items_that_are_no_functions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for broken, named in (
        (NewlyOrdered, "another the second time"),
        (OrderedByPlace, "another in a pickled copy"),
        (Swapped, "items differs"),
    ):
        with pytest.raises(AssertionError, match=named):
            check_source(broken())
    monkeypatch.setattr(Ordered, "lost", 1)
    with pytest.raises(AssertionError, match="items gave 6 items for 7 ids"):
        check_source(Ordered())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"start": -1.0}, r"no part of its video: -1\.\.0 s of 0\.\.6 s"),
        ({"start": 5.5}, r"no part of its video: 5\.5\.\.6\.5 s"),
        ({"length": 0.0}, "no part of its video"),
        ({"rate": 0.0}, "0.0 frames a second"),
    ],
)
def test_broken_moments_are_named(video: Path, change: dict[str, float], named: str) -> None:
    with pytest.raises(AssertionError, match=named):
        check_source(Watched(video, **change))


def test_moments_must_be_decodable_and_refusals_must_say_why(video: Path, tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match="no such file"):
        check_source(Watched(tmp_path / "gone.mp4"))
    with pytest.raises(AssertionError, match="refuses all of its items"):
        check_source(Watched(video, refused=range(6)))
    with pytest.raises(AssertionError, match=r"\[2\] is refused without a reason"):
        check_source(Silent(video))


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
