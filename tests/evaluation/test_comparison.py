"""Rows are compared in pairs where they may be, and not where they may not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from sslkit.evaluation.comparison import LEAST_TEST, compared, estimated, marks, unlikeness, valued, verdict
from sslkit.evaluation.rows import Row
from sslkit.evaluation.statistics import Estimate, difference
from tests.evaluation.transfer_rows import failed, row


def rows(subject: str, share: float, seeds: int = 3, **changed: object) -> list[Row]:
    return [row("knn", subject, seed, share, **changed) for seed in range(seeds)]  # type: ignore[arg-type]


def test_rows_measured_alike_are_not_unlike() -> None:
    assert unlikeness(rows("a", 0.5), rows("b", 0.6)) == []
    assert unlikeness([], rows("b", 0.6)) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"protocol": "knn@ff"}, "protocols knn@0123456789ab and knn@ff"),
        ({"metric": "map"}, "metrics top1 and map"),
        ({"data": "other"}, "data data of knn and other"),
        ({"test": 150}, "numbers of samples 500 + 200 and 500 + 150 (training + test)"),
        ({"train": 10}, "numbers of samples 500 + 200 and 10 + 200 (training + test)"),
    ],
)
def test_what_was_measured_otherwise_is_told(changed: dict[str, object], told: str) -> None:
    other = [replace(one, **changed) for one in rows("b", 0.6)]
    assert unlikeness(rows("a", 0.5), other) == [told]


def test_what_failed_alike_is_told_once_with_its_seeds() -> None:
    good, bad = row("knn", "run", 1, 0.5), "out of\nmemory"
    found, lost = valued({1: good, 0: failed("knn", "run", 0, bad), 2: failed("knn", "run", 2, bad)})
    assert found == [good]
    assert lost == ("seeds 0, 2: out of memory",)
    assert valued({0: failed("knn", "run", 0, bad)}) == ([], ("out of memory",))
    assert valued({}) == ([], ("not measured",))


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_row_without_a_figure_does_not_count(value: float | None) -> None:
    empty = row("knn", "run", 0, 0.5, figures={"top1": value})
    assert valued({0: empty})[1] == ("no top1: there was nothing to make it of",)


def test_a_seed_of_another_protocol_is_left_out_of_the_mean() -> None:
    mixed = {0: row("knn", "run", 0, 0.5), 1: row("knn", "run", 1, 0.9, protocol="knn@ff")}
    found, lost = valued(mixed)
    assert [one.seed for one in found] == [0]
    assert lost == ("seed 1: left out, measured otherwise: protocols knn@0123456789ab and knn@ff",)


def table(of: list[Row]) -> list[tuple[float, ...]]:
    return [one.resamples for one in of]


def values(of: list[Row]) -> list[float]:
    return [one.figures["top1"] or 0.0 for one in of]


def test_rows_judged_on_the_same_resamples_are_compared_in_pairs() -> None:
    a, b = rows("a", 0.6), rows("b", 0.5, seeds=2)
    expected = difference(values(a), table(a), values(b), table(b), paired=True)
    assert compared(a, b, alike=True) == pytest.approx(expected, nan_ok=True)
    loose = difference(values(a), table(a), values(b), table(b), paired=False)
    assert compared(a, b, alike=False).half_width == loose.half_width > expected.half_width


def approx_same(found: Estimate, expected: Estimate) -> bool:
    return (found.mean, found.low, found.high) == (expected.mean, expected.low, expected.high)


@pytest.mark.parametrize("changed", [{"resampling": "of other samples"}, {"resamples": 40}])
def test_rows_judged_on_other_resamples_are_not_paired(changed: dict[str, object]) -> None:
    a, b = rows("a", 0.6), rows("b", 0.5, **changed)
    expected = difference(values(a), table(a), values(b), table(b), paired=False)
    assert approx_same(compared(a, b, alike=True), expected)


def test_seeds_that_judge_other_samples_are_paired_seed_by_seed() -> None:
    a, b = (
        [replace(one, resampling=f"draw {one.seed}") for one in rows(name, share)]
        for name, share in (("a", 0.6), ("b", 0.5))
    )
    expected = difference(values(a), table(a), values(b), table(b), paired=True, shared=False)
    assert approx_same(compared(a, b, alike=True), expected)
    fewer = difference(values(a), table(a), values(b[1:]), table(b[1:]), paired=False, shared=False)
    assert approx_same(compared(a, b[1:], alike=True), fewer)
    assert estimated(a).half_width > estimated(rows("a", 0.6)).half_width


def test_too_few_test_samples_give_no_interval() -> None:
    few = compared(rows("a", 1.1, test=LEAST_TEST - 1), rows("b", -1, test=LEAST_TEST - 1), alike=True)
    assert few.mean == 1
    assert math.isnan(few.low)
    assert verdict(few, higher_is_better=True) == "no evidence of a difference"
    enough = compared(rows("a", 1.1, test=LEAST_TEST), rows("b", -1, test=LEAST_TEST), alike=True)
    assert verdict(enough, higher_is_better=True) == "better"


@pytest.mark.parametrize(
    ("low", "high", "higher", "said"),
    [
        (0.01, 0.2, True, "better"),
        (0.01, 0.2, False, "worse"),
        (-0.2, -0.01, True, "worse"),
        (-0.2, -0.01, False, "better"),
        (-0.01, 0.2, True, "no evidence of a difference"),
        (-0.2, 0.01, False, "no evidence of a difference"),
        (0.0, 0.0, True, "no evidence of a difference"),
        (math.nan, math.nan, True, "no evidence of a difference"),
    ],
)
def test_a_verdict_needs_an_interval_without_zero(low: float, high: float, higher: bool, said: str) -> None:
    found = Estimate((low + high) / 2, low, high, 3, 0.1)
    assert verdict(found, higher_is_better=higher) == said


def test_marks_tell_what_an_interval_does_not_know() -> None:
    three = rows("a", 0.6)
    assert marks(three, 3, estimated(three)) == []
    assert marks(three[:2], 3, estimated(three[:2])) == ["2 of 3 seeds"]
    assert marks(three[:1], 1, estimated(three[:1])) == [
        "a single seed: the interval knows the test samples alone"
    ]
    bare = rows("a", 0.6, resamples=0)
    assert marks(bare, 3, estimated(bare)) == [
        "test samples not resampled: the interval knows the seeds alone"
    ]
    assert marks(bare[:1], 1, estimated(bare[:1])) == ["no interval: a single seed"]
    same = [replace(one, figures={"top1": 0.5}) for one in bare]
    assert marks(same, 3, estimated(same)) == ["no interval: nothing varies"]
    holes = [replace(one, resamples=(math.nan,) * 40 + one.resamples[40:]) for one in three]
    assert marks(holes, 3, estimated(holes)) == ["40 of 60 resamples had no figure"]
    few = rows("a", 0.6, test=12)
    assert marks(few, 3, estimated(few)) == ["only 12 test samples"]
