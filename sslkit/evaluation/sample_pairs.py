"""Pairs of samples, of one class or of two: all of them, or a draw that repeats."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from sslkit.errors import ConfigError, DataError
from sslkit.keyed_random import hashed, word


class SamplePairs(NamedTuple):
    """first, second: int64 (P,), rows of two samples; genuine: bool (P,), whether they are of one class."""

    first: np.ndarray
    second: np.ndarray
    genuine: np.ndarray


def choose_pairs(labels: np.ndarray, *, most: int, trial: int) -> SamplePairs:
    """Every pair of samples with labels int64 (M,) once, or where there are more than `most`, so many.

    Of the drawn half are genuine, or all that are, if fewer; the others are impostors. Genuine pairs and
    impostors are each numbered, sample by sample, and one is drawn of each of equally long stretches of the
    numbers: none comes twice, and every sample is met about as often as in all pairs. The draw is a
    function of `trial` and the labels.

    Raises ConfigError unless most >= 2, DataError where there is no genuine pair or no impostor.
    """
    if most < 2:
        raise ConfigError(f"pairs={most}: at least 2 are needed, such as 200000")
    by_class = np.argsort(labels, kind="stable")
    places = np.arange(len(labels))
    ends = np.searchsorted(labels[by_class], labels[by_class], side="right")  # where each place's class ends
    genuine = np.cumsum(ends - places - 1)  # pairs of each place with the later ones of its class
    impostors = np.cumsum(len(labels) - ends)  # and with all of later classes
    totals = [int(counts[-1]) if len(counts) else 0 for counts in (genuine, impostors)]
    if not min(totals):
        raise DataError(
            f"{len(labels)} samples of {len(np.unique(labels))} classes make {totals[0]} pairs of one class "
            f"and {totals[1]} of two; at least one of each is needed: two samples of a class, and another"
        )
    wanted = totals
    if sum(totals) > most:
        of_one = min(totals[0], max(most // 2, most - totals[1]))
        wanted = [of_one, most - of_one]
    parts = []
    for what, counts, offset, total, count in zip(
        ("genuine", "impostor"), (genuine, impostors), (places + 1, ends), totals, wanted, strict=True
    ):
        numbers = _drawn(total, count, trial, what)
        first = np.searchsorted(counts, numbers, side="right")
        before = np.where(first > 0, counts[first - 1], 0)
        parts.append((by_class[first], by_class[offset[first] + numbers - before]))
    return SamplePairs(
        np.concatenate([first for first, _ in parts]),
        np.concatenate([second for _, second in parts]),
        np.repeat([True, False], [len(first) for first, _ in parts]),
    )


def _drawn(total: int, count: int, trial: int, what: str) -> np.ndarray:
    """`count` different numbers of 0..total-1, in order; int64."""
    bounds = np.array([total * part // count for part in range(count + 1)], np.int64)
    drawn = hashed(trial, word(what), torch.arange(count)).numpy() >> 1  # half of 64 bits, none negative
    chosen: np.ndarray = bounds[:-1] + (drawn & 2**62 - 1) % np.diff(bounds)
    return chosen
