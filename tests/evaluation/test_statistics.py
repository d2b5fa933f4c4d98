"""Intervals hold the truth as often as they say, and equal the textbook's where there is one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pytest
import scipy.stats
import torch

from sslkit.contracts import Figures
from sslkit.evaluation.judged import PerSample, Ranked
from sslkit.evaluation.statistics import Estimate, bootstrap_rows, difference, estimate, holm, resampled

SEEDS, TEST, RESAMPLES, WORLDS = 3, 200, 80, 1000
EASY, HARD, SEED_EFFECT = 0.95, 0.05, 0.04
TRUTH = (EASY + HARD) / 2


@dataclass
class Tally:
    """How often intervals held the truth, and how wide they were."""

    held: dict[str, int] = field(default_factory=dict)
    width: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, found: Estimate, truth: float) -> None:
        self.held[name] = self.held.get(name, 0) + (found.low <= truth <= found.high)
        self.width[name] = self.width.get(name, 0.0) + (found.high - found.low) / WORLDS

    def coverage(self, name: str) -> float:
        return self.held[name] / WORLDS


def naive(values: np.ndarray, table: np.ndarray, part: str) -> Estimate:
    """An interval that knows of the seeds alone, or of the test samples alone."""
    if part == "seeds":
        return estimate(values.tolist())
    return estimate([values.mean()], table.mean(axis=0)[None])


@pytest.fixture(scope="module")
def simulated() -> Tally:
    """Worlds with easy and hard test samples; two backbones find mostly the same ones hard."""
    rng, tally = np.random.default_rng(3), Tally()
    rows = np.stack([bootstrap_rows(TEST, number, "worlds") for number in range(RESAMPLES)])
    for _ in range(WORLDS):
        easy = rng.random(TEST) < 0.5
        other = np.where(rng.random(TEST) < 0.3, rng.random(TEST) < 0.5, easy)
        judged = []
        for kind in (easy, other):
            chance = np.where(kind, EASY, HARD) + rng.normal(0, SEED_EFFECT, (SEEDS, 1))
            right = (rng.random((SEEDS, TEST)) < chance).astype(float)
            judged.append((right.mean(axis=1), right[:, rows].mean(axis=2)))  # (S,) and (S, B)
        a, b = judged
        tally.add("mean", estimate(*a), TRUTH)
        for part in ("seeds", "test"):
            tally.add(f"mean, {part} alone", naive(*a, part), TRUTH)
            tally.add(f"difference, {part} alone", naive(a[0] - b[0], a[1] - b[1], part), 0.0)
        tally.add("paired", difference(*a, *b, paired=True), 0.0)
        tally.add("unpaired", difference(*a, *b, paired=False), 0.0)
        tally.add("not shared", estimate(*a, shared=False), TRUTH)
    return tally


@pytest.mark.parametrize("what", ["mean", "paired"])
def test_intervals_hold_the_truth_as_often_as_they_say(simulated: Tally, what: str) -> None:
    assert 0.92 <= simulated.coverage(what) <= 0.98


@pytest.mark.parametrize("what", ["mean, seeds alone", "mean, test alone"])
def test_an_interval_that_knows_only_one_of_the_two_reasons_holds_it_too_rarely(
    simulated: Tally, what: str
) -> None:
    assert simulated.coverage(what) < 0.92


def test_a_difference_that_knows_the_test_samples_alone_is_wrong_too_often(simulated: Tally) -> None:
    assert simulated.coverage("difference, test alone") < 0.92


def test_pairing_narrows_where_the_same_samples_are_hard_for_both(simulated: Tally) -> None:
    assert simulated.width["paired"] < 0.85 * simulated.width["unpaired"]
    assert simulated.coverage("unpaired") > 0.95  # honest too, of samples it takes to be others
    a, b = np.random.default_rng(0).normal(0, 0.01, (2, 3))
    hard = np.random.default_rng(1).normal(0, 0.05, 100)  # what a resample does to both
    one, other = np.tile(hard, (3, 1)) + 0.6, np.tile(hard, (3, 1)) + 0.5
    paired = difference(0.6 + a, one, 0.5 + b, other, paired=True)
    unpaired = difference(0.6 + a, one, 0.5 + b, other, paired=False)
    assert paired.mean == pytest.approx(unpaired.mean)
    assert paired.half_width < 0.5 * unpaired.half_width


def test_seeds_judged_on_other_resamples_are_taken_to_share_their_luck(simulated: Tally) -> None:
    assert simulated.coverage("not shared") >= 0.95
    assert simulated.width["not shared"] > simulated.width["mean"]


def slow(values: list[float], table: list[list[float]]) -> tuple[float, float]:
    """(Half the width, p) in plain loops: the docstring of the module again."""
    count = len(values)
    mean = sum(values) / count
    of_seeds = sum((value - mean) ** 2 for value in values) / (count - 1) / count

    over = [sum(column) / count for column in zip(*table, strict=True)]  # the mean of all seeds, by resample
    middle = sum(over) / len(over)
    of_samples = sum((value - middle) ** 2 for value in over) / (len(over) - 1)
    total = of_seeds + of_samples
    freedom = total**2 / (of_seeds**2 / (count - 1))
    half = scipy.stats.t.ppf(0.975, freedom) * math.sqrt(total)
    return half, 2 * scipy.stats.t.sf(abs(mean) / math.sqrt(total), freedom)


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("common", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("spread", [0.0001, 0.05])
def test_an_estimate_is_the_formula_in_plain_loops(seeds: int, common: float, spread: float) -> None:
    rng = np.random.default_rng([seeds, int(common * 1000), int(spread * 10000)])
    values = (0.1 + rng.normal(0, spread, seeds)).tolist()
    table = (0.1 + rng.normal(0, common, 40) + rng.normal(0, 0.02, (seeds, 40))).tolist()
    found = estimate(values, table)
    half, p = slow(values, table)
    assert found.half_width == pytest.approx(half, rel=1e-10)
    assert found.p == pytest.approx(p, rel=1e-8)
    assert found.mean == pytest.approx(sum(values) / seeds, rel=1e-12)
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
    assert (found.seeds, found.resamples, found.left_out) == (seeds, 40, 0)
    assert found.spread == pytest.approx(float(np.std(values, ddof=1)), rel=1e-12)


def test_without_resamples_it_is_students_and_welchs_interval() -> None:
    a, b = [0.61, 0.66, 0.58, 0.7, 0.65], [0.52, 0.5, 0.59, 0.55, 0.54]
    one = estimate(a)
    low, high = scipy.stats.t.interval(0.95, 4, np.mean(a), scipy.stats.sem(a))
    assert (one.low, one.high) == pytest.approx((low, high), rel=1e-10)
    for paired, oracle in (
        (True, scipy.stats.ttest_rel(a, b)),
        (False, scipy.stats.ttest_ind(a, b, equal_var=False)),
    ):
        found = difference(a, (), b, (), paired=paired)
        interval = oracle.confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-10)
        assert found.p == pytest.approx(oracle.pvalue, rel=1e-8)


def test_one_seed_has_the_interval_of_its_test_samples() -> None:
    table = np.random.default_rng(0).normal(0.5, 0.02, (1, 300))
    found = estimate([0.5], table)
    assert found.half_width == pytest.approx(1.959963984540054 * table.std(ddof=1))
    assert found.seeds == 1
    assert math.isnan(found.spread)


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5, 0.5]])
def test_without_anything_that_varies_there_is_no_interval(values: list[float]) -> None:
    found = estimate(values)
    assert found.mean == 0.5
    assert all(math.isnan(one) for one in (found.low, found.high, found.half_width, found.p))
    against = difference(values, (), [0.1, 0.3], (), paired=False)
    assert math.isnan(against.low)


def test_resamples_without_a_figure_are_left_out_and_counted() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(0.5, 0.02, (2, 50))
    broken = table.copy()
    broken[0, :10], broken[1, 5:30] = math.nan, math.inf
    found = estimate([0.5, 0.52], broken)
    assert (found.resamples, found.left_out) == (20, 30)
    kept = estimate([0.5, 0.52], table[:, 30:])
    assert (found.low, found.high) == (kept.low, kept.high)


def test_a_pair_of_other_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match="3 and 2 resamples"):
        difference([0.1], [[1, 2, 3]], [0.3], [[1, 2]], paired=True)
    with pytest.raises(ValueError, match="2 and 1 seeds"):
        difference([0.1, 0.2], [[1, 2]] * 2, [0.3], [[1, 2]], paired=True, shared=False)


def test_few_seeds_are_paired_by_resample_and_not_by_seed() -> None:
    rng = np.random.default_rng(5)
    hard, own = rng.normal(0, 0.05, 400), rng.normal(0, 0.01, (2, 3, 400))
    a, b = [0.61, 0.66, 0.58], [0.52, 0.5]
    found = difference(a, 0.6 + hard + own[0], b, 0.5 + hard + own[1, :2], paired=True)
    of_seeds = [np.var(a, ddof=1) / 3, np.var(b, ddof=1) / 2]
    total = sum(of_seeds) + np.var(own[0].mean(axis=0) - own[1, :2].mean(axis=0), ddof=1)  # hard cancels
    freedom = total**2 / (of_seeds[0] ** 2 / 2 + of_seeds[1] ** 2)
    assert found.half_width == pytest.approx(scipy.stats.t.ppf(0.975, freedom) * math.sqrt(total), rel=1e-10)
    assert found.mean == pytest.approx(np.mean(a) - np.mean(b))
    assert (found.seeds, found.resamples) == (2, 400)


def test_many_seeds_are_paired_by_seed_too() -> None:
    rng = np.random.default_rng(6)
    draws, own = rng.normal(0, 0.05, 6), rng.normal(0, 0.002, (2, 6))  # the same few labels for both
    paired = difference(0.6 + draws + own[0], (), 0.5 + draws + own[1], (), paired=True)
    unpaired = difference(0.6 + draws + own[0], (), 0.5 + draws + own[1], (), paired=False)
    assert paired.half_width < 0.2 * unpaired.half_width
    assert paired.spread == pytest.approx(np.std(own[0] - own[1], ddof=1))
    assert math.isnan(unpaired.spread)


def closed(p_values: list[float]) -> list[float]:
    """Holm's procedure is closed testing by Bonferroni: the worst of all families one belongs to."""
    everyone = range(len(p_values))
    families = [family for size in everyone for family in combinations(everyone, size + 1)]
    return [
        max(min(1.0, len(family) * min(p_values[j] for j in family)) for family in families if i in family)
        for i in everyone
    ]


