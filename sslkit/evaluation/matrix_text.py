"""The matrix in Markdown and in plain text: a row for each task, a column for each backbone, notes below."""

from __future__ import annotations

import math

from sslkit.evaluation.comparison import BETTER, EVEN
from sslkit.evaluation.matrix import Cell, Matrix, number

_SHORT = {EVEN: "no evidence"}


def markdown_matrix(matrix: Matrix) -> str:
    """A Markdown table with notes; bold is what is better than every other backbone that was measured."""
    header, rows = _table(matrix, bold=True)
    lines = [header, ["---"] * len(header), *rows]
    table = "".join(f"| {' | '.join(_escaped(cell) for cell in line)} |\n" for line in lines)
    return table + "".join(f"\n{_escaped(note)}\n" for note in notes(matrix))


def text_matrix(matrix: Matrix) -> str:
    """The table with aligned columns, and notes."""
    header, rows = _table(matrix, bold=False)
    lines = [[" ".join(cell.split()) for cell in line] for line in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )
    return table + "".join(f"{note}\n" for note in notes(matrix))


def notes(matrix: Matrix) -> list[str]:
    """What is to be known of cells, as "[1] a single seed: ...", the same note once."""
    return [f"[{place + 1}] {note}" for place, note in enumerate(_noted(matrix))]


def cell_text(matrix: Matrix, task: str, subject: str) -> str:
    """As ".511 ± .012 better": mean, half the width of its 95 % interval, verdict against the untrained."""
    cell = matrix.cells[task, subject]
    if cell.estimate is None:
        return "-"
    half = cell.estimate.half_width
    parts = [number(cell.estimate.mean) + ("" if math.isnan(half) else f" ± {number(half)}")]
    if (other := matrix.baselines.get(subject)) is not None:
        said = cell.verdicts[other]
        parts.append(_SHORT.get(said, said))
    return " ".join(parts)


def is_best(matrix: Matrix, task: str, subject: str) -> bool:
    """Whether it is better, with evidence, than every other backbone that has a figure; one at least."""
    others = [
        matrix.cells[task, subject].verdicts[other]
        for other in matrix.subjects
        if other != subject and matrix.cells[task, other].estimate is not None
    ]
    return matrix.cells[task, subject].estimate is not None and bool(others) and set(others) == {BETTER}


def _table(matrix: Matrix, *, bold: bool) -> tuple[list[str], list[list[str]]]:
    known = {note: f"[{place + 1}]" for place, note in enumerate(_noted(matrix))}
    header, rows = ["task", "metric", *matrix.subjects], []
    for task in matrix.tasks:
        metric, higher = matrix.metrics[task]
        row = [task, metric if higher or not metric else f"{metric} (lower is better)"]
        for subject in matrix.subjects:
            text = cell_text(matrix, task, subject)
            if bold and is_best(matrix, task, subject):
                mean, _, rest = text.partition(" ")
                text = f"**{mean}** {rest}".rstrip()
            told = [known[note] for note in _of(matrix.cells[task, subject])]
            row.append(" ".join([text, *told]))
        rows.append(row)
    return header, rows


def _of(cell: Cell) -> tuple[str, ...]:
    return tuple(" ".join(note.split()) for note in (*cell.failures, *cell.marks))


def _noted(matrix: Matrix) -> list[str]:
    cells = (matrix.cells[task, subject] for task in matrix.tasks for subject in matrix.subjects)
    return list(dict.fromkeys(note for cell in cells for note in _of(cell)))


def _escaped(cell: str) -> str:
    return " ".join(cell.split()).replace("\\", "\\\\").replace("|", "\\|")
