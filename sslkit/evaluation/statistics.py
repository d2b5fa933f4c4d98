"""How sure is a figure? Intervals from seeds and from the bootstrap of test samples, and their differences.

A mean over S seeds judged on one test set is uncertain for two reasons (Bouthillier et al. 2021, "Accounting
for variance in machine learning benchmarks", section 2): another seed would give another head, and another
test set other samples. The first is estimated from the values of the seeds, the second by judging bootstrap
resamples of the test samples (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 6).

    variance = s² / S + v        s²: of the values over seeds, with S - 1 degrees of freedom
                                 v: of the mean over seeds, over resamples, with endless ones

and the interval is the mean plus or minus t sqrt(variance), t at the degrees of freedom of Welch and
Satterthwaite. The luck that each seed has with single samples is in both terms, so the interval is a little
too wide where that is all there is. The tests simulate it: it holds the truth in 95 of 100 worlds, and one
that knows the seeds or the test samples alone in less than 90.

Assumed: seeds are independent draws, test samples too (frames of one video are not), figures are near enough
to normal, and there are some dozens of test samples. Not in it: another pretraining; a run is one draw of it.
Shapes: S seeds, B resamples, M test samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sslkit.contracts import Judged
from sslkit.keyed_random import hashed, word

LEVEL = 0.95
"""Of every interval."""

PAIRED_SEEDS = 5
"""From so many seeds on, differences are taken seed by seed.

That cancels what a seed does to both backbones, and halves the degrees of freedom: with 3 seeds the interval
gets narrower only where their correlation is above .58, with 5 above .31. Not to pair is safe: it is right
for seeds without correlation, and too wide for others.
"""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, or a difference of two, with the 95 % interval low to high.

    low, high: NaN where nothing says how uncertain it is. seeds: how many, the fewer of a difference's two;
    with one, the interval knows the test samples alone. spread: standard deviation over seeds, NaN of one and
    of differences that are not paired. resamples: used; with none, the interval knows the seeds alone.
    left_out: resamples without a figure. p: of seeing so much where there is nothing, two-sided; it is below
    0.05 where the interval has no zero in it.
    """

    mean: float
    low: float
    high: float
    seeds: int
    spread: float
    resamples: int = 0
    left_out: int = 0
    p: float = math.nan

    @property
    def half_width(self) -> float:
        """The mean plus or minus this is the interval; NaN without one."""
        return self.high - self.mean


@dataclass(frozen=True)
class _Group:
    """The seeds of one backbone, or their differences. values: (S,); table: (S, B), B may be 0."""

    values: Numbers
    table: Numbers

    @classmethod
    def of(cls, values: Sequence[float], resamples: Any) -> _Group:
        table = np.asarray(resamples, np.float64)
        return cls(
            np.asarray(values, np.float64),
            table.reshape(len(values), -1) if table.size else np.empty((len(values), 0)),
        )

    def __sub__(self, other: _Group) -> _Group:
        return _Group(self.values - other.values, self.table - other.table)

    @property
    def of_seeds(self) -> tuple[float, int]:
        """s² / S, and its degrees of freedom; nothing of one seed."""
        count = len(self.values)
        return (float(self.values.var(ddof=1)) / count, count - 1) if count > 1 else (0.0, 0)


@dataclass(frozen=True)
class _Resampling:
    """Variance of a mean or difference over resamples of the test samples. used, left_out: how many."""

    variance: float = 0.0
    used: int = 0
    left_out: int = 0


def estimate(values: Sequence[float], resamples: Any = (), *, shared: bool = True) -> Estimate:
    """The mean of the values of S seeds.

    resamples: (S, B), the figure of each seed on each resample of the test samples; one without a figure
    (NaN) of any seed is left out. shared: all seeds were judged on the same resamples; else, to be on the
    safe side, what resampling does is taken to be the same for all.
    """
    group = _Group.of(values, resamples)
    return _estimated([group], [_resampling([group], shared)])


