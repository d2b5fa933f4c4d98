"""Choosing a search structure by measuring it: recall of held-out queries, time and memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

import numpy as np

from sslkit.errors import ConfigError
from sslkit.keyed_random import permutation
from sslkit.neighbours.flat import FlatIndex
from sslkit.neighbours.plan import Effort, planned
from sslkit.neighbours.plan import Kind as StructureKind
from sslkit.neighbours.sharded import fill
from sslkit.neighbours.structure import Structure
from sslkit.neighbours.trials import HeldOut, Trial

Kind = Literal["auto", "flat", "hnsw", "ivf_fastscan", "ivf_rabitq", "ivf_sq8"]

Fill = Callable[[Structure, FlatIndex], Structure]
"""Takes all rows into a trained, empty structure."""

FLAT_ROWS = 20_000
"""Fewer vectors than these are searched exactly: a query of 128 dimensions takes some 0.2 ms."""

LEAST_ROWS = 1_000
"""Fewer than these always are: no structure can learn from them, and too few queries could be held out."""

DECIDING_ROWS = 50_000
"""Above this many vectors the structures are compared on so many of them, and only the best is built."""

GRAPH_ROWS = 200_000
"""Above this many vectors `auto` builds no HNSW graph unless a latency is asked for.

It takes some ten times as long as inverted lists."""

KINDS: tuple[StructureKind, ...] = get_args(StructureKind)
"""Structures there are, beside exact search."""

_QUERIES = 1_000
_TIMED = 16  # queries, where nothing but the time of exact search is asked
_SHARE = 10  # at most one row in so many is held out
_ALIKE = 1.5  # times this near to one another may be told apart by chance
_BEYOND = 1  # efforts measured beyond the one that is enough, to see what more would cost
_BUILDS = 2  # structures built on all vectors, at most


@dataclass(frozen=True)
class Wanted:
    """What an index is asked for.

    kind: of the structure; "auto" measures and chooses. recall: share of the true `k` nearest that a search
    finds, to be reached by the lower end of the measured 95 % interval. memory: most bytes that searching may
    keep in memory. Of inverted lists that is their own size: of the exact vectors, which stay in a mapped
    file, re-ranking reads a few hundred rows. Exact search reads all of them and a graph is walked over them,
    so that they count there. latency: most milliseconds for one query by itself, on this machine. None: no
    limit.
    """

    kind: Kind = "auto"
    recall: float = 0.95
    k: int = 10
    memory: int | None = None
    latency: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(f"an index of kind '{self.kind}'; it is one of {', '.join(get_args(Kind))}")
        if not 0 < self.recall < 1:
            raise ConfigError(
                f"recall={self.recall} asked of a search structure; it lies between 0 and 1, such as 0.95; "
                "for all true neighbours use kind flat"
            )
        for name, least in (("k", 1), ("memory", 1), ("latency", 0.0)):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= least and value > 0):
                raise ConfigError(f"{name}={value} asked of an index; it must be above zero")


@dataclass(frozen=True)
class Picked:
    """What was chosen, and why.

    structure: None for exact search. effort: how hard the structure has to look, None without one. trials:
    all that was measured, in the order of measuring; one is chosen. queries: how many were held out, k: of
    the recall. sample: what was measured, in words. note: where the wish could not be met, else "".
    """

    structure: Structure | None
    effort: Effort | None
    trials: tuple[Trial, ...]
    queries: int
    k: int
    sample: str
    note: str = ""

    @property
    def chosen(self) -> Trial:
        """The trial of what was chosen."""
        return next(trial for trial in self.trials if trial.chosen)

    def to_dict(self) -> dict[str, Any]:
        """What the passport of an index says about its search, as JSON holds it."""
        chosen = self.chosen.to_dict()
        return {
            **{name: chosen[name] for name in ("kind", "factory", "effort", "recall", "low", "high")},
            "k": self.k,
            "queries": self.queries,
            "sample": self.sample,
            "note": self.note,
            "trials": [trial.to_dict() for trial in self.trials],
        }


def pick(
    vectors: FlatIndex,
    wanted: Wanted,
    *,
    seed: int = 0,
    filled: Fill = fill,
    progress: Callable[[str], None] | None = None,
) -> Picked:
    """Choose, build and tune the structure that finds neighbours among all rows of `vectors` as wanted.

    Fewer than 20,000 vectors are searched exactly, and more are where exact search keeps within the latency
    asked for. Else structures are compared on at most 50,000 rows: of those that reach the recall in memory
    and latency (without a latency: in half as much time again as the quickest) the smallest is built on all.
    Its efforts are measured from quick to thorough until the lower end of the recall's interval reaches the
    target. Where it falls short the next best is built too, and the nearest to the wish is kept, with a note.

    Held-out queries are rows drawn by key, at most 1,000 and a tenth; no structure is trained on them, and in
    the comparison they are in none. In the one over all rows they are, since its rows are those of `vectors`,
    and recall is of the others: `HeldOut` says how. filled: takes all rows into a trained structure.

    Raises:
        ConfigError: no structure fits into `wanted.memory`; the message names the smallest that there is.
    """
    return _Search(vectors, wanted, seed, filled, progress or (lambda _line: None)).picked()


class _Search:
    """One choice: the vectors, the wish, and what was measured so far."""

    def __init__(
        self, vectors: FlatIndex, wanted: Wanted, seed: int, filled: Fill, say: Callable[[str], None]
    ) -> None:
        self.vectors, self.wanted, self.seed, self.filled, self.say = vectors, wanted, seed, filled, say
        self.trials: list[Trial] = []
        order = permutation(len(vectors), seed=seed, epoch=0).numpy()
        held = min(_QUERIES, len(order) // _SHARE)
        self.held, self.others = np.sort(order[:held]), order[held:]

    def picked(self) -> Picked:
        count, wanted = len(self.vectors), self.wanted
        limited = wanted.memory is not None or wanted.latency is not None
        if wanted.kind == "flat" or count < (LEAST_ROWS if limited or wanted.kind != "auto" else FLAT_ROWS):
            return self._exact()
        whole = HeldOut(self.vectors, self.vectors.rows(self.held), wanted.k, self.held)
        self.trials.append(whole.exact_trial())
        if wanted.kind == "auto" and self._exact_will_do(self.trials[0]):
            return self._result(None, self.trials[0])
        if count <= DECIDING_ROWS:
            return self._best(self._tuned(kind, self.vectors, whole) for kind in self._kinds())
        return self._best(self._tuned(kind, self.vectors, whole) for kind in self._compared(whole))

    def _exact(self) -> Picked:
        """Exact search without a choice; only its time is measured."""
        few = np.sort(np.concatenate([self.held, self.others])[:_TIMED])
        trial = HeldOut(self.vectors, self.vectors.rows(few), self.wanted.k).exact_trial()
        self.trials.append(trial)
        self._check_memory([trial])
        return self._result(None, trial)

    def _exact_will_do(self, flat: Trial) -> bool:
        if not self._fits(flat):
            return False
        if self.wanted.latency is not None:
            return flat.milliseconds <= self.wanted.latency
        return flat.rows < FLAT_ROWS

    def _kinds(self) -> tuple[StructureKind, ...]:
        if self.wanted.kind != "auto":
            return (cast(StructureKind, self.wanted.kind),)
        graph = len(self.vectors) <= GRAPH_ROWS or self.wanted.latency is not None
        return ("ivf_fastscan", "ivf_rabitq", "ivf_sq8", *(("hnsw",) if graph else ()))

    def _compared(self, whole: HeldOut) -> Iterator[StructureKind]:
        """Kinds to build on all vectors, the best first, as they do on a sample of them."""
        if self.wanted.kind != "auto" and self.wanted.memory is None:
            yield self._kinds()[0]
            return
        rows = np.sort(self.others[:DECIDING_ROWS])
        sample = FlatIndex.build(self.vectors.rows(rows))
        exam = HeldOut(sample, whole.queries, self.wanted.k)
        self.say(f"comparing {', '.join(self._kinds())} on {len(rows):,} of {len(self.vectors):,} vectors")
        found = [self._tuned(kind, sample, exam)[1] for kind in self._kinds()]
        expected = [trial.expected(len(self.vectors)) for trial in found]
        for trial in self._ranked(expected)[:_BUILDS]:
            self.say(f"building {trial.kind} over {len(self.vectors):,} vectors")
            yield cast(StructureKind, trial.kind)

    def _tuned(self, kind: StructureKind, vectors: FlatIndex, exam: HeldOut) -> tuple[Structure, Trial]:
        """A structure over all of `vectors`, and the trial of the least effort that is enough."""
        excluded = self.held if vectors is self.vectors else None  # a sample has none of the queries
        began = time.perf_counter()
        plan = planned(kind, len(vectors), vectors.dim)
        structure = Structure.train(plan, vectors, seed=self.seed, excluded=excluded)
        structure = self.filled(structure, vectors).placed()
        seconds = time.perf_counter() - began
        tried: list[Trial] = []
        for effort in structure.efforts():
            tried.append(exam.trial(structure, effort, seconds))
            if sum(self._reaches(trial) for trial in tried) > _BEYOND:
                break
        self.trials += tried
        enough = next((trial for trial in tried if self._reaches(trial)), None)
        best = enough or max(tried, key=lambda trial: (trial.recall, -trial.milliseconds))
        self.say(best.in_words(exam.k))
        return structure, best

    def _best(self, built: Iterable[tuple[Structure, Trial]]) -> Picked:
        """The best of what is built, one after the other until one is as wanted; all that are compared."""
        found: list[tuple[Structure | None, Trial]] = []
        for structure, trial in built:
            found.append((structure, trial))
            if len(self.vectors) > DECIDING_ROWS and self._as_wanted(trial):
                break
        if self.wanted.kind == "auto":
            found.append((None, self.trials[0]))
        best = self._ranked([trial for _, trial in found])[0]
        return self._result(next(structure for structure, trial in found if trial is best), best)

    def _ranked(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those that fit, best first: they reach the recall, are quick enough, and are small."""
        self._check_memory(trials)
        fitting = [trial for trial in trials if self._fits(trial)]
        quickest = min((t.milliseconds for t in fitting if self._reaches(t)), default=0.0)
        bound = _ALIKE * quickest if self.wanted.latency is None else self.wanted.latency

        def order(trial: Trial) -> tuple[float, ...]:
            if not self._reaches(trial):
                return (1, -trial.recall, trial.milliseconds)
            return (0, max(trial.milliseconds - bound, 0.0), trial.nbytes)

        return sorted(fitting, key=order)

    def _reaches(self, trial: Trial) -> bool:
        return trial.low >= self.wanted.recall

    def _fits(self, trial: Trial) -> bool:
        return self.wanted.memory is None or trial.nbytes <= self.wanted.memory

    def _as_wanted(self, trial: Trial) -> bool:
        quick = self.wanted.latency is None or trial.milliseconds <= self.wanted.latency
        return quick and self._reaches(trial) and self._fits(trial)

    def _check_memory(self, trials: Sequence[Trial]) -> None:
        if not any(map(self._fits, trials)):
            least = min(trials, key=lambda trial: trial.nbytes)
            raise ConfigError(
                f"memory={self.wanted.memory} bytes for searching {len(self.vectors):,} vectors of "
                f"{self.vectors.dim} dimensions; the smallest that there is, {least.factory}, keeps about "
                f"{least.nbytes:,} ({least.nbytes / 2**20:.1f} MiB): allow as many"
                + ("" if self.wanted.kind in ("auto", "ivf_rabitq") else ", or take kind auto")
            )

    def _result(self, structure: Structure | None, best: Trial) -> Picked:
        note = self._falls_short(best)
        trials = [replace(t, chosen=t is best, note=note if t is best else t.note) for t in self.trials]
        count = len(self.vectors)
        sample = f"{len(self.held):,} held-out rows of {count:,}"
        return Picked(structure, best.effort, tuple(trials), len(self.held), self.wanted.k, sample, note)

    def _falls_short(self, best: Trial) -> str:
        """Where the wish is not met, in words."""
        said = []
        wanted = self.wanted
        if not self._reaches(best):
            said.append(
                f"recall@{wanted.k} {best.recall:.3f} ({best.low:.3f} to {best.high:.3f}) is the most that "
                f"was reached, {wanted.recall:g} was asked for: "
                + ("allow more memory, or " if wanted.memory is not None else "")
                + "take kind flat, which finds all"
            )
        if wanted.latency is not None and best.milliseconds > wanted.latency:
            quick = [t for t in self.trials if t.milliseconds <= wanted.latency and t.rows == best.rows]
            most = max((t.low for t in quick if self._fits(t)), default=None)
            said.append(
                f"one query takes {best.milliseconds:.2f} ms, {wanted.latency:g} were asked for"
                + (
                    ""
                    if most is None
                    else f": recall={math.floor(most * 100) / 100:g} is reached in that time"
                )
            )
        return "; ".join(said)
