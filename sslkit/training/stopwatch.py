"""Where the time of a step goes: waiting, copying, views, forward, backward, optimiser, mining, logging."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

PHASES = ("wait", "copy", "views", "forward", "backward", "optimiser", "mining", "logging", "other")
"""In the order in which they are told."""

OUTSIDE = "outside"
"""Time that is not a step's, such as the monitor's look; it is not in the split."""


class Stopwatch:
    """Splits all time between `start` and `take` into phases; a phase inside another stops the outer one.

    On an accelerator the borders are events in its queue, which are read by `take` alone: nothing waits for
    the device until then, and a phase holds what the device did or stood idle for.
    """

    def __init__(self, device: torch.device) -> None:
        self._events = device.type == "cuda"
        self._open = ["other"]
        self._borders: list[tuple[str, torch.cuda.Event]] = []
        self._seconds = _zeros()
        self._since = 0.0
        self.start()

    def start(self) -> None:
        """Begin anew: what was measured so far is forgotten."""
        self._borders.clear()
        self._seconds = _zeros()
        self._since = time.perf_counter()
        if self._events:
            self._border(self._open[-1])

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time spent in here belongs to one of PHASES, or to OUTSIDE; phases within excepted."""
        if name not in self._seconds:
            raise KeyError(f"'{name}' is no phase of a step; phases are {', '.join(PHASES)}")
        self._switch(name)
        self._open.append(name)
        try:
            yield
        finally:
            self._switch(self._open[-2])
            self._open.pop()

    def take(self) -> dict[str, float]:
        """Seconds by phase since `start`, which begins anew; waits for an accelerator."""
        self._switch(self._open[-1])
        if self._events:
            torch.cuda.synchronize()
            for (name, begin), (_, end) in zip(self._borders, self._borders[1:], strict=False):
                self._seconds[name] += begin.elapsed_time(end) / 1000
        taken = {name: self._seconds[name] for name in PHASES}
        self.start()
        return taken

    def _switch(self, to: str) -> None:
        """Account for the time since the last switch; `to` comes next."""
        if self._events:
            self._border(to)
            return
        now = time.perf_counter()
        self._seconds[self._open[-1]] += now - self._since
        self._since = now

    def _border(self, name: str) -> None:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self._borders.append((name, event))


def _zeros() -> dict[str, float]:
    return dict.fromkeys((*PHASES, OUTSIDE), 0.0)


def told(seconds: Mapping[str, float]) -> str:
    """The split for people: "views 3 % · forward 38 %", phases below half a percent left out."""
    whole = sum(seconds.values())
    shares = {name: value / whole for name, value in seconds.items()} if whole > 0 else {}
    return " · ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= 0.005)
