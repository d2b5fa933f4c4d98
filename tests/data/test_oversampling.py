"""Repeat factors and class weights, against the papers in plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sslkit.data.oversampling import repeat_factors, repeated, repeated_length
from sslkit.errors import ConfigError
from sslkit.keyed_random import hashed, permutation, word


def counted(samples: int = 60, classes: int = 6, seed: int = 0) -> np.ndarray:
    """Objects of classes from common to rare; the last never comes, and some samples hold nothing."""
    rates = 2.0 * 0.35 ** np.arange(classes)
    rates[-1] = 0
    return np.random.default_rng(seed).poisson(rates, (samples, classes))


def factors_slowly(counts: np.ndarray, threshold: float) -> list[float]:
    samples, classes = counts.shape
    of_class = []
    for c in range(classes):
        f = sum(counts[i, c] > 0 for i in range(samples)) / samples
        of_class.append(max(1.0, math.sqrt(threshold / f)) if f else 1.0)
    return [max([1.0, *(of_class[c] for c in range(classes) if counts[i, c] > 0)]) for i in range(samples)]


@pytest.mark.parametrize("threshold", [0.0, 0.01, 0.2, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_repeat_factors_are_those_of_plain_loops(seed: int, threshold: float) -> None:
    counts = counted(seed=seed)
    np.testing.assert_allclose(repeat_factors(counts, threshold), factors_slowly(counts, threshold))


def repeated_slowly(factors: np.ndarray, seed: int, epoch: int) -> list[int]:
    """Samples lie one after another on a line; every number start, start + 1, ... reads the one it hits."""
    order = permutation(len(factors), seed=seed, epoch=epoch).tolist()
    total = math.ceil(round(float(factors.sum()), 6))
    start = (int(hashed(seed, epoch, word("repeat"))) % 2**53) / 2**53
    ids, end, place = [], 0.0, 0
    for id in order:
        end += factors[id] * total / factors.sum()
        while start + place < end and place < total:
            ids.append(id)
            place += 1
    return ids


@pytest.mark.parametrize("epoch", range(5))
def test_an_epoch_repeats_as_plain_loops_do(epoch: int) -> None:
    factors = repeat_factors(counted(), 0.3)
    assert repeated(factors, seed=3, epoch=epoch).tolist() == repeated_slowly(factors, 3, epoch)


def test_every_epoch_is_of_one_length_and_rounds_by_chance() -> None:
    factors = repeat_factors(counted(), 0.3)
    assert 1 < factors.max() < 4
    times = np.array(
        [np.bincount(repeated(factors, seed=0, epoch=epoch), minlength=60) for epoch in range(400)]
    )
    assert (times.sum(axis=1) == repeated_length(factors)).all()
    assert (times >= np.floor(factors)).all()
    assert (times <= np.ceil(factors * (1 + 1 / factors.sum()))).all()
    expected = factors * repeated_length(factors) / factors.sum()
    assert np.abs(times.mean(axis=0) - expected).max() < 4 * 0.5 / math.sqrt(400)
    assert (times.std(axis=0)[factors % 1 > 0.1] > 0).all()


def test_nothing_rare_reads_every_sample_once() -> None:
    ids = repeated(repeat_factors(counted(), 0.0), seed=0, epoch=1)
    assert sorted(ids.tolist()) == list(range(60))


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"oversample=1.5: use a share of the samples"):
        repeat_factors(counted(), 1.5)
