"""k-centre: the plain greedy, at most twice the optimum, and figures of a cover by their definition."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from sslkit.errors import ConfigError
from sslkit.retrieval.curation import diverse
from sslkit.retrieval.curation.diverse import covering, k_centre
from tests.retrieval.curation.made_index import blobs, unit


def distances(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    rows = vectors.astype(np.float64)
    return np.array([[np.linalg.norm(a - b) for b in rows] for a in rows])


def greedy_by_hand(vectors: NDArray[np.float32], count: int) -> tuple[list[int], list[float]]:
    apart = distances(vectors)
    chosen = [int((vectors.astype(np.float64) @ vectors.sum(0, dtype=np.float64)).argmax())]
    radii = []
    while True:
        to_nearest = [min(apart[row, centre] for centre in chosen) for row in range(len(vectors))]
        radii.append(max(to_nearest))
        if len(chosen) == count:
            return chosen, radii
        chosen.append(to_nearest.index(max(to_nearest)))


@pytest.mark.parametrize("block", [1, 7, 4096])
@pytest.mark.parametrize("seed", range(3))
def test_the_choice_is_that_of_the_plain_greedy(
    monkeypatch: pytest.MonkeyPatch, block: int, seed: int
) -> None:
    monkeypatch.setattr(diverse, "_BLOCK", block)
    monkeypatch.setattr(diverse, "_CENTRES", 3)
    vectors = blobs([30, 20, 10], spread=0.8, seed=seed)
    found = k_centre(vectors, 25)
    rows, radii = greedy_by_hand(vectors, 25)
    assert found.rows.tolist() == rows
    np.testing.assert_allclose(found.radii, radii, atol=1e-3)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_radius_is_at_most_twice_the_least_possible(count: int) -> None:
    for seed in range(20):
        vectors = unit(np.random.default_rng(seed).standard_normal((11, 3)))
        apart = distances(vectors)
        least = min(apart[list(some)].min(0).max() for some in combinations(range(11), count))
        assert least - 1e-3 <= k_centre(vectors, count).radii[-1] <= 2 * least + 1e-3


def test_every_group_is_covered_before_any_is_seen_twice() -> None:
    vectors = blobs([500, 3, 1, 40])
    groups = np.repeat(np.arange(4), [500, 3, 1, 40])
    assert set(groups[k_centre(vectors, 4).rows].tolist()) == {0, 1, 2, 3}


def test_all_of_them_may_be_chosen_and_copies_are_chosen_last() -> None:
    vectors = np.concatenate([blobs([6], spread=1), np.repeat(blobs([1], seed=8), 5, axis=0)])
    found = k_centre(vectors, 11)
    assert sorted(found.rows.tolist()) == list(range(11))
    assert found.radii[-1] == 0
    assert (found.radii[6:] < 1e-3).all()
    assert (found.radii[:6] > 1e-3).all()


def test_radii_fall_and_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    found = k_centre(blobs([50], spread=1), 10, progress=lambda done, total: told.append((done, total)))
    assert (np.diff(found.radii) <= 0).all()
    assert told == [(done, 10) for done in range(1, 11)]


def test_a_cover_by_its_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diverse, "_BLOCK", 13)
    monkeypatch.setattr(diverse, "_CENTRES", 2)
    vectors, rows = blobs([40], spread=1), np.array([3, 30, 7, 22, 5])
    apart = distances(vectors)
    largest, mean = covering(vectors, rows, [1, 4, 5])
    for place, many in enumerate((1, 4, 5)):
        to_nearest = apart[:, rows[:many]].min(1)
        assert largest[place] == pytest.approx(to_nearest.max(), abs=1e-3)
        assert mean[place] == pytest.approx(to_nearest.mean(), abs=1e-3)


def test_the_radii_of_the_choice_are_those_of_its_cover() -> None:
    vectors = blobs([80], spread=1)
    found = k_centre(vectors, 9)
    largest, _ = covering(vectors, found.rows, list(range(1, 10)))
    np.testing.assert_allclose(found.radii, largest, atol=1e-3)


@pytest.mark.parametrize("count", [0, 6])
def test_impossible_numbers_are_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=f"{count} of 5 items to choose; there may be 1 to 5"):
        k_centre(blobs([5]), count)
