"""A leaderboard in one file: a line of JSON for each (backbone, head, data, protocol, seed) ever measured.

Whoever writes holds an advisory lock (flock) on a file beside it, reads what is there, and replaces the whole
in one step: two commands that end at once lose nothing, and a reader never sees a part. A line that cannot be
read is told by its number and kept byte for byte.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sslkit.errors import ConfigError, did_you_mean
from sslkit.evaluation.columns import UNTRAINED
from sslkit.evaluation.matrix import number
from sslkit.evaluation.report import finite
from sslkit.evaluation.rows import Row
from sslkit.evaluation.statistics import Estimate, estimate
from sslkit.evaluation.transfer_results import Subject, TransferResults

FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """What one line says.

    backbone: its architecture; subject: its name in the matrix. weights: hash of those measured, of an
    `untrained` one those of the seed. value: the figure `metric`. written: seconds since 1970. The others are
    those of `Row`.
    """

    backbone: str
    subject: str
    model: str
    weights: str
    untrained: bool
    head: str
    task: str
    data: str
    protocol: str
    seed: int
    metric: str
    higher_is_better: bool
    value: float
    figures: Mapping[str, float | None]
    train: int
    test: int
    suite: str
    written: float

    @property
    def identity(self) -> tuple[str, ...]:
        """What is measured again takes the place of what was."""
        return (self.weights, self.head, self.data, self.protocol, str(self.seed))

    @property
    def contest(self) -> tuple[str, str, str, str]:
        """Only entries that share it stand in one ranking: (head, data, protocol, metric)."""
        return (self.head, self.data, self.protocol, self.metric)


@dataclass(frozen=True)
class Leaderboard:
    """entries: in the order of the file. damaged: (number of the line from 1, why) of what cannot be read."""

    entries: tuple[Entry, ...]
    damaged: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Standing:
    """A backbone in a ranking, with the mean over its seeds."""

    backbone: str
    subject: str
    weights: str
    estimate: Estimate


@dataclass(frozen=True)
class Ranking:
    """Backbones measured alike, best first. tasks: the names suites gave it."""

    head: str
    data: str
    protocol: str
    metric: str
    higher_is_better: bool
    tasks: tuple[str, ...]
    standings: tuple[Standing, ...]


def append_rows(path: str | Path, results: TransferResults) -> Leaderboard:
    """Add the rows that have a figure, each in the place of an older one of the same identity.

    Returns what the file now holds. Raises ConfigError where it cannot be written.
    """
    path, now = Path(path), time.time()
    subjects = {subject.name: subject for subject in results.subjects}
    added = [
        entry
        for row in results.rows
        if row.subject in subjects
        and (entry := _entry(row, subjects[row.subject], results.suite, now)) is not None
    ]
    new = {entry.identity for entry in added}
    with _locked(path):
        kept = [
            line for _, line, read in _lines(path) if not (isinstance(read, Entry) and read.identity in new)
        ]
        last = {entry.identity: entry for entry in added}  # two tasks may be the same measurement
        lines = [*kept, *(_line(entry) for entry in last.values())]
        _replace(path, b"".join(line + b"\n" for line in lines))
        return read_leaderboard(path)


def read_leaderboard(path: str | Path) -> Leaderboard:
    """All entries of a file; raises ConfigError where there is none."""
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"there is no leaderboard {path}; `sslkit transfer` writes one")
    read = list(_lines(path))
    return Leaderboard(
        tuple(entry for _, _, entry in read if isinstance(entry, Entry)),
        tuple((place, reason) for place, _, reason in read if isinstance(reason, str)),
    )


def ranking(
    path: str | Path, *, task: str | None = None, data: str | None = None, protocol: str | None = None
) -> list[Ranking]:
    """Rankings of all that was measured, or of a task, data or protocol (by its id, or id@hash) alone.

    Other data, protocols and metrics are never mixed: each combination is a ranking. Raises ConfigError where
    there is no file or nothing fits.
    """
    entries = read_leaderboard(path).entries
    for what, wanted in (("task", task), ("data", data), ("protocol", protocol)):
        if wanted is None:
            continue
        known = {getattr(entry, what) for entry in entries}
        entries = tuple(entry for entry in entries if _fits(getattr(entry, what), wanted))
        if not entries:
            raise ConfigError(f"leaderboard {path} has no {what} '{wanted}'{did_you_mean(wanted, known)}")
    contests: dict[tuple[str, str, str, str], list[Entry]] = {}
    for entry in entries:
        contests.setdefault(entry.contest, []).append(entry)
    return [_ranked(contest, found) for contest, found in contests.items()]


def leaderboard_text(rankings: Sequence[Ranking]) -> str:
    """Rankings for people: place, mean over seeds, number of seeds, backbone."""
    parts = []
    for one in rankings:
        lower = "" if one.higher_is_better else ", lower is better"
        lines = [f"{', '.join(one.tasks)}: {one.metric}{lower}, {one.protocol} on {one.data}"]
        for place, standing in enumerate(one.standings):
            found = standing.estimate
            spread = "" if math.isnan(found.spread) else f" ± {number(found.spread)}"
            seeds = f"{found.seeds} seed{'' if found.seeds == 1 else 's'}"
            mean = f"{number(found.mean)}{spread}"
            lines.append(f"{place + 1:3d}. {mean:14} {seeds:8} {standing.subject} ({standing.backbone})")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _fits(value: str, wanted: str) -> bool:
    return value == wanted or value.startswith(f"{wanted}@")


def _ranked(contest: tuple[str, str, str, str], entries: Sequence[Entry]) -> Ranking:
    backbones: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        backbones.setdefault((entry.backbone, UNTRAINED if entry.untrained else entry.weights), []).append(
            entry
        )
    standings = [
        Standing(backbone, found[-1].subject, weights, estimate([entry.value for entry in found]))
        for (backbone, weights), found in backbones.items()
    ]
    higher = entries[-1].higher_is_better
    standings.sort(key=lambda standing: standing.estimate.mean, reverse=higher)
    tasks = tuple(dict.fromkeys(entry.task for entry in entries))
    return Ranking(*contest, higher, tasks, tuple(standings))


def _entry(row: Row, subject: Subject, suite: str, now: float) -> Entry | None:
    if row.failure is not None or row.value is None or not math.isfinite(row.value):
        return None
    return Entry(
        backbone=subject.architecture,
        subject=subject.name,
        model=subject.model,
        weights=row.weights,
        untrained=subject.weights == UNTRAINED,
        head=row.head,
        task=row.task,
        data=row.data,
        protocol=row.protocol,
        seed=row.seed,
        metric=row.metric,
        higher_is_better=row.higher_is_better,
        value=row.value,
        figures=finite({name: math.nan if v is None else v for name, v in row.figures.items()}),
        train=row.train,
        test=row.test,
        suite=suite,
        written=round(now, 3),
    )


def _line(entry: Entry) -> bytes:
    described = {"format": FORMAT, **asdict(entry)}
    return json.dumps(described, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def _lines(path: Path) -> Iterator[tuple[int, bytes, Entry | str]]:
    """Number and bytes of every line that is not blank, with what it says, or with why it cannot be read."""
    if not path.is_file():
        return
    for place, line in enumerate(path.read_bytes().split(b"\n")):
        if line.strip():
            yield place + 1, line, _parsed(line)


_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
    "Mapping[str, float | None]": (dict,),
}


def _parsed(line: bytes) -> Entry | str:
    try:
        read: Any = json.loads(line.decode())
        if not isinstance(read, dict) or read.pop("format", None) != FORMAT:
            return f"it is no entry of format {FORMAT}"
        for one in fields(Entry):
            if not isinstance(read.get(one.name), _KINDS[str(one.type)]):
                return f"'{one.name}' is {read.get(one.name)!r}"
        return Entry(**read)
    except (ValueError, TypeError) as error:
        return str(error)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # let go when the file is closed, even by a crash
            yield
    except OSError as error:
        raise ConfigError(f"cannot write leaderboard {path}: {error}; choose another place") from error


def _replace(path: Path, content: bytes) -> None:
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
