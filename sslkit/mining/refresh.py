"""A fresh index now and then, built beside training, that takes over at a step known beforehand.

    step start + i * every: snapshot of the bank, the build begins in a thread
    lag steps later:        the new index takes over; where it is not ready, training waits

The step of a takeover never depends on how quick the machine is, so a run can be repeated and resumed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from sslkit.errors import CheckpointError, ConfigError
from sslkit.keyed_random import permutation
from sslkit.mining.bank import Bank, Snapshot
from sslkit.neighbours.corpus import CorpusIndex, Kind

LEAST_FILLED = 2
"""With fewer written slots there is no neighbour to find."""

STALE, FRESH = 0.5, 0.2
"""Above the first staleness `auto` halves the steps between refreshes, below the second it doubles them."""

_REACH = 8  # `auto` stays within this factor of where it began
_PROBES, _NEIGHBOURS = 256, 10  # whose neighbours, and how many of each, staleness compares


class Refresher:
    """Keeps an index over a bank: `before_step` once before each step, then look at `current`.

    every: steps between two snapshots, or "auto" to adapt them to the staleness, beginning at `initial` and
    within a factor of 8 of it. lag: steps from snapshot to takeover; 0 builds at once. start: the step of the
    first snapshot. kind: of the index.

    staleness: share of the 10 nearest neighbours of 256 fixed samples that changed from one index to the
    next; None before the second. reports: lines for the journal, to be taken out by whoever shows them.

    Raises ConfigError for counts that cannot work together. A refresh that fails does not raise: it is
    reported and the index before it stays.
    """

    def __init__(
        self,
        bank: Bank,
        *,
        every: int | Literal["auto"],
        lag: int,
        start: int,
        kind: Kind = "auto",
        initial: int = 1000,
    ) -> None:
        self.adaptive = every == "auto"
        self.every = initial if every == "auto" else every
        if lag < 0 or start < 0 or self.every < max(lag, 1):
            raise ConfigError(
                f"an index every {self.every} steps with a lag of {lag}, from step {start} on; the steps "
                "between two (mining.refresh) must be at least 1 and the lag, neither lag nor start below 0"
            )
        self._bounds = max(self.every // _REACH, lag, 1), self.every * _REACH
        self.bank, self.lag, self.kind = bank, lag, kind
        self.staleness: float | None = None
        self.reports: list[str] = []
        self._next, self._step = start, 0
        self._pending: _Build | None = None
        self._active: _Build | None = None
        self._waited = 0.0
        self._order: NDArray[np.int64] | None = None

    @property
    def current(self) -> tuple[CorpusIndex, Snapshot] | None:
        """The index to use and the snapshot it was built from; None before the first takeover."""
        if self._active is None or self._active.index is None:
            return None
        return self._active.index, self._active.snapshot

    @property
    def building(self) -> bool:
        """Whether an index is in the making right now; nothing that must repeat may depend on it."""
        return self._pending is not None and not self._pending.done

    def before_step(self, step: int) -> None:
        """Take over and begin what is due; may wait for a build that is late."""
        self._step = step
        self._take_over_if_due()
        if step >= self._next:
            self._begin()
            self._take_over_if_due()  # at once, with no lag

    def figures(self) -> dict[str, float]:
        """Scalars for the diary: the share of filled slots, and what the last takeover cost and brought.

        refresh_seconds: of its build. refresh_wait_seconds: how long training waited for it. refresh_age:
        steps since its snapshot. staleness: see the class. refresh_every: where it adapts.
        """
        figures = {"bank_filled": self._filled() / len(self.bank)}
        if self._active is not None:
            figures["refresh_seconds"] = self._active.seconds
            figures["refresh_wait_seconds"] = self._waited
            figures["refresh_age"] = float(self._step - self._active.begun)
        if self.staleness is not None:
            figures["staleness"] = self.staleness
        if self.adaptive:
            figures["refresh_every"] = float(self.every)
        return figures

    def state_dict(self, step: int) -> dict[str, Any]:
        """What the next takeovers depend on, after `step` steps; the indexes themselves are built again."""
        return {
            "step": step,
            "every": self.every,
            "next": self._next,
            "staleness": self.staleness,
            "active": None if self._active is None else self._active.state(),
            "pending": None if self._pending is None else self._pending.state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as the refresher that gave the state; builds its index before returning.

        Raises CheckpointError where a snapshot is of another size than the bank.
        """
        self.close()
        self._step, self.every, self._next = state["step"], state["every"], state["next"]
        self.staleness = state["staleness"]
        self._active = self._resumed(state["active"])
        if self._active is not None:
            self._active.wait()
            if self._active.error is not None:
                self._report(f"the index of step {self._active.begun} could not be built again", self._active)
                self._active = None
        self._pending = self._resumed(state["pending"])

    def close(self) -> None:
        """Wait for the build under way, if any."""
        if self._pending is not None:
            self._pending.wait()

    def _begin(self) -> None:
        self._next = self._step + self.every
        filled = self._filled()
        if filled < LEAST_FILLED:
            self.reports.append(
                f"no index begun at step {self._step}: {filled} of {len(self.bank)} slots of the bank are "
                f"filled, {LEAST_FILLED} are needed; the next try is at step {self._next}"
            )
            return
        self._pending = _Build(self.bank.snapshot(), self.kind, self._step)

    def _take_over_if_due(self) -> None:
        build = self._pending
        if build is None or self._step < build.begun + self.lag:
            return
        self._pending = None
        late = not build.done
        waited = build.wait()
        if late and self.lag:
            self.reports.append(
                f"the index begun at step {build.begun} was not ready at step {self._step}; training waited "
                f"{waited:.2f} s for it (a larger mining.lag gives it more steps)"
            )
        if build.index is None:
            kept = "there is none yet" if self._active is None else "the one before it stays"
            self._report(f"the index begun at step {build.begun} failed, {kept}", build)
            return
        if build.index.note is not None:
            self.reports.append(f"the index begun at step {build.begun}: {build.index.note}")
        before, self._active, self._waited = self._active, build, waited
        if before is not None:
            self._measure(before, build)

    def _measure(self, before: _Build, after: _Build) -> None:
        if self._order is None:
            self._order = permutation(len(self.bank), seed=0, epoch=0).numpy()
        both = before.snapshot.holds(self._order) & after.snapshot.holds(self._order)
        probes = self._order[both][:_PROBES]
        if not len(probes):
            return
        old, new = before.neighbours(probes), after.neighbours(probes)
        shared = int(((old[:, :, None] == new[:, None, :]) & (old >= 0)[:, :, None]).sum())
        self.staleness = 1 - shared / max(int((old >= 0).sum()), 1)
        if self.adaptive:
            factor = 0.5 if self.staleness > STALE else 2.0 if self.staleness < FRESH else 1.0
            self.every = min(max(int(self.every * factor), self._bounds[0]), self._bounds[1])
            self._next = after.begun + self.every

    def _resumed(self, state: Mapping[str, Any] | None) -> _Build | None:
        if state is None:
            return None
        found, needed = tuple(state["vectors"].shape), (len(self.bank), self.bank.dim)
        if found != needed:
            raise CheckpointError(
                f"the checkpoint holds a snapshot of the bank of shape {found}, this run needs {needed}; "
                "resume with the data and the projector the run was started with"
            )
        snapshot = Snapshot(state["vectors"].numpy(), state["filled"].numpy())
        return _Build(snapshot, self.kind, state["begun"])

    def _filled(self) -> int:
        return int(np.count_nonzero(self.bank.written >= 0))

    def _report(self, what: str, build: _Build) -> None:
        self.reports.append(f"{what}: {type(build.error).__name__}: {build.error}")


