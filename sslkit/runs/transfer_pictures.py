"""What a transfer matrix can show: curves over seeds, classes side by side, sheets of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslkit.contracts import Curve
from sslkit.data.decode.image import decode_image
from sslkit.errors import DecodeError
from sslkit.evaluation.columns import UNTRAINED
from sslkit.evaluation.matrix import number
from sslkit.evaluation.rows import Row
from sslkit.evaluation.transfer_results import TransferResults
from sslkit.page import Cell, Noted, Page
from sslkit.plots import Band, band_plot
from sslkit.runs.transfer_bench import row_folder

_POINTS = 201  # of a curve that is drawn, at most
_LONG = 6  # tables of more rows are folded away
_NAME = 34  # characters of a name in a legend
_SHEET_BYTES = 3_000_000  # of all sheets on a page; most of what a page weighs
_CANVAS = 2048  # pixels a sheet is read with at most


def add_curves(page: Page, results: TransferResults) -> None:
    """Every curve the rows have, such as accuracy over the number of labels, mean and range of the seeds."""
    figures = []
    for task in results.tasks:
        rows = {subject.name: results.of(task, subject.name) for subject in results.subjects}
        for name in dict.fromkeys(name for found in rows.values() for row in found for name in row.curves):
            curves = {
                subject: [row.curves[name] for row in found if name in row.curves]
                for subject, found in rows.items()
            }
            drawn = {_short(subject): band(found) for subject, found in curves.items() if found}
            first = next(found[0] for found in curves.values() if found)
            figures.append(
                (band_plot(drawn, x_label=first.x_label, y_label=first.y_label), f"{task}: {name}")
            )
    if figures:
        page.heading("Curves").text(
            "Lines are means over seeds; bands reach from the lowest seed to the highest."
        )
        page.figures(figures)


def band(curves: Sequence[Curve]) -> Band:
    """The mean of the curves of several seeds, between the lowest and the highest.

    Curves over other x than the first one's, or of very many points, are read off at common places of the
    range that all have.
    """
    places = np.asarray(curves[0].x, dtype=np.float64)
    if len(places) > _POINTS or any(tuple(curve.x) != tuple(curves[0].x) for curve in curves):
        low, high = max(min(curve.x) for curve in curves), min(max(curve.x) for curve in curves)
        places = np.linspace(low, high, _POINTS) if high > low else np.asarray([low])
    heights = np.stack([np.interp(places, curve.x, curve.y) for curve in curves])
    return Band(*(part.tolist() for part in (places, heights.mean(0), heights.min(0), heights.max(0))))


def add_classes(page: Page, results: TransferResults) -> None:
    """The figure of every class on every backbone, and what pretraining changed there."""
    names = [subject.name for subject in results.subjects]
    tables = {}
    for task in results.tasks:
        means = {name: _class_means(results.of(task, name)) for name in names}
        classes = list(dict.fromkeys(one for mean in means.values() for one in mean))
        if len(classes) > 1:
            tables[task] = [_class_row(one, means, names) for one in classes]
    if not tables:
        return
    page.heading("Class by class")
    compared = len(names) > 1 and UNTRAINED in names
    header = ["class", *names, *([f"{names[0]} minus {UNTRAINED}"] if compared else [])]
    for task, rows in tables.items():
        shown = [row if compared else row[: len(names) + 1] for row in rows]
        if len(shown) > _LONG:
            with page.fold(f"{task}, {len(shown)} classes"):
                page.table(header, shown)
        else:
            page.text(task).table(header, shown)


def _class_means(rows: Sequence[Row]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.per_class.items():
            if value is not None:
                found.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def _class_row(one: str, means: dict[str, dict[str, float]], names: list[str]) -> list[Cell]:
    first, base = means[names[0]].get(one), means.get(UNTRAINED, {}).get(one)
    gap = None if first is None or base is None else first - base
    return [one, *(means[name].get(one) for name in names), gap]


def add_gaps(page: Page, results: TransferResults) -> None:
    """What was learnt on one domain and judged on another too, such as synthetic and real pictures."""
    rows = [
        _gap_row(found)
        for task in results.tasks
        for subject in results.subjects
        if (found := [row for row in results.of(task, subject.name) if row.transfer is not None])
    ]
    if rows:
        page.heading("From one domain to another").text(
            "Learnt on the task's own data, judged on its test samples and on data of another domain. The "
            "gap is the second minus the first; below it, from the lowest seed to the highest."
        )
        page.table(["task", "backbone", "metric", "own test samples", "other domain", "gap"], rows)


def _gap_row(found: Sequence[Row]) -> list[Cell]:
    first, elsewhere = found[0], dict(found[0].transfer or {})
    pairs = [(row.value, (row.transfer or {}).get("figures", {}).get(row.metric)) for row in found]
    known = [(here, there) for here, there in pairs if here is not None and there is not None]
    metric = Noted(first.metric, "" if first.higher_is_better else "lower is better")
    row: list[Cell] = [first.task, first.subject, metric]
    there: Cell = Noted("–", str(elsewhere.get("data") or ""))  # noqa: RUF001
    if not known:
        return [*row, None, there, None]
    gaps = [second - first for first, second in known]
    middle = np.mean(known, axis=0).tolist()
    spread = f"{number(min(gaps), sign=True)} to {number(max(gaps), sign=True)}" if len(gaps) > 1 else ""
    there = Noted(number(middle[1]), str(elsewhere.get("data") or ""))
    return [*row, number(middle[0]), there, Noted(number(float(np.mean(gaps)), sign=True), spread)]


def add_sheets(page: Page, results: TransferResults, out: Path) -> None:
    """Sheets of predictions of the first backbone and the untrained one, of their first seed that has one."""
    wanted = list(dict.fromkeys([results.subjects[0].name, UNTRAINED]))
    found: dict[str, list[tuple[NDArray[np.uint8], str]]] = {}
    missing = []
    for task in results.tasks:
        for subject in wanted:
            row = next((row for row in results.of(task, subject) if row.sheet), None)
            if row is None:
                continue
            try:
                sheet = _sheet(row_folder(out, row.task, row.subject, row.seed) / str(row.sheet))
                found.setdefault(task, []).append((sheet, _caption(row)))
            except DecodeError as error:
                missing.append(f"{task} on {subject}: {error}")
    if not found and not missing:
        return
    page.heading("Predictions")
    count = sum(map(len, found.values()))
    for task, sheets in found.items():
        page.text(task).pictures(sheets, most_bytes=_SHEET_BYTES // count)
    page.points(missing)


def _sheet(path: Path) -> NDArray[np.uint8]:
    pixels, (top, left, height, width) = decode_image(path, canvas=_CANVAS)
    return pixels[:, top : top + height, left : left + width].transpose(1, 2, 0)


def _caption(row: Row) -> str:
    value = "" if row.value is None else f": {row.metric} {number(row.value)}"
    return f"{row.subject}, seed {row.seed}{value}"


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
