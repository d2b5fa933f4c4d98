"""Draws of labelled samples: sizes by plain loops and published ones, nesting, chance."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from sslkit.data.label_draws import (
    draw_long_tail,
    draw_per_class,
    draw_share,
    drawn_rows,
    repeated_to_balance,
)
from sslkit.errors import ConfigError, DataError


def labelled(*counts: int, unknown: int = 0, seed: int = 0) -> np.ndarray:
    """So many samples of each class, in any order."""
    labels = np.repeat([*range(len(counts)), -1], [*counts, unknown])
    return np.random.default_rng(seed).permutation(labels).astype(np.int64)


def sizes(labels: np.ndarray, rows: np.ndarray) -> list[int]:
    drawn: list[int] = np.bincount(labels[rows], minlength=labels.max() + 1).tolist()
    return drawn


DRAWS: dict[str, Callable[..., np.ndarray]] = {
    "per_class": lambda labels, trial: draw_per_class(labels, 4, trial=trial),
    "share": lambda labels, trial: draw_share(labels, 0.3, trial=trial),
    "imbalance": lambda labels, trial: draw_long_tail(labels, 10, trial=trial),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_rows_are_in_order_known_drawn_once_and_a_function_of_the_trial(
    draw: Callable[..., np.ndarray],
) -> None:
    labels = labelled(40, 30, 20, unknown=25)
    rows = draw(labels, trial=3)
    assert rows.dtype == np.int64
    assert (np.diff(rows) > 0).all()
    assert (labels[rows] >= 0).all()
    assert np.array_equal(rows, draw(labels, trial=3))
    assert not np.array_equal(rows, draw(labels, trial=4))


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_every_sample_of_a_class_has_the_same_chance(draw: Callable[..., np.ndarray]) -> None:
    labels = labelled(20, 20, 20)
    drawn = np.zeros((800, 60))
    for trial in range(800):
        drawn[trial, draw(labels, trial=trial)] = 1
    for k in range(3):
        of_class = drawn[:, labels == k]
        share = of_class.mean()
        deviation = np.sqrt(share * (1 - share) / 800)
        assert np.abs(of_class.mean(axis=0) - share).max() <= 4 * deviation


def test_the_draws_of_one_trial_are_nested() -> None:
    rng = np.random.default_rng(1)
    for trial in range(20):
        labels = labelled(*rng.integers(12, 90, rng.integers(2, 9)), unknown=5, seed=trial)
        shares = [0.01, 0.02, 0.05, 0.1, 0.11, 0.25, 0.5, 1.0]
        chains = [
            [draw_per_class(labels, count, trial=trial) for count in (1, 5, 10)],
            [draw_share(labels, share, trial=trial) for share in shares],
            [draw_long_tail(labels, imbalance, trial=trial) for imbalance in (50, 10, 1)],
        ]
        for smaller, larger in itertools.chain.from_iterable(itertools.pairwise(chain) for chain in chains):
            assert set(smaller) <= set(larger)
        assert set(draw_per_class(labels, 1, trial=trial)) <= set(draw_share(labels, 0.01, trial=trial))


def test_per_class_draws_so_many_of_each_and_names_the_classes_that_lack_them() -> None:
    labels = labelled(9, 5, 7)
    assert sizes(labels, draw_per_class(labels, 5, trial=0)) == [5, 5, 5]
    with pytest.raises(DataError, match=r"6 samples .* dog has 5; ask for at most 5"):
        draw_per_class(labels, 6, trial=0, classes=["cat", "dog", "cow"])
    with pytest.raises(DataError, match=r"class 1 has 5, class 2 has 7, class 0 has 9; .* at most 5"):
        draw_per_class(labels, 10, trial=0)
    with pytest.raises(DataError, match=r"elk has 0; give every class samples"):
        draw_per_class(labels, 5, trial=0, classes=["cat", "dog", "cow", "elk"])
    with pytest.raises(DataError, match=r"class 4 has 1, class 5 has 1, \.\.\. \(9 classes in all\)"):
        draw_per_class(np.arange(9), 2, trial=0)
    gap = np.array([0, 0, 2, 2, -1])  # class 1 does not occur, and nobody has named it
    assert draw_per_class(gap, 2, trial=0).tolist() == [0, 1, 2, 3]


def due(count: int, place: int) -> Fraction:
    """When the next row of a class is due (Sainte-Laguë); the first of each comes before all others."""
    return Fraction(2 * place + 1, 2 * count) if place else Fraction(-1)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.34, 0.5, 0.97, 1.0])
def test_a_share_has_the_sizes_of_sainte_lague_and_at_least_one_of_each(share: float) -> None:
    rng = np.random.default_rng(2)
    for seed in range(12):
        counts = [int(count) for count in rng.integers(1, 200, rng.integers(1, 12))]
        labels = labelled(*counts, unknown=7, seed=seed)
        found = sizes(labels, draw_share(labels, share, trial=seed))
        assert sum(found) == max(round(share * sum(counts)), len(counts))
        assert min(found) >= 1
        last = max(due(count, had - 1) for count, had in zip(counts, found, strict=True))
        waiting = [due(count, had) for count, had in zip(counts, found, strict=True) if had < count]
        assert last <= min(waiting, default=Fraction(1))


def test_a_share_of_equal_classes_is_equal_and_what_is_left_over_falls_to_chance() -> None:
    labels = labelled(50, 50, 50, 50)
    assert sizes(labels, draw_share(labels, 0.1, trial=0)) == [5, 5, 5, 5]
    odd = {tuple(sizes(labels, draw_share(labels, 0.105, trial=trial))) for trial in range(40)}
    assert odd == {(6, 5, 5, 5), (5, 6, 5, 5), (5, 5, 6, 5), (5, 5, 5, 6)}
    assert draw_share(labels, 1.0, trial=0).tolist() == list(range(200))


@pytest.mark.parametrize(
    ("imbalance", "published"),
    [
        (
            100,
            [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50],
        ),  # CIFAR-10-LT of Cao et al., NeurIPS 2019
        (50, [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100]),
        (1, [5000] * 10),
    ],
)
def test_a_long_tail_has_the_published_sizes(imbalance: float, published: list[int]) -> None:
    labels = np.arange(50_000) % 10
    assert sizes(labels, draw_long_tail(labels, imbalance, trial=0)) == published


def test_a_long_tail_keeps_what_is_rarer_and_leaves_one_of_each() -> None:
    for counts, imbalance, left in (
        ([100, 8, 100, 100], 8, [100, 8, 25, 12]),
        ([10, 10, 10], 1000, [10, 1, 1]),
        ([300, 300], 100, [300, 3]),
        ([100] * 6, 32, [100, 50, 25, 12, 6, 3]),  # 100 * 32^(-2/5) is 25 but for rounding
        ([0, 30, 0, 30], 10, [0, 30, 0, 3]),
        ([5], 10, [5]),
    ):
        labels = labelled(*counts)
        assert sizes(labels, draw_long_tail(labels, imbalance, trial=0)) == left


def test_repeating_to_balance_is_fair_to_every_row() -> None:
    labels = labelled(50, 20, 7, 1, unknown=4)
    rows = repeated_to_balance(labels, trial=0)
    assert sizes(labels, rows) == [50] * 4
    times = np.bincount(rows, minlength=len(labels))
    for k, count in enumerate((50, 20, 7, 1)):
        assert set(times[labels == k].tolist()) <= {50 // count, -(-50 // count)}
    assert times[labels < 0].sum() == 0
    assert np.array_equal(rows, repeated_to_balance(labels, trial=0))
    assert not np.array_equal(rows, repeated_to_balance(labels, trial=1))


def test_one_door_for_all_three() -> None:
    labels = labelled(40, 30, 20)
    assert np.array_equal(drawn_rows(labels, per_class=2, trial=1), draw_per_class(labels, 2, trial=1))
    assert np.array_equal(drawn_rows(labels, share=0.2, trial=1), draw_share(labels, 0.2, trial=1))
    assert np.array_equal(drawn_rows(labels, imbalance=5, trial=1), draw_long_tail(labels, 5, trial=1))
    with pytest.raises(DataError, match="cow has 20"):
        drawn_rows(labels, per_class=25, trial=0, classes=["cat", "dog", "cow"])
    with pytest.raises(ConfigError, match="given: none"):
        drawn_rows(labels, trial=0)
    with pytest.raises(ConfigError, match="given: per_class and share"):
        drawn_rows(labels, per_class=2, share=0.1, trial=0)


def test_numbers_out_of_range_and_unlabelled_data_are_refused() -> None:
    labels = labelled(4, 4)
    with pytest.raises(ConfigError, match="at least 1"):
        draw_per_class(labels, 0, trial=0)
    for share in (0.0, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="share="):
            draw_share(labels, share, trial=0)
    for imbalance in (0.5, float("nan")):
        with pytest.raises(ConfigError, match="imbalance="):
            draw_long_tail(labels, imbalance, trial=0)
    for draw in DRAWS.values():
        with pytest.raises(DataError, match="none of 3 samples has a class"):
            draw(np.full(3, -1), trial=0)