@pytest.mark.parametrize("seed", range(5))
def test_adjusted_p_values_are_those_of_closed_testing(seed: int) -> None:
    p_values = (np.random.default_rng(seed).random(6) ** 3).tolist()
    assert holm(p_values) == pytest.approx(closed(p_values), rel=1e-12)
    assert holm([]) == []
    with_unknown = holm([p_values[0], math.nan, p_values[1]])
    assert math.isnan(with_unknown[1])
    assert with_unknown[::2] == pytest.approx(closed(p_values[:2]))


def test_resamples_are_a_function_of_count_number_and_key() -> None:
    first = bootstrap_rows(50, 0, "a")
    assert first.dtype == np.int64
    assert first.shape == (50,)
    assert np.array_equal(first, bootstrap_rows(50, 0, "a"))
    for other in (bootstrap_rows(50, 1, "a"), bootstrap_rows(50, 0, "b"), bootstrap_rows(100, 0, "a")[:50]):
        assert not np.array_equal(first, other % 50)


def test_every_sample_is_drawn_as_often_and_some_several_times() -> None:
    drawn = np.concatenate([bootstrap_rows(40, number, "key") for number in range(500)])
    counts = np.bincount(drawn, minlength=40)
    assert scipy.stats.chisquare(counts).pvalue > 0.001
    absent = 1 - np.mean([len(set(bootstrap_rows(40, number, "key").tolist())) for number in range(500)]) / 40
    assert absent == pytest.approx((1 - 1 / 40) ** 40, abs=0.01)  # drawn with replacement


