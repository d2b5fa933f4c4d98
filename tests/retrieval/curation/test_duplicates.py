"""Groups of near-duplicates are stars: all near to the kept one, and no two kept ones near to each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sslkit.errors import ConfigError, DataError
from sslkit.retrieval.curation import duplicates
from sslkit.retrieval.curation.duplicates import Pairs, Star, kept_ids, near_pairs, stars
from sslkit.retrieval.filters import Where
from tests.retrieval.curation.made_index import blobs, index_of, unit


def pairs_by_hand(vectors: NDArray[np.float32], threshold: float) -> set[tuple[int, int]]:
    rows = vectors.astype(np.float64)
    return {
        (i, j)
        for i in range(len(rows))
        for j in range(i + 1, len(rows))
        if float(rows[i] @ rows[j]) >= threshold
    }


def stars_by_hand(count: int, near: dict[tuple[int, int], float], keep: str) -> list[tuple[int, set[int]]]:
    """The greedy of the paper in plain loops."""
    beside: dict[int, dict[int, float]] = {row: {} for row in range(count)}
    for (i, j), similarity in near.items():
        beside[i][j] = beside[j][i] = similarity
    left, kept = set(range(count)), []
    while left:
        best = min(left, key=lambda row: (-len(beside[row]), row) if keep == "centre" else row)
        if beside[best]:
            kept.append(best)
        left -= {best, *beside[best]}
    groups: dict[int, set[int]] = {row: set() for row in kept}
    for row in range(count):
        centres = [centre for centre in kept if centre in beside[row]]
        if row not in kept and centres:
            groups[max(centres, key=lambda centre: (beside[row][centre], -centre))].add(row)
    return [(row, members) for row, members in groups.items() if members]


@pytest.mark.parametrize("keep", ["centre", "first"])
@pytest.mark.parametrize("seed", range(5))
def test_stars_equal_the_plain_greedy(tmp_path: Path, keep: str, seed: int) -> None:
    vectors = blobs([12, 9, 7, 1, 1, 5], spread=0.5, seed=seed)
    with index_of(tmp_path / "index", vectors) as index:
        pairs = near_pairs(index, threshold=0.8)
    found = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert set(found) == pairs_by_hand(vectors, 0.8)
    assert len(found) == len(set(found)) > 20
    near = dict(zip(found, pairs.similarities.tolist(), strict=True))
    groups = stars(pairs, keep)  # type: ignore[arg-type]
    by_hand = stars_by_hand(len(vectors), near, keep)
    assert sorted((star.kept, set(star.others)) for star in groups) == sorted(by_hand)
    kept = {star.kept for star in groups}
    assert not any({i, j} <= kept for i, j in near)
    for star in groups:
        for other, similarity in zip(star.others, star.similarities, strict=True):
            assert similarity == near[min(star.kept, other), max(star.kept, other)] >= 0.8
        assert list(star.similarities) == sorted(star.similarities, reverse=True)
        members = vectors[[star.kept, *star.others]]
        assert (members @ members.T).min() >= 2 * 0.8**2 - 1 - 1e-6  # what the docstring promises
    assert [len(star.others) for star in groups] == sorted((len(s.others) for s in groups), reverse=True)


def test_a_chain_of_small_steps_is_not_one_group(tmp_path: Path) -> None:
    angles = np.deg2rad(np.arange(0, 90, 5))
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    with index_of(tmp_path / "index", vectors) as index:
        groups = stars(near_pairs(index, threshold=float(np.cos(np.deg2rad(5.1)))))
    assert len(groups) == 6  # a connected component would join all 18
    assert max(len(star.others) for star in groups) == 2


def test_planted_copies_are_found_and_nothing_else(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    vectors = unit(generator.standard_normal((200, 32)))
    vectors[150:160] = unit(vectors[:10] + 0.002 * generator.standard_normal((10, 32)))
    vectors[160:165] = vectors[0]
    with index_of(tmp_path / "index", vectors) as index:
        pairs = near_pairs(index)
        groups = stars(pairs, "first")
    assert groups[0].kept == 0  # the largest group first
    assert sorted(star.kept for star in groups) == list(range(10))
    assert set(groups[0].others) == {150, 160, 161, 162, 163, 164}
    assert {star.others for star in groups[1:]} == {(150 + row,) for row in range(1, 10)}
    assert kept_ids(pairs, groups).tolist() == [*range(150), *range(165, 200)]


def test_a_crowd_larger_than_the_first_question_is_one_group(tmp_path: Path) -> None:
    vectors = np.concatenate([blobs([70], spread=0.02), blobs([30], spread=3, seed=1)])
    with index_of(tmp_path / "index", vectors) as index:
        pairs = near_pairs(index, threshold=0.99)
        assert {(i, j) for i, j in zip(pairs.first, pairs.second, strict=True)} == pairs_by_hand(
            vectors, 0.99
        )
    (group,) = stars(pairs)
    assert {group.kept, *group.others} == set(range(70))
    assert pairs.crowded == 0


def test_a_crowd_beyond_the_limit_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MOST", 16)
    copies = np.repeat(blobs([1]), 40, axis=0)
    with index_of(tmp_path / "index", np.concatenate([copies, blobs([20], spread=3, seed=1)])) as index:
        pairs = near_pairs(index)
    assert pairs.crowded == 40
    (group,) = stars(pairs)  # exact copies are one group all the same: all point at the first of them
    assert len(group.others) == 39


def test_too_many_pairs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_PAIRS", 100)
    with (
        index_of(tmp_path / "index", blobs([40], spread=0.01)) as index,
        pytest.raises(ConfigError, match="more than 50 pairs are near: this model sees most items alike"),
    ):
        near_pairs(index)


def test_a_quantile_says_how_many_items_have_a_near_one(tmp_path: Path) -> None:
    vectors = unit(np.random.default_rng(3).standard_normal((100, 6)))
    with index_of(tmp_path / "index", vectors) as index:
        pairs = near_pairs(index, quantile=0.2)
    truth = (vectors.astype(np.float64) @ vectors.T - 9 * np.eye(100)).max(1)
    np.testing.assert_allclose(pairs.nearest, truth, atol=1e-6)
    in_pairs = np.unique(np.concatenate([pairs.first, pairs.second]))
    assert len(in_pairs) in (19, 20, 21)
    assert set(in_pairs) == set(np.flatnonzero(truth >= pairs.threshold - 1e-6))


def test_groups_are_named_by_id(tmp_path: Path) -> None:
    vectors = unit(np.eye(4) + np.eye(4)[[0, 0, 2, 3]])
    with index_of(tmp_path / "index", unit(vectors[[0, 0, 2, 3]]), ids=np.array([70, 9, 5, 800])) as index:
        groups = stars(near_pairs(index))
    assert groups == [Star(9, (70,), (pytest.approx(1.0),))]  # type: ignore[arg-type]


def test_a_condition_limits_the_pairs(tmp_path: Path) -> None:
    vectors = np.repeat(blobs([1, 1, 1], spread=1), 2, axis=0)
    with index_of(tmp_path / "index", vectors) as index:
        assert [star.kept for star in stars(near_pairs(index, where=Where(sql="id <> 3")))] == [0, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.9, "quantile": 0.1}, "either says what is near"),
        ({"threshold": 1.2}, "a cosine of -1 to 1"),
        ({"threshold": float("nan")}, "a cosine of -1 to 1"),
        ({"quantile": 0.0}, "between 0 and 1"),
        ({"quantile": 1.0}, "between 0 and 1"),
    ],
)
def test_wrong_bounds_are_refused(tmp_path: Path, options: dict[str, float], message: str) -> None:
    with index_of(tmp_path / "index", blobs([5])) as index, pytest.raises(ConfigError, match=message):
        near_pairs(index, **options)  # type: ignore[arg-type]


def test_one_item_alone_has_no_duplicate(tmp_path: Path) -> None:
    with index_of(tmp_path / "index", blobs([1])) as index, pytest.raises(DataError, match="two are needed"):
        near_pairs(index)


def test_an_unknown_rule_is_refused() -> None:
    none = np.zeros(0, np.int64)
    pairs = Pairs(np.arange(3), none, none, none.astype(np.float32), 0.9, np.zeros(3, np.float32))
    with pytest.raises(ConfigError, match="keep='largest'; it is one of centre, first"):
        stars(pairs, "largest")  # type: ignore[arg-type]
    assert stars(pairs) == []
    assert kept_ids(pairs, []).tolist() == [0, 1, 2]