def difference(
    a_values: Sequence[float],
    a_resamples: Any,
    b_values: Sequence[float],
    b_resamples: Any,
    *,
    paired: bool,
    shared: bool = True,
) -> Estimate:
    """Mean of a minus mean of b.

    paired: both were judged on the same resamples. Differences are then taken resample by resample, and what
    is hard for both cancels; seed by seed too from PAIRED_SEEDS seeds on, place by place. Else the variances
    of both are added, which is too much where the test samples are the same after all. shared: as in
    `estimate`; a pair that is not shared has the same resamples seed by seed. Raises ValueError for a pair of
    other sizes.
    """
    a, b = _Group.of(a_values, a_resamples), _Group.of(b_values, b_resamples)
    if not paired:
        return _estimated([a, b], [_resampling([a], shared), _resampling([b], shared)])
    if a.table.shape[1] != b.table.shape[1] or not (shared or len(a.values) == len(b.values)):
        raise ValueError(
            f"a pair has the same resamples; there are {len(a.values)} and {len(b.values)} seeds with "
            f"{a.table.shape[1]} and {b.table.shape[1]} resamples"
        )
    if len(a.values) == len(b.values) >= PAIRED_SEEDS:
        return _estimated([a - b], [_resampling([a - b], shared)])
    return _estimated([a, b], [_resampling([a, b] if shared else [a - b], shared)])


def _resampling(groups: Sequence[_Group], shared: bool) -> _Resampling:
    """groups: of the mean (one) or of the difference (first minus second), on the same resamples."""
    finite = np.all([np.isfinite(group.table).all(axis=0) for group in groups], axis=0)
    used, left_out = int(finite.sum()), int((~finite).sum())
    if used < 2:
        return _Resampling(left_out=left_out)
    tables = [group.table[:, finite] for group in groups]
    if not shared:
        return _Resampling(float(tables[0].var(axis=1, ddof=1).mean()), used, left_out)
    means = [table.mean(axis=0) for table in tables]
    whole = means[0] if len(means) == 1 else means[0] - means[1]
    return _Resampling(float(whole.var(ddof=1)), used, left_out)


def _estimated(groups: Sequence[_Group], resamplings: Sequence[_Resampling]) -> Estimate:
    """The interval of groups (one, or two of a difference), resampled together or each by itself."""
    means = [float(group.values.mean()) for group in groups]
    mean = means[0] if len(means) == 1 else means[0] - means[1]
    used = min(one.used for one in resamplings)
    spread = (
        float(groups[0].values.std(ddof=1)) if len(groups) == 1 and len(groups[0].values) > 1 else math.nan
    )
    half = p = math.nan
    # Of each group something must say how uncertain it is.
    if math.isfinite(mean) and (used or all(group.of_seeds[0] > 0 for group in groups)):
        seeds = [group.of_seeds for group in groups]
        total = sum(variance for variance, _ in seeds) + sum(one.variance for one in resamplings)
        uncertain = sum(variance**2 / freedom for variance, freedom in seeds if freedom)
        half, p = _reach(mean, math.sqrt(total), total**2 / uncertain if uncertain > 0 else math.inf)
    return Estimate(
        mean,
        mean - half,
        mean + half,
        min(len(group.values) for group in groups),
        spread,
        used,
        max(one.left_out for one in resamplings),
        p,
    )


def _reach(mean: float, deviation: float, freedom: float) -> tuple[float, float]:
    """Half the width of the interval, and p of a mean this far from zero."""
    from scipy.special import stdtr, stdtrit  # scipy.stats takes a second to import

    if deviation == 0:
        return 0.0, 0.0 if mean else 1.0
    half = float(stdtrit(freedom, 0.5 + LEVEL / 2)) * deviation
    return half, min(1.0, 2 * float(stdtr(freedom, -abs(mean) / deviation)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for so many comparisons (Holm 1979); NaN stays NaN and does not count.

    The share of families with even one false claim stays below the level at which these are cut, however the
    comparisons depend on each other.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    least = 0.0
    for rank, (p, place) in enumerate(known):
        least = max(least, min(1.0, (len(known) - rank) * p))  # never below that of a smaller p
        adjusted[place] = least
    return adjusted


def bootstrap_rows(count: int, number: int, key: str) -> NDArray[np.int64]:
    """Resample `number` of `count` samples, drawn with replacement: int64 (count,), set by all three."""
    drawn = hashed(word("bootstrap"), word(key), count, number, torch.arange(count, dtype=torch.int64))
    return torch.remainder(drawn, count).numpy()


def resampled(judged: Judged, metric: str, *, resamples: int, key: str) -> tuple[float, ...]:
    """The figure on bootstrap resamples of the test samples, B values, NaN where a resample has none.

    key: names the test samples; every backbone and seed judged on them is judged on the same resamples.
    """
    if judged.count == 0:
        return (math.nan,) * resamples
    return tuple(
        float(judged.figures(bootstrap_rows(judged.count, number, key)).figures[metric])
        for number in range(resamples)
    )
