"""Tasks times backbones: every figure with its interval, every difference with a verdict, and the answer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sslkit.errors import ConfigError
from sslkit.evaluation.columns import Column, merged
from sslkit.evaluation.comparison import (
    BETTER,
    EVEN,
    INCOMPARABLE,
    WORSE,
    compared,
    estimated,
    marks,
    unlikeness,
    valued,
    verdict,
)
from sslkit.evaluation.rows import Row
from sslkit.evaluation.statistics import LEVEL, Estimate, holm
from sslkit.evaluation.transfer_results import TransferResults

NAMED = 6
"""A sentence names up to so many tasks; of more it gives the number alone."""


@dataclass(frozen=True)
class Cell:
    """One task on one backbone.

    estimate: None where every seed failed. against: the difference to each other backbone, this one minus
    the other. verdicts: "better" in the sense of the metric, "worse", "no evidence of a difference" or "not
    comparable", at 95 % each. adjusted: p of each difference, adjusted for all tasks on which the two were
    compared (Holm). failures: why seeds have no figure. marks: what a reader is to know of the figures.
    metric: their name. test: number of test samples.
    """

    task: str
    subject: str
    estimate: Estimate | None
    against: Mapping[str, Estimate] = field(default_factory=dict)
    verdicts: Mapping[str, str] = field(default_factory=dict)
    adjusted: Mapping[str, float] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    metric: str = ""
    test: int = 0


@dataclass(frozen=True)
class Matrix:
    """Every task on every backbone.

    tasks, subjects: names, in order. metrics: of each task, and whether more is better. cells: by (task,
    subject), all of them. asked: the subjects that the results are about. baselines: the untrained subject
    that each other one was measured beside.
    """

    tasks: tuple[str, ...]
    subjects: tuple[str, ...]
    metrics: Mapping[str, tuple[str, bool]]
    cells: Mapping[tuple[str, str], Cell]
    asked: tuple[str, ...] = ()
    baselines: Mapping[str, str] = field(default_factory=dict)

    def sentence(self, task: str, subject: str, other: str) -> str:
        """What one task says of two backbones, in words."""
        mine, theirs = self.cells[task, subject], self.cells[task, other]
        for cell in (mine, theirs):
            if cell.estimate is None:
                return f"{cell.subject}: no figure ({'; '.join(cell.failures)})"
        assert mine.estimate is not None
        assert theirs.estimate is not None
        figures = f"{subject}: {mine.metric} {number(mine.estimate.mean)}, {other} "
        figures += (
            f"{'' if mine.metric == theirs.metric else theirs.metric + ' '}{number(theirs.estimate.mean)}"
        )
        said, found = mine.verdicts[other], mine.against.get(other)
        if found is None:
            return f"{figures}: {INCOMPARABLE}"
        higher = self.metrics[task][1]
        facts = [_counted(found.seeds, "seed"), _counted(mine.test, "test sample")]
        if mine.estimate.seeds != theirs.estimate.seeds:
            facts[0] = f"{mine.estimate.seeds} and {theirs.estimate.seeds} seeds"
        if not higher:
            facts.append("lower is better")
        if said == EVEN or math.isnan(found.low):
            reach = f"95 % interval {number(found.low)} to {number(found.high)}"
            facts.insert(0, "no interval" if math.isnan(found.low) else reach)
            return f"{figures}: {EVEN} ({number(found.mean, sign=True)}, {', '.join(facts)})"
        low, high = sorted((abs(found.low), abs(found.high)))
        facts.insert(0, f"95 % interval {number(low)} to {number(high)}")
        return f"{figures}: {said} by {number(abs(found.mean))} ({', '.join(facts)})"

    def tally(self, subject: str, other: str) -> dict[str, list[str]]:
        """The tasks of each verdict of one backbone against another."""
        found: dict[str, list[str]] = {said: [] for said in (BETTER, WORSE, EVEN, INCOMPARABLE)}
        for task in self.tasks:
            found[self.cells[task, subject].verdicts[other]].append(task)
        return found

    def answer(self) -> list[str]:
        """Sentences: did pretraining help, how does it stand beside others, and how far to trust that."""
        if not self.subjects:
            return ["Nothing was measured."]
        first, lines = self.subjects[0], []
        pairs = [(subject, self.baselines[subject]) for subject in self.asked if subject in self.baselines]
        for subject, other in pairs:
            who = "Pretraining" if len(pairs) == 1 else f"Pretraining ({subject})"
            lines.append(self._verdicts(subject, other, f"{who} helped on", "hurt on"))
        if not pairs:
            lines.append("No untrained backbone was measured, so nothing says whether pretraining helped.")
        for other in self.subjects[1:]:
            if other not in self.baselines.values():
                lines.append(self._verdicts(first, other, f"Against {other}: better on", "worse on"))
                pairs.append((first, other))
        return lines + self._caveats(pairs)

    def _verdicts(self, subject: str, other: str, helped: str, hurt: str) -> str:
        found = self.tally(subject, other)
        count = sum(len(tasks) for said, tasks in found.items() if said != INCOMPARABLE)
        lost = f" Not compared: {_named(found[INCOMPARABLE])}." if found[INCOMPARABLE] else ""
        if not count:
            return f"No task could be compared for {subject} and {other}.{lost}"
        text = f"{helped} {len(found[BETTER]) or 'none'} of {_counted(count, 'task')}"
        if found[WORSE]:
            text += f", {hurt} {_named(found[WORSE])}"
        if found[EVEN]:
            text += f"; on {_named(found[EVEN])} there is {EVEN}"
        claims = found[BETTER] + found[WORSE]
        if count > 1 and claims:
            standing = [task for task in claims if self.cells[task, subject].adjusted[other] < 1 - LEVEL]
            text += (
                f". Adjusted for {count} comparisons (Holm), {len(standing) or 'none'} of "
                f"{_counted(len(claims), 'difference')} {'stands' if len(standing) == 1 else 'stand'}"
            )
        return f"{text}.{lost}"

    def _caveats(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        lines = []
        most = max((len(self.tasks) - len(self.tally(*pair)[INCOMPARABLE]) for pair in pairs), default=0)
        if most > 1:
            lines.append(
                f"Each verdict is at 95 %: of {most} tasks without any difference, about "
                f"{most * (1 - LEVEL):.2g} would seem to have one."
            )
        shown = [(cell, cell.estimate) for cell in self.cells.values() if cell.estimate is not None]
        if single := _tasks(cell for cell, mean in shown if mean.seeds == 1):
            lines.append(
                f"On {single} there is a single seed; its intervals know the test samples, not the chance of "
                "a seed."
            )
        if some := _tasks(cell for cell, _ in shown if cell.failures):
            lines.append(f"On {some} some seeds failed; the others count.")
        if across := _tasks(cell for cell, _ in shown if any(_ACROSS in mark for mark in cell.marks)):
            lines.append(f"On {across} figures are compared that were not measured alike; see the marks.")
        if most:
            lines.append(
                "Intervals hold the chance of seeds and of test samples, not of another pretraining."
            )
        return lines


def number(value: float, *, sign: bool = False) -> str:
    """Three digits, as .511, -1.204 and 37.5; "-" where it is not finite."""
    if not math.isfinite(value):
        return "-"
    digits = 3 if abs(value) < 9.9995 else 1
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.replace("0.", ".", 1) if abs(value) < 0.9995 else text


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _named(tasks: Sequence[str]) -> str:
    return f"{len(tasks)} ({', '.join(tasks)})" if len(tasks) <= NAMED else str(len(tasks))


def _tasks(cells: Iterable[Cell]) -> str:
    """As "2 tasks (knn, linear)"; empty of none."""
    names = list(dict.fromkeys(cell.task for cell in cells))
    named = f" ({', '.join(names)})" if len(names) <= NAMED else ""
    return f"{_counted(len(names), 'task')}{named}" if names else ""


_ACROSS = "compared across "


def build_matrix(results: Sequence[TransferResults], *, force: bool = False) -> Matrix:
    """The matrix of one or several results; a backbone that occurs in several is one column.

    Raises ConfigError where backbones were measured on a task by other protocols, data or metrics, unless
    force: then they are compared without pairs, and marked; figures of other metrics never are.
    """
    columns = merged(results)
    named = (task for one in results for task in [*one.tasks, *(row.task for row in one.rows)])
    tasks = tuple(dict.fromkeys(named))
    found = {(task, column.name): valued(column.rows.get(task, {})) for task in tasks for column in columns}
    if not force:
        _refuse_unlike(tasks, columns, {place: rows for place, (rows, _) in found.items()})
    cells: dict[tuple[str, str], Cell] = {}
    for task in tasks:
        for column in columns:
            cells[task, column.name] = _cell(task, column, columns, found)
    for column in columns:
        for other in columns:
            if other is not column:
                cells |= _adjusted(cells, tasks, column.name, other.name)
    return Matrix(
        tasks,
        tuple(column.name for column in columns),
        {task: _metric(task, columns) for task in tasks},
        cells,
        tuple(column.name for column in columns if column.asked),
        {column.name: column.baseline for column in columns if column.baseline is not None},
    )


Found = Mapping[tuple[str, str], tuple[list[Row], tuple[str, ...]]]


def _cell(task: str, column: Column, columns: Sequence[Column], found: Found) -> Cell:
    rows, failures = found[task, column.name]
    mean = estimated(rows) if rows else None
    notes = [] if mean is None else marks(rows, len(column.rows[task]), mean)
    against: dict[str, Estimate] = {}
    verdicts: dict[str, str] = {}
    for other in columns:
        if other is column:
            continue
        theirs = found[task, other.name][0]
        verdicts[other.name] = INCOMPARABLE
        if not rows or not theirs:
            continue
        unlike = unlikeness(rows, theirs)
        notes += [f"{_ACROSS}{one}" for one in unlike if f"{_ACROSS}{one}" not in notes]
        if rows[0].metric != theirs[0].metric:
            continue
        against[other.name] = compared(rows, theirs, alike=not unlike)
        verdicts[other.name] = verdict(against[other.name], higher_is_better=rows[0].higher_is_better)
    return Cell(
        task,
        column.name,
        mean,
        against,
        verdicts,
        failures=failures,
        marks=tuple(notes),
        metric=rows[0].metric if rows else "",
        test=min((row.test for row in rows), default=0),
    )


def _adjusted(
    cells: Mapping[tuple[str, str], Cell], tasks: Sequence[str], subject: str, other: str
) -> dict[tuple[str, str], Cell]:
    """The cells in which a backbone is compared with another, with p adjusted for all those tasks."""
    there = [cells[task, subject] for task in tasks if other in cells[task, subject].against]
    p_values = holm([cell.against[other].p for cell in there])
    return {
        (cell.task, subject): replace(cell, adjusted={**cell.adjusted, other: p})
        for cell, p in zip(there, p_values, strict=True)
    }


def _metric(task: str, columns: Sequence[Column]) -> tuple[str, bool]:
    rows = [row for column in columns for row in column.rows.get(task, {}).values()]
    rows.sort(key=lambda row: row.failure is not None)  # a failed row may not know
    return next(((row.metric, row.higher_is_better) for row in rows if row.metric), ("", True))


def _refuse_unlike(
    tasks: Sequence[str], columns: Sequence[Column], rows: Mapping[tuple[str, str], list[Row]]
) -> None:
    problems = [
        f"task '{task}': {one.name} and {other.name} have {'; '.join(unlike)}"
        for task in tasks
        for place, one in enumerate(columns)
        for other in columns[place + 1 :]
        if (unlike := unlikeness(rows[task, one.name], rows[task, other.name]))
    ]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ConfigError(
            f"{'; '.join(problems[:3])}{more}; figures measured in other ways cannot be compared: measure "
            "all by one suite, or give --force to see them side by side, marked"
        )