def test_the_spread_of_resampled_figures_is_that_of_a_mean() -> None:
    hits = (torch.arange(400) % 5 > 1).double()
    found = resampled(PerSample({"right": hits}), "right", resamples=400, key="test")
    assert len(found) == 400
    expected = math.sqrt(0.6 * 0.4 / 400)
    assert np.std(found, ddof=1) == pytest.approx(expected, rel=0.12)
    assert np.mean(found) == pytest.approx(0.6, abs=4 * expected / math.sqrt(400))


def test_two_backbones_are_judged_on_the_same_resamples() -> None:
    labels = torch.arange(60) % 3
    one = Ranked(labels[:, None], labels, "abc")
    other = Ranked(torch.where(torch.arange(60) < 30, labels, (labels + 1) % 3)[:, None], labels, "abc")
    a, b = (np.array(resampled(each, "top1", resamples=30, key="same")) for each in (one, other))
    assert a.tolist() == [1.0] * 30
    rows = np.stack([bootstrap_rows(60, number, "same") for number in range(30)])
    assert b == pytest.approx((rows < 30).mean(axis=1))


@dataclass
class Nothing:
    """A judgement of no sample."""

    count = 0

    def figures(self, rows: np.ndarray | None = None) -> Figures:
        raise AssertionError("there is nothing to sum up")


def test_no_test_sample_has_no_figure() -> None:
    assert all(math.isnan(one) for one in resampled(Nothing(), "top1", resamples=3, key="k"))  # type: ignore[arg-type]
