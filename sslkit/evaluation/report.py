"""Results on disk and on screen: JSON for programs, Markdown and plain text for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sslkit.atomic import replace_text
from sslkit.contracts import Score

FORMAT = 1  # of results.json


@dataclass(frozen=True)
class Result:
    """A score with all that is needed to trust it.

    protocol: `id@hash`; weights: hash or name of the measured weights; train, test: numbers of samples;
    classes: number of classes. seeds: trainings the figures are the mean of; spread: standard deviations.
    details: more that a reader may want, in JSON terms.
    """

    score: Score
    protocol: str
    weights: str
    train: int
    test: int
    classes: int
    seeds: int = 1
    spread: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


def write_results(results: Sequence[Result], out: Path) -> None:
    """Write results.json and results.md into folder `out`, each replaced in one step."""
    replace_text(out / "results.json", results_json(results))
    replace_text(out / "results.md", markdown_table(results))


def results_json(results: Sequence[Result]) -> str:
    """All that is known of every result, as JSON; shares lie in 0..1, null is not finite."""
    rows = [
        {
            "subject": result.score.subject,
            "figures": finite(result.score.figures),
            "per_class": finite(result.score.per_class),
            "protocol": result.protocol,
            "weights": result.weights,
            "train": result.train,
            "test": result.test,
            "classes": result.classes,
            "seeds": result.seeds,
            "spread": finite(result.spread),
            "details": dict(result.details),
        }
        for result in results
    ]
    return (
        json.dumps({"format": FORMAT, "results": rows}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    )


def table(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows; a figure one result lacks is an empty cell, shares have four digits."""
    figures = list(dict.fromkeys(name for result in results for name in result.score.figures))
    header = ["subject", *figures, "protocol", "weights", "train", "test", "classes"]
    rows = [
        [
            result.score.subject,
            *(_cell(result, name) for name in figures),
            result.protocol,
            result.weights,
            *(str(number) for number in (result.train, result.test, result.classes)),
        ]
        for result in results
    ]
    return header, rows


def markdown_table(results: Sequence[Result]) -> str:
    """The table in Markdown."""
    header, rows = table(results)
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(map(_markdown, line))} |\n" for line in lines)


def text_table(results: Sequence[Result]) -> str:
    """The table in plain text, columns aligned."""
    header, rows = table(results)
    lines = [[" ".join(cell.split()) for cell in line] for line in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )


def _cell(result: Result, name: str) -> str:
    if name not in result.score.figures:
        return ""
    mean = result.score.figures[name]
    if not math.isfinite(mean):  # there was nothing to make it of
        return "-"
    return f"{mean:.4f} ± {result.spread[name]:.4f}" if name in result.spread else f"{mean:.4f}"


def _markdown(cell: str) -> str:
    return " ".join(cell.split()).replace("\\", "\\\\").replace("|", "\\|")


def finite(shares: Mapping[str, float]) -> dict[str, float | None]:
    """The same with None for what is not finite, which JSON has no word for."""
    return {name: share if math.isfinite(share) else None for name, share in shares.items()}  # NaN is no JSON
