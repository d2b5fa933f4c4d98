"""What a transfer matrix cost: the pretraining, and the measuring by part; and what it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sslkit.evaluation.rows import Row
from sslkit.evaluation.transfer_results import TransferResults
from sslkit.page import Cell, Noted, Page
from sslkit.plots import bar_plot

_SHARE = "share_"  # what a run notes of a step, each part of it
_NAMES = {"seconds": "time"}  # it is shown in minutes or hours


def add_costs(page: Page, results: TransferResults) -> None:
    """Pretraining of each backbone that tells of it, then the seconds each task took, by part."""
    page.heading("What it cost")
    figures = []
    for subject in results.subjects:
        told = subject.pretraining
        if not told:
            continue
        page.text(f"Pretraining of {subject.name}")
        facts = {name: value for name, value in told.items() if not name.startswith(_SHARE)}
        page.facts({_NAMES.get(name, name.replace("_", " ")): _fact(name, facts[name]) for name in facts})
        shares = {
            name.removeprefix(_SHARE).replace("_", " "): 100.0 * value
            for name, value in told.items()
            if name.startswith(_SHARE) and isinstance(value, int | float) and value > 0
        }
        if shares:
            bars = dict(sorted(shares.items(), key=lambda pair: -pair[1]))
            figures.append((bar_plot(bars, x_label="% of a step", width=4.2), f"A step of {subject.name}"))
    if figures:
        page.figures(figures)
    page.text("Measuring, seconds by part, of all backbones and seeds together")
    parts = list(dict.fromkeys(part for row in results.rows for part in row.seconds))
    rows: list[list[Cell]] = []
    for task in results.tasks:
        spent = _spent([row for row in results.rows if row.task == task])
        rows.append([task, *(spent.get(part, 0.0) for part in parts), sum(spent.values())])
    whole = _spent(results.rows)
    rows.append(["all tasks", *(whole.get(part, 0.0) for part in parts), sum(whole.values())])
    page.table(["task", *parts, "together"], rows)


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as people say them."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def add_bookkeeping(page: Page, results: TransferResults) -> None:
    """Where each row's knowledge came from, what was trained, by which protocol, on which data."""
    page.heading("What was measured")
    header = ["task", "backbone", "learnt before → measured now", "parameters", "protocol", "data"]
    rows: list[list[Cell]] = []
    for task in results.tasks:
        for subject in results.subjects:
            found = [row for row in results.of(task, subject.name) if row.failure is None]
            if found:
                rows.append(_book(found))
    with page.fold(f"{len(rows)} cells: domains, parameters, weights, protocols, data"):
        page.table(header, rows)
    page.table(
        ["backbone", "given as", "architecture", "weights"],
        [[one.name, one.model, one.architecture, one.weights] for one in results.subjects],
    )


def _book(found: list[Row]) -> list[Cell]:
    row = found[0]
    weights = {one.weights for one in found}
    hashes = row.weights if len(weights) == 1 else f"weights of each seed: {', '.join(sorted(weights))}"
    # The counts overlap: what was loaded may be frozen. A sum would say nothing.
    counts = [f"{name}: {count:,}" for name, count in row.parameters.items()] or ["none told"]
    samples = f"train {row.train:,}, test {row.test:,}, classes {row.classes:,}"
    return [
        Noted(row.task, row.head),
        Noted(row.subject, hashes),
        Noted(f"{_told(row.source)} →", _told(row.target)),
        Noted(counts[0], "\n".join(counts[1:])),
        Noted(*_parted(row.protocol)),
        Noted(row.data, samples),
    ]


def _parted(protocol: str) -> tuple[str, str]:
    name, _, digits = protocol.partition("@")
    return name, f"@{digits}" if digits else ""


def _told(facts: Mapping[str, Any]) -> str:
    return ", ".join(str(value) for value in facts.values() if value not in (None, "", False)) or "nothing"


def _spent(rows: tuple[Row, ...] | list[Row]) -> dict[str, float]:
    spent: dict[str, float] = {}
    for row in rows:
        for part, seconds in row.seconds.items():
            spent[part] = spent.get(part, 0.0) + seconds
    return spent


def _fact(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "seconds" and isinstance(value, int | float):
        return duration(float(value))
    if isinstance(value, int | float):
        return f"{value:,}"
    return "–" if value is None else str(value)  # noqa: RUF001
