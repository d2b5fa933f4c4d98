"""Pairs of samples: all of them, or a draw that repeats."""

from __future__ import annotations

import numpy as np
import pytest

from sslkit.errors import ConfigError, DataError
from sslkit.evaluation.sample_pairs import SamplePairs, choose_pairs

LABELS = np.random.default_rng(0).integers(0, 6, 60)


def unordered(pairs: SamplePairs) -> set[tuple[int, int]]:
    both = zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
    return {(min(pair), max(pair)) for pair in both}


@pytest.mark.parametrize("labels", [LABELS, np.array([2, 0, 2]), np.array([0, 1, 1, 5, 5, 5, 5])])
def test_where_all_are_wanted_every_pair_comes_once(labels: np.ndarray) -> None:
    pairs = choose_pairs(labels, most=10_000, trial=3)
    every = {(i, j) for i in range(len(labels)) for j in range(i + 1, len(labels))}
    assert unordered(pairs) == every
    assert len(pairs.first) == len(every)
    assert (pairs.genuine == (labels[pairs.first] == labels[pairs.second])).all()


@pytest.mark.parametrize("most", [2, 7, 100, 1769])
def test_of_a_draw_half_are_genuine_and_none_comes_twice(most: int) -> None:
    pairs = choose_pairs(LABELS, most=most, trial=0)
    assert len(pairs.first) == most == len(unordered(pairs))
    assert (pairs.first != pairs.second).all()
    assert (pairs.genuine == (LABELS[pairs.first] == LABELS[pairs.second])).all()
    genuine = len(choose_pairs(LABELS, most=10_000, trial=0).genuine.nonzero()[0])
    assert pairs.genuine.sum() == min(genuine, max(most // 2, most - (60 * 59 // 2 - genuine)))


def test_where_one_kind_is_rare_all_of_it_is_drawn() -> None:
    rare_impostors = choose_pairs(np.array([0] * 30 + [1]), most=100, trial=0)
    assert (rare_impostors.genuine.sum(), len(unordered(rare_impostors))) == (70, 100)
    rare_genuine = choose_pairs(np.array([*range(29), 0, 1]), most=100, trial=0)
    assert (rare_genuine.genuine.sum(), len(unordered(rare_genuine))) == (2, 100)


def test_a_draw_is_a_function_of_the_trial() -> None:
    one, again, other = (unordered(choose_pairs(LABELS, most=200, trial=trial)) for trial in (0, 0, 1))
    assert one == again != other


def test_every_pair_is_drawn_about_as_often() -> None:
    times = np.zeros((60, 60))
    for trial in range(400):
        pairs = choose_pairs(LABELS, most=200, trial=trial)
        np.add.at(times, (pairs.first, pairs.second), 1)
    times += times.T
    same = LABELS[:, None] == LABELS
    off = ~np.eye(60, dtype=bool)
    for kind in (same & off, ~same):
        expected = 400 * 100 / (kind.sum() / 2)
        assert abs(times[kind] - expected).max() < 7 * np.sqrt(expected)


def test_what_makes_no_pairs_is_refused() -> None:
    with pytest.raises(ConfigError, match="pairs=1"):
        choose_pairs(LABELS, most=1, trial=0)
    for labels in (np.zeros(5, int), np.arange(5), np.zeros(0, int), np.zeros(1, int)):
        with pytest.raises(DataError, match="at least one of each is needed"):
            choose_pairs(labels, most=100, trial=0)


def test_millions_of_samples_need_no_list_of_all_pairs() -> None:
    labels = np.arange(200_000) % 1000
    pairs = choose_pairs(labels, most=1000, trial=0)
    assert pairs.genuine.sum() == 500
    assert (pairs.genuine == (labels[pairs.first] == labels[pairs.second])).all()
