"""The confused pairs against plain loops, and what must not count as confusion."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from sslkit.errors import ConfigError, DataError
from sslkit.mining.confusions import RANK_EDGES, Confusions, Pair, find_confusions
from sslkit.mining.neighbourhoods import Corpus, Rows


def points(count: int, dim: int = 5, *, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def find(embeddings: torch.Tensor, labels: Any = None, groups: Any = None, **changed: Any) -> Confusions:
    def array(given: Any) -> Rows | None:
        return None if given is None else np.asarray(given, dtype=np.int64)

    options: dict[str, Any] = {"pairs": 10, "cap": 0.98}
    return find_confusions(embeddings, array(labels), array(groups), **options | changed)


class Twin:
    """Everything again, one sample at a time, in float64 on the vectors as the corpus keeps them."""

    def __init__(self, embeddings: torch.Tensor, labels: list[int] | None, groups: list[int] | None) -> None:
        kept = Corpus.of(embeddings, None, None).vectors.astype(np.float64)
        kept /= np.linalg.norm(kept, axis=1, keepdims=True)
        self.count, self.labels = len(kept), labels
        groups = groups or list(range(self.count))
        self.near = {
            a: sorted(
                ((float(kept[a] @ kept[b]), b) for b in range(self.count) if groups[a] != groups[b]),
                key=lambda pair: (-pair[0], pair[1]),
            )
            for a in range(self.count)
        }

    def pairs(self, count: int, cap: float) -> list[Pair]:
        labels = self.labels
        sorts: dict[str, dict[int, tuple[float, int]]] = {}
        keys: dict[str, dict[int, float]] = {}
        for a, near in self.near.items():
            if labels is None:
                wanted = {
                    "confused": [pair for pair in near if pair[0] < cap],
                    "near-duplicate": [pair for pair in near if pair[0] >= cap],
                }
            else:
                wanted = {
                    "confused": [pair for pair in near if labels[pair[1]] != labels[a]],
                    "far": [pair for pair in near if labels[pair[1]] == labels[a]],
                }
            for kind, found in wanted.items():
                if not found:
                    continue
                key = found[0][0]
                if kind == "far":
                    if not wanted["confused"] or wanted["confused"][0][0] <= key:
                        continue
                    key = wanted["confused"][0][0] - key
                sorts.setdefault(kind, {})[a], keys.setdefault(kind, {})[a] = found[0], key
        listed = []
        for kind in ("confused", "near-duplicate", "far"):
            met: set[int] = set()
            ordered = sorted(keys.get(kind, {}), key=lambda a: (-round(keys[kind][a], 6), a))
            chosen = 0
            for a in ordered:
                similarity, b = sorts[kind][a]
                if chosen < count and not {a, b} & met:
                    met |= {a, b}
                    chosen += 1
                    rank = sum(other > similarity + 1e-6 for other, _ in self.near[a])
                    listed.append(Pair(kind, a, b, similarity, rank))  # type: ignore[arg-type]
        return listed

    def shares(self) -> list[float]:
        assert self.labels is not None
        shares = []
        for first, after in pairwise(RANK_EDGES):
            same = [
                self.labels[a] == self.labels[b]
                for a, near in self.near.items()
                for _, b in near[first:after]
            ]
            shares += [float(np.mean(same))] if same else []
        return shares


def unordered(pairs: Any) -> list[tuple[Any, ...]]:
    return [(pair.kind, {pair.anchor, pair.neighbour}, round(pair.similarity, 4)) for pair in pairs]


@pytest.mark.parametrize("count", [3, 20, 60])
@pytest.mark.parametrize("dim", [2, 16])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("labelled", [False, True])
def test_pairs_and_ranks_are_those_of_plain_loops(
    count: int, dim: int, grouped: bool, labelled: bool
) -> None:
    embeddings = points(count, dim, seed=count + dim)
    groups = [number // 3 + number % 2 for number in range(count)] if grouped and count > 3 else None
    labels = [number * 7 % 4 for number in range(count)] if labelled else None
    twin = Twin(embeddings, labels, groups)
    found = find(embeddings, labels, groups, pairs=8, cap=0.9)
    expected = twin.pairs(8, 0.9)
    assert unordered(found.pairs) == unordered(expected)
    ranks = {(pair.kind, pair.anchor, pair.neighbour): pair.rank for pair in expected}
    met = [pair for pair in found.pairs if (pair.kind, pair.anchor, pair.neighbour) in ranks]
    assert met
    assert all(pair.rank == ranks[pair.kind, pair.anchor, pair.neighbour] for pair in met)
    if labelled:
        assert [band.false_negatives for band in found.bands] == pytest.approx(twin.shares())


def test_classes_are_confused_as_the_ten_nearest_say() -> None:
    embeddings, labels = points(80), [number % 3 for number in range(80)]
    twin = Twin(embeddings, labels, None)
    votes = [(labels[a], labels[b]) for a, near in twin.near.items() for _, b in near[:10]]
    for one in (found := find(embeddings, labels)).classes:
        own = [pair for pair in votes if pair[0] == one.anchor]
        assert one.share == pytest.approx(own.count((one.anchor, one.neighbour)) / len(own))
    shares = [one.share for one in found.classes]
    assert shares == sorted(shares, reverse=True)
    assert len(shares) == 6


def test_bands_say_how_many_false_negatives_a_miner_would_take() -> None:
    """Tight classes of 30: the nearest 29 others are all false negatives, and no one beyond them."""
    centres = torch.eye(20).repeat_interleave(30, dim=0)
    found = find(centres + 0.01 * points(600, 20), np.arange(600) // 30)
    assert [(band.first, band.last) for band in found.bands] == [(0, 9), (10, 49), (50, 199), (200, 499)]
    assert [band.false_negatives for band in found.bands] == pytest.approx([1, 19 / 40, 0, 0])
    assert found.bands[0].similarity > 0.99
    assert found.chance == pytest.approx(29 / 599)


def test_near_duplicates_are_told_from_confusion_by_the_cap() -> None:
    embeddings = points(30, 16)
    embeddings[7] = embeddings[3] * 2 + 0.01
    for cap, kinds in ((0.98, {"near-duplicate"}), (1.0, {"confused"})):
        pairs = find(embeddings, cap=cap).pairs
        assert {pair.kind for pair in pairs if {pair.anchor, pair.neighbour} == {3, 7}} == kinds


def test_with_labels_a_twin_of_another_class_is_the_worst_confusion() -> None:
    embeddings = points(30, 16)
    embeddings[7] = embeddings[3]
    alike = [number % 2 for number in range(30)]
    assert {3, 7} not in [{pair.anchor, pair.neighbour} for pair in find(embeddings, alike).pairs]
    labels = [0] * 15 + [1] * 15
    labels[7] = 1
    first = find(embeddings, labels).pairs[0]
    assert (first.kind, {first.anchor, first.neighbour}, first.rank) == ("confused", {3, 7}, 0)
    assert first.similarity == pytest.approx(1.0, abs=1e-3)


def test_samples_of_one_group_are_no_pair_and_no_rank() -> None:
    """Frames of one video are the nearest; ranks begin at the nearest of another video."""
    videos = points(20, 8).repeat_interleave(100, dim=0)
    groups = np.arange(2000) // 100
    found = find(videos + 0.001 * points(2000, 8, seed=1), None, groups, pairs=5)
    assert len(found.pairs) == 5
    assert all(groups[pair.anchor] != groups[pair.neighbour] for pair in found.pairs)
    assert max(pair.rank for pair in found.pairs) < 100
    assert found.alone == 0
    assert found.crowded == 0


def test_no_sample_stands_in_two_pairs_of_a_kind() -> None:
    """A hub near to everything would otherwise fill the page."""
    embeddings = points(200, 8)
    embeddings[0] = embeddings.mean(dim=0)
    pairs = find(embeddings, cap=0.999, pairs=50).pairs
    met = [row for pair in pairs if pair.kind == "confused" for row in (pair.anchor, pair.neighbour)]
    assert len(met) == len(set(met)) == 100


def test_a_sample_far_from_its_class_is_found_beyond_its_near_neighbours() -> None:
    """500 of class 0 around one pole, one of class 1 among them, the other of class 1 at the far pole."""
    embeddings = torch.cat(
        [torch.tensor([[1.0, 0, 0]]).repeat(501, 1) + 0.05 * points(501, 3), -torch.eye(3)[:1]]
    )
    labels = [0] * 500 + [1, 1]
    far = next(pair for pair in find(embeddings, labels).pairs if pair.kind == "far")
    assert {far.anchor, far.neighbour} == {500, 501}
    assert far.similarity < -0.9
    assert far.rank in (0, 500)


def test_a_sample_alone_in_its_class_is_never_far_from_it() -> None:
    pairs = find(points(40), [0] * 39 + [1]).pairs
    assert all(39 not in (pair.anchor, pair.neighbour) for pair in pairs if pair.kind == "far")


def test_rows_without_direction_are_left_out_and_counted() -> None:
    embeddings = points(30)
    embeddings[[4, 9]] = 0
    embeddings[11] = torch.nan
    found = find(embeddings, np.arange(30) % 3)
    assert found.blank == 3
    assert not {4, 9, 11} & {row for pair in found.pairs for row in (pair.anchor, pair.neighbour)}


def test_a_collapsed_model_is_crowded_and_not_confused() -> None:
    found = find(torch.ones(50, 4))
    assert found.crowded == 1
    assert {pair.kind for pair in found.pairs} == {"near-duplicate"}


def test_progress_ends_at_its_total() -> None:
    told: list[tuple[int, int]] = []
    find(points(3000), np.arange(3000) % 3, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 6) for done in range(1, 7)]


@pytest.mark.parametrize(
    ("arguments", "changed", "error", "named"),
    [
        ((points(9),), {"pairs": 0}, ConfigError, "0 pairs"),
        ((points(9),), {"cap": 1.5}, ConfigError, "cap of 1.5"),
        ((points(2),), {}, DataError, "2 of 2 embeddings"),
        ((torch.zeros(9, 4),), {}, DataError, "0 of 9 embeddings"),
        ((points(9), None, np.zeros(9)), {}, DataError, "all samples are of one group"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    arguments: tuple[Any, ...], changed: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        find(*arguments, **changed)
