"""The transfer matrix on a page: the table with its notes, and the differences drawn."""

from __future__ import annotations

import math
from contextlib import nullcontext

from sslkit.evaluation.comparison import BETTER, EVEN, INCOMPARABLE, WORSE
from sslkit.evaluation.matrix import Matrix, number
from sslkit.evaluation.matrix_text import is_best, notes
from sslkit.page import Interval, Noted, Page

# Verdicts by sign and word: colour alone would tell nothing to some readers, and nothing in print.
_SIGNS = {BETTER: "▲ better", WORSE: "▼ worse", EVEN: "○ no evidence of a difference"}
_SIGNS[INCOMPARABLE] = "≠ not comparable"


def add_matrix(page: Page, matrix: Matrix) -> None:
    """Tasks by backbones: mean, interval, verdict against the untrained one, and notes of what to know."""
    marks = {text: mark for mark, _, text in (note.partition(" ") for note in notes(matrix))}
    rows = []
    for task in matrix.tasks:
        cells = [_cell(matrix, task, subject, marks) for subject in matrix.subjects]
        rows.append([Noted(task, _measure(matrix, task)), *cells])
    page.heading("The matrix").table(["task", *matrix.subjects], rows)
    page.points(notes(matrix))
    page.text(
        "Means over seeds, each with the 95 % interval of the mean below it, which holds the chance of the "
        "seeds and of the test samples, and with the verdict against the untrained network at 95 %."
    )


def add_differences(page: Page, matrix: Matrix) -> None:
    """By how much backbones differ, task by task: from the untrained one, then the first from each other."""
    untrained = set(matrix.baselines.values())
    pairs = [(one, matrix.baselines[one]) for one in matrix.asked if one in matrix.baselines]
    pairs += [(matrix.subjects[0], other) for other in matrix.subjects[1:] if other not in untrained]
    if not pairs:
        return
    page.heading("Differences").text(
        "In per cent of the other's value, so that tasks with other metrics can stand below each other; to "
        "the right is better for every metric. The line is the 95 % interval of the difference: one that "
        "crosses zero is no evidence. The figures beside it are differences in the units of the metric; p is "
        "adjusted for the number of tasks (Holm)."
    )
    for place, (one, other) in enumerate(pairs):
        with page.fold(f"{one} against {other}") if place else nullcontext():
            rows = [_interval(matrix, task, one, other) for task in matrix.tasks]
            page.intervals(rows, f"{one} better than {other} by, in %")
            with page.fold("The same in sentences"):
                page.points(f"{task}. {matrix.sentence(task, one, other)}" for task in matrix.tasks)


def _measure(matrix: Matrix, task: str) -> str:
    metric, higher = matrix.metrics[task]
    return metric if higher or not metric else f"{metric}, lower is better"


def _cell(matrix: Matrix, task: str, subject: str, marks: dict[str, str]) -> Noted:
    cell = matrix.cells[task, subject]
    told = " ".join(marks[" ".join(note.split())] for note in (*cell.failures, *cell.marks))
    if cell.estimate is None:
        return Noted("–", told)  # noqa: RUF001
    lines = []
    if math.isfinite(cell.estimate.low):
        lines.append(f"{number(cell.estimate.low)} to {number(cell.estimate.high)}")
    if (base := matrix.baselines.get(subject)) is not None:
        said = cell.verdicts[base]
        lines.append(f"{_SIGNS[said]}{f' than {base}' if said in (BETTER, WORSE) else ''}")
    if len(matrix.subjects) > 2 and is_best(matrix, task, subject):
        lines.append("★ better than all others")
    return Noted(number(cell.estimate.mean), "\n".join([*lines, *([told] if told else [])]))


def _interval(matrix: Matrix, task: str, one: str, other: str) -> Interval:
    """A difference in per cent of the other's value; nothing drawn where there is none, or the value is 0."""
    cells = matrix.cells[task, one], matrix.cells[task, other]
    note = _measure(matrix, task)
    for cell in cells:
        if cell.estimate is None:
            return Interval(task, None, None, None, f"no figure of {cell.subject}", note)
    mine, found, base = cells[0], cells[0].against.get(other), cells[1].estimate
    if found is None or base is None or not math.isfinite(found.mean):
        return Interval(task, None, None, None, _SIGNS[INCOMPARABLE], note)
    low, high = found.low, found.high
    known = math.isfinite(low) and math.isfinite(high)
    reach = f"{number(low, sign=True)} to {number(high, sign=True)}" if known else "no interval"
    words = f"{number(found.mean, sign=True)} ({reach})\n{_SIGNS[mine.verdicts[other]]}"
    if math.isfinite(adjusted := mine.adjusted.get(other, math.nan)):
        words += f", p {'< .001' if adjusted < 0.0005 else number(adjusted)}"
    if base.mean == 0:
        return Interval(task, None, None, None, f"{words}\nnot drawn: {other} is at 0", note)
    scale = (1.0 if matrix.metrics[task][1] else -1.0) * 100.0 / abs(base.mean)
    middle = found.mean * scale
    ends = sorted((low * scale, high * scale)) if known else [middle, middle]
    return Interval(task, middle, ends[0], ends[1], words, note)
