"""Several sources as one: who is read when, and what is known of all together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sslkit.contracts import Item, Moment
from sslkit.data.mixed import MixedSource
from sslkit.data.moving_shapes import write_videos
from sslkit.data.sources.shapes import ShapesSource
from sslkit.data.sources.video import VideoSource
from sslkit.errors import ConfigError
from sslkit.keyed_random import hashed, permutation, word
from sslkit.testing.source_kit import check_source


class Numbers:
    """`count` one-pixel images, with what is given of classes, labels, groups and an order."""

    def __init__(
        self,
        count: int,
        *,
        name: str = "numbers",
        classes: Sequence[str] = (),
        labels: Sequence[int] | None = None,
        groups: Sequence[int] | None = None,
    ) -> None:
        self.count, self.fingerprint = count, f"{name} {count}"
        self.classes: Sequence[str] = classes
        self.labels = None if labels is None else np.array(labels, np.int64)
        self.native_side: int | None = None
        self.splits: Sequence[str] = ("train",)
        if groups is not None:
            self.groups = np.array(groups, np.int64)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, id: int) -> Item:
        if not 0 <= id < self.count:
            raise IndexError(id)
        label = None if self.labels is None else int(self.labels[id])
        return Item(np.full((1, 1), id, np.uint8), f"{self.fingerprint}/{id}", label)


class Backwards(Numbers):
    """Reads in an order of its own: the same ids downwards, from where (seed, epoch) says."""

    def order(self, seed: int, epoch: int) -> np.ndarray:
        return (seed + epoch - np.arange(self.count)) % self.count

    def items(self, ids: np.ndarray) -> list[Item]:
        self.asked = getattr(self, "asked", 0) + 1
        return [self[id] for id in ids.tolist()]


def slowly(sources: Sequence[Numbers], counts: Sequence[int], seed: int, epoch: int) -> list[int]:
    """An epoch, one read after another: the source whose next read is due first, the first of equals."""
    done, firsts, ids = [0] * len(sources), np.cumsum([0, *map(len, sources)]), []
    for _ in range(sum(counts)):
        due = [(done[s] + 0.5) / counts[s] if done[s] < counts[s] else np.inf for s in range(len(sources))]
        s = due.index(min(due))
        turn, place = divmod(epoch * counts[s] + done[s], len(sources[s]))
        own_seed = int(hashed(seed, word("mixed"), s))
        if isinstance(sources[s], Backwards):
            order = sources[s].order(own_seed, turn).tolist()
        else:
            order = permutation(len(sources[s]), seed=own_seed, epoch=turn).tolist()
        ids.append(int(firsts[s]) + order[place])
        done[s] += 1
    return ids


@pytest.mark.parametrize(
    ("sizes", "weights", "counts"),
    [
        ((40, 60), (1, 1), (50, 50)),  # each need not be what it has
        ((7, 93), (3, 1), (75, 25)),  # a small one eleven times over
        ((10, 20, 30), (0.2, 0.3, 0.5), (12, 18, 30)),
        ((5, 5, 5), (1, 1, 1.5), (4, 4, 7)),  # 4.3, 4.3, 6.4: the largest remainder is read once more
        ((9,), (2,), (9,)),
    ],
)
def test_an_epoch_is_what_reading_one_by_one_gives(
    sizes: Sequence[int], weights: Sequence[float], counts: Sequence[int]
) -> None:
    for kinds in ((Numbers,) * len(sizes), (Backwards, *[Numbers] * (len(sizes) - 1))):
        sources = [kind(size) for kind, size in zip(kinds, sizes, strict=True)]
        mixed = MixedSource(sources, weights)
        for seed, epoch in ((0, 0), (0, 1), (-3, 7), (1, 100)):
            order = mixed.order(seed, epoch)
            assert order.dtype == np.int64
            assert order.tolist() == slowly(sources, counts, seed, epoch)


def test_every_stretch_holds_the_share_of_each() -> None:
    sizes, weights = (300, 50, 650), np.array([0.6, 0.25, 0.15])
    order = MixedSource([Numbers(size) for size in sizes], weights).order(0, 3)
    of = np.searchsorted(np.cumsum(sizes), order, side="right")
    for length in (8, 32, 64, 500):
        for start in range(0, 1000 - length):
            counts = np.bincount(of[start : start + length], minlength=3)
            assert (np.abs(counts - weights * length) <= 1 + 3 * weights).all()


def test_a_large_source_goes_on_where_the_last_epoch_stopped() -> None:
    mixed = MixedSource([Numbers(90), Numbers(10)], (1, 1))
    large = [order[order < 90] for order in (mixed.order(5, epoch) for epoch in range(9))]
    read = np.concatenate(large)
    assert len(read) == 450
    for start in range(0, 450, 90):
        assert sorted(read[start : start + 90].tolist()) == list(range(90))
    assert read[:90].tolist() != read[90:180].tolist()


def test_a_small_source_is_read_again_in_another_order_and_evenly() -> None:
    order = MixedSource([Numbers(90), Numbers(10)], (1, 1)).order(0, 0)
    small = order[order >= 90].reshape(5, 10)
    assert (np.sort(small, 1) == np.arange(90, 100)).all()
    assert len({tuple(one) for one in small.tolist()}) == 5


def test_sources_of_one_size_are_not_read_in_step() -> None:
    order = MixedSource([Numbers(50), Numbers(50)], (1, 1)).order(0, 0)
    assert order[order < 50].tolist() != (order[order >= 50] - 50).tolist()


def test_labels_are_those_of_all_classes_by_name() -> None:
    pets = Numbers(3, classes=("dog", "cat"), labels=(0, 1, 1))
    farm = Numbers(2, classes=("cow", "dog"), labels=(0, 1))
    mixed = MixedSource([pets, farm], (1, 1))
    check_source(mixed)
    assert mixed.classes == ("cat", "cow", "dog")
    assert mixed.labels is not None
    assert mixed.labels.tolist() == [2, 0, 0, 1, 2]
    assert [mixed[id].label for id in range(5)] == [2, 0, 0, 1, 2]


def test_one_source_without_labels_leaves_all_without() -> None:
    mixed = MixedSource([Numbers(3, classes=("a",), labels=(0, 0, 0)), Numbers(2)], (1, 1))
    check_source(mixed)
    assert (mixed.labels, mixed.classes, mixed[0].label) == (None, (), None)


def test_groups_are_kept_and_no_two_sources_share_one() -> None:
    mixed = MixedSource([Numbers(3, groups=(7, 7, 2)), Numbers(2), Numbers(2, groups=(7, 2))], (1, 1, 1))
    check_source(mixed)
    assert mixed.groups is not None
    first, second, third, *rest = mixed.groups.tolist()
    assert first == second
    assert len({first, third, *rest}) == 6
    assert MixedSource([Numbers(3), Numbers(2)], (1, 1)).groups is None


def test_items_are_asked_of_each_source_at_once() -> None:
    many = Backwards(4)
    mixed = MixedSource([Numbers(3), many], (1, 1))
    check_source(mixed)
    many.asked = 0
    ids = [6, 0, 3, 6, 2]
    assert [item.name for item in mixed.items(ids)] == [mixed[id].name for id in ids]
    assert many.asked == 1
    assert mixed.items([]) == []


def test_images_and_videos_stand_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKIT_CACHE", str(tmp_path / "cache"))
    write_videos(tmp_path / "videos", videos=3, seconds=1.2, size=16, rate=5.0)
    videos, images = VideoSource(tmp_path / "videos"), ShapesSource(count=20, size=16)
    mixed = MixedSource([images, videos], (3, 1))
    check_source(mixed)
    assert len(mixed) == 26
    assert mixed.native_side is None
    assert mixed.classes == images.classes
    assert isinstance(mixed[20].content, Moment)
    assert mixed.groups is not None
    assert mixed.groups.tolist() == [*range(20), 20, 20, 21, 21, 22, 22]


def test_the_fingerprint_is_of_the_sources_in_order() -> None:
    one, other = Numbers(3), Numbers(4)
    prints = [
        MixedSource(sources, (1,) * len(sources)).fingerprint
        for sources in ([one, other], [other, one], [one], [one, Numbers(4, name="others")])
    ]
    assert len({*prints, one.fingerprint}) == 5
    assert MixedSource([one, other], (3, 1)).fingerprint == prints[0]  # ids are the same samples


@pytest.mark.parametrize(
    ("sizes", "weights", "message"),
    [
        ((), (), "0 sources, 0 weights"),
        ((3, 3), (1,), "2 sources, 1 weights: give one weight for each"),
        ((3, 3), (1, 0), r"weights=\[1, 0\]: use numbers above 0"),
        ((3, 3), (1, float("nan")), "nan"),
        ((3, 3), (1, 1e-3), r"of an epoch of 6 samples, source 1 would have none; give it more"),
    ],
)
def test_weights_that_cannot_work_are_refused(
    sizes: Sequence[int], weights: Sequence[float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        MixedSource([Numbers(size) for size in sizes], weights)


def test_an_id_outside_is_refused() -> None:
    mixed = MixedSource([Numbers(3), Numbers(2)], (1, 1))
    for id in (-1, 5):
        with pytest.raises(IndexError, match=r"0\.\.4"):
            mixed[id]
