"""Timing one piece of work again and again: how long it takes in the middle, and how that varies."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

Clock = Callable[[], float]
"""Seconds from any beginning."""


@dataclass(frozen=True)
class Spread:
    """The median of measurements and the quartiles around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(*(float(value) for value in np.percentile(values, [25, 50, 75])))

    def scaled(self, factor: float) -> Spread:
        """The same in another unit."""
        return Spread(self.low * factor, self.median * factor, self.high * factor)


def timed(
    work: Callable[[], object], *, passes: int, device: torch.device, clock: Clock = time.perf_counter
) -> list[float]:
    """Seconds of each pass; on a GPU until all of it is done, so that none hides behind another."""
    seconds = []
    for _ in range(passes):
        settle(device)
        start = clock()
        work()
        settle(device)
        seconds.append(clock() - start)
    return seconds


def settle(device: torch.device) -> None:
    """Wait until the device has nothing to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
