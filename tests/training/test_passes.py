"""Timed passes: one reading before and one after each, and the quartiles of what they took."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslkit.training.passes import Spread, timed

CPU = torch.device("cpu")


def test_a_pass_takes_what_passes_on_the_clock_while_it_works() -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 100  # what reading costs is not the work's
        return now[0]

    durations = iter([1.0, 5.0, 2.0])

    def work() -> None:
        now[0] += next(durations)

    assert timed(work, passes=3, device=CPU, clock=clock) == [101, 105, 102]


@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_the_spread_is_of_the_quartiles(count: int) -> None:
    values = np.random.default_rng(count).random(count).tolist()
    ordered = sorted(values)
    found = Spread.of(values)
    for quartile, share in ((found.low, 0.25), (found.median, 0.5), (found.high, 0.75)):
        place = share * (count - 1)  # linear between the two nearest
        below = ordered[int(place)]
        above = ordered[min(int(place) + 1, count - 1)]
        assert quartile == pytest.approx(below + (place - int(place)) * (above - below))


def test_a_spread_scales() -> None:
    assert Spread(1, 2, 3).scaled(10) == Spread(10, 20, 30)
