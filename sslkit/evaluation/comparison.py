"""The rows of two backbones on one task: may they be compared, and by how much do they differ?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sslkit.evaluation.rows import Row
from sslkit.evaluation.statistics import Estimate, difference, estimate

BETTER, WORSE, EVEN = "better", "worse", "no evidence of a difference"
INCOMPARABLE = "not comparable"
LEAST_TEST = 6
"""Fewer test samples show nothing at 95 %, even where all go one way: 2 / 2^5 > 0.05 (sign test)."""

FEW_TEST = 30
"""Below so many test samples a bootstrap's interval is too narrow, by sqrt(1 - 1 / M) and what is skewed."""


def valued(rows: Mapping[int, Row]) -> tuple[list[Row], tuple[str, ...]]:
    """The rows that have a figure and were measured alike, by seed; and why the others do not count.

    What failed for the same reason is told once, with its seeds where not all failed so.
    """
    found: list[Row] = []
    lost: dict[str, list[int]] = {}
    for seed in sorted(rows):
        row = rows[seed]
        reason = row.failure
        if reason is None and (row.value is None or not math.isfinite(row.value)):
            reason = f"no {row.metric or 'figure'}: there was nothing to make it of"
        if reason is None and found and (unlike := unlikeness(found[:1], [row])):
            reason = f"left out, measured otherwise: {'; '.join(unlike)}"
        if reason is None:
            found.append(row)
        else:
            lost.setdefault(" ".join(reason.split()), []).append(seed)
    if not rows:
        return [], ("not measured",)
    return found, tuple(
        reason if len(seeds) == len(rows) else f"{_seeds(seeds)}: {reason}" for reason, seeds in lost.items()
    )


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def unlikeness(a: Sequence[Row], b: Sequence[Row]) -> list[str]:
    """In what rows of one task were measured otherwise, such as "protocols knn-20@12ab and knn-20@34cd"."""
    found = []
    for what, values in (
        ("protocols", [{row.protocol for row in rows} for rows in (a, b)]),
        ("metrics", [{row.metric for row in rows} for rows in (a, b)]),
        ("data", [{row.data for row in rows} for rows in (a, b)]),
    ):
        if values[0] != values[1] and all(values):
            found.append(f"{what} {' and '.join(', '.join(sorted(one)) for one in values)}")
    by_seed = {row.seed: row for row in b}
    for row in a:  # what a seed draws is the same for every backbone
        other = by_seed.get(row.seed)
        if other is not None and (row.train, row.test) != (other.train, other.test):
            found.append(
                f"numbers of samples {row.train} + {row.test} and {other.train} + {other.test} "
                "(training + test)"
            )
            break
    return found


def estimated(rows: Sequence[Row]) -> Estimate:
    """The mean of the rows' figures."""
    return estimate(_values(rows), _table(rows), shared=_shared(rows))


def compared(a: Sequence[Row], b: Sequence[Row], *, alike: bool) -> Estimate:
    """Mean of a minus mean of b, resample by resample where both were judged on the same ones.

    alike: they were measured alike. There is no interval from fewer than LEAST_TEST test samples.
    """
    shared = _shared(a) and _shared(b)
    paired = alike and _draws(a) == _draws(b)
    found = difference(_values(a), _table(a), _values(b), _table(b), paired=paired, shared=shared)
    if min(row.test for row in [*a, *b]) < LEAST_TEST:
        found = replace(found, low=math.nan, high=math.nan, p=math.nan)
    return found


def verdict(found: Estimate, *, higher_is_better: bool) -> str:
    """What a difference says at 95 %; without an interval there is no evidence."""
    low, high = (found.low, found.high) if higher_is_better else (-found.high, -found.low)
    return BETTER if low > 0 else WORSE if high < 0 else EVEN


def marks(rows: Sequence[Row], measured: int, found: Estimate) -> list[str]:
    """What a reader is to know of a figure. measured: rows there are, with those that failed."""
    told = []
    if len(rows) < measured:
        told.append(f"{len(rows)} of {measured} seeds")
    if math.isnan(found.low):
        told.append("no interval: nothing varies" if len(rows) > 1 else "no interval: a single seed")
    elif found.seeds == 1:
        told.append("a single seed: the interval knows the test samples alone")
    elif not found.resamples:
        told.append("test samples not resampled: the interval knows the seeds alone")
    if found.left_out > found.resamples:
        told.append(f"{found.left_out} of {found.left_out + found.resamples} resamples had no figure")
    if (test := min(row.test for row in rows)) < FEW_TEST:
        told.append(f"only {test} test sample{'s' if test != 1 else ''}")
    return told


def _values(rows: Sequence[Row]) -> list[float]:
    return [float(row.value) for row in rows if row.value is not None]


def _table(rows: Sequence[Row]) -> list[tuple[float, ...]] | tuple[()]:
    """The resamples of all rows, nothing where one has none or another number."""
    return [row.resamples for row in rows] if len({len(row.resamples) for row in rows}) == 1 else ()


def _shared(rows: Sequence[Row]) -> bool:
    return len({row.resampling for row in rows}) == 1


def _draws(rows: Sequence[Row]) -> set[tuple[str, int]] | list[tuple[int, str, int]]:
    """What rows must have in common to be paired: one kind of resamples, or the same one of each seed."""
    if _shared(rows):
        return {(row.resampling, len(row.resamples)) for row in rows}
    return [(row.seed, row.resampling, len(row.resamples)) for row in rows]