class _Build:
    """An index in the making, begun at step `begun`; ready or failed once `wait` returned."""

    def __init__(self, snapshot: Snapshot, kind: Kind, begun: int) -> None:
        self.snapshot, self.begun = snapshot, begun
        self.index: CorpusIndex | None = None
        self.error: Exception | None = None
        self.seconds = 0.0
        # torch's current device belongs to a thread, and the GPU of this rank may not be the first.
        started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        device = torch.cuda.current_device() if started else None
        self._thread = threading.Thread(
            target=self._work, args=(kind, device), name="sslkit-refresh", daemon=True
        )
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> float:
        """Seconds that passed until the build was over."""
        began = time.perf_counter()
        self._thread.join()
        return time.perf_counter() - began

    def state(self) -> dict[str, Any]:
        return {
            "begun": self.begun,
            "vectors": torch.from_numpy(self.snapshot.vectors),
            "filled": torch.from_numpy(self.snapshot.filled),
        }

    def neighbours(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The nearest others of slots (Q,) in the snapshot, int64 (Q, 10), -1 where there are fewer."""
        assert self.index is not None
        rows, _ = self.index.search(self.snapshot.vectors[ids].astype(np.float32), _NEIGHBOURS + 1)
        rows[rows == ids[:, None]] = -1
        last = np.argsort(rows < 0, axis=1, kind="stable")  # the sample itself goes to the end
        return np.take_along_axis(rows, last, axis=1)[:, :_NEIGHBOURS]

    def _work(self, kind: Kind, device: int | None) -> None:
        began = time.perf_counter()
        try:
            if device is not None:
                torch.cuda.set_device(device)
            # One thread: training has the others, and the number of cores does not shape the index.
            self.index = CorpusIndex.build(self.snapshot.vectors, self.snapshot.filled, kind=kind, threads=1)
        except Exception as error:  # whatever it was, it must not end the run
            self.error = error
        self.seconds = time.perf_counter() - began
