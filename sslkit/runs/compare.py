"""Transfer matrices side by side: several folders as one matrix, and what may not be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sslkit.errors import ConfigError
from sslkit.evaluation.leaderboard import Ranking, append_rows, leaderboard_text, ranking
from sslkit.evaluation.matrix import Matrix, build_matrix
from sslkit.evaluation.matrix_text import text_matrix
from sslkit.evaluation.transfer_results import RESULTS, TransferResults, read_results
from sslkit.page import Page
from sslkit.runs.matrix_page import add_differences, add_matrix
from sslkit.runs.transfer_report import warnings


@dataclass(frozen=True)
class Comparison:
    """Several transfer matrices as one.

    report: the page, where one was written. rankings: of the leaderboard their rows went into; damaged: its
    lines that cannot be read, by number, with the reason.
    """

    folders: tuple[Path, ...]
    results: tuple[TransferResults, ...]
    matrix: Matrix
    report: Path | None = None
    rankings: tuple[Ranking, ...] = ()
    damaged: tuple[tuple[int, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """In JSON terms; cells by task, then by backbone."""
        cells: dict[str, dict[str, Any]] = {task: {} for task in self.matrix.tasks}
        for (task, subject), cell in self.matrix.cells.items():
            cells[task][subject] = {
                name: value for name, value in asdict(cell).items() if name not in ("task", "subject")
            }
        return {
            "folders": [str(folder) for folder in self.folders],
            "subjects": list(self.matrix.subjects),
            "metrics": {
                task: {"metric": name, "higher_is_better": higher}
                for task, (name, higher) in self.matrix.metrics.items()
            },
            "answer": self.matrix.answer(),
            "warnings": [warning for one in self.results for warning in warnings(one)],
            "cells": cells,
            "rankings": [asdict(one) for one in self.rankings],
            "report": None if self.report is None else str(self.report),
        }

    def to_text(self) -> str:
        """Warnings, the matrix, the answer, and the leaderboard."""
        lines = [f"warning: {warning}" for one in self.results for warning in warnings(one)]
        lines += [text_matrix(self.matrix), *self.matrix.answer()]
        if self.rankings:
            lines += ["", leaderboard_text(self.rankings).rstrip()]
        lines += [f"line {place} of the leaderboard cannot be read: {why}" for place, why in self.damaged]
        if self.report is not None:
            lines.append(f"Open {self.report} in a browser.")
        return "\n".join(lines)


def compare(
    folders: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    force: bool = False,
    leaderboard: str | Path | None = None,
) -> Comparison:
    """Read the folders `sslkit transfer` wrote and put their backbones beside each other.

    out: a page to write. force: compare what other protocols measured too; such cells are marked.
    leaderboard: a file that gets a line for every row of the folders.

    Raises ConfigError for a folder that is a pretraining run, or where tasks of one name were measured by
    other protocols, ArtifactError for one without results.
    """
    places = tuple(_folder(Path(one)) for one in folders)
    if not places:
        raise ConfigError("no folder to report on; give one or more that `sslkit transfer` wrote")
    twice = sorted({str(one) for one in places if sum(one.resolve() == two.resolve() for two in places) > 1})
    if twice:
        raise ConfigError(f"{twice[0]} is given twice; give each folder once")
    results = tuple(read_results(place) for place in places)
    matrix = build_matrix(results, force=force)
    page = None if out is None else Path(out)
    if page is not None and page.is_dir():
        raise ConfigError(f"--out {page} is a folder; give a file such as {page / 'compared.html'}")
    if page is not None:
        _page(places, results, matrix).write(page)
    if leaderboard is None:
        return Comparison(places, results, matrix, page)
    damaged = [append_rows(leaderboard, one).damaged for one in results][-1]
    return Comparison(places, results, matrix, page, tuple(ranking(leaderboard)), damaged)


def _folder(path: Path) -> Path:
    """The folder of the results; raises ConfigError for a run, which has none."""
    if path.name == RESULTS:
        return path.parent
    if (path / "config.yaml").is_file() and not (path / RESULTS).is_file():
        raise ConfigError(
            f"{path} is a pretraining run; measure it first by `sslkit transfer {path} --out DIR`, then "
            "`sslkit report DIR`"
        )
    return path


def _page(places: Sequence[Path], results: Sequence[TransferResults], matrix: Matrix) -> Page:
    page = Page("Backbones compared", ", ".join(str(place) for place in places))
    for one in results:
        for warning in warnings(one):
            page.warning(warning)
    page.points(matrix.answer())
    add_matrix(page, matrix)
    add_differences(page, matrix)
    page.heading("Where it comes from")
    page.table(
        ["folder", "suite", "backbones", "sslkit", "machine"],
        [
            [str(place), one.suite, ", ".join(subject.name for subject in one.subjects), *_machine(one)]
            for place, one in zip(places, results, strict=True)
        ],
    )
    return page.code("\n".join(one.command for one in results))


def _machine(results: TransferResults) -> tuple[str, str]:
    known = results.environment
    return str(known.get("sslkit", "")), str(known.get("platform", ""))
