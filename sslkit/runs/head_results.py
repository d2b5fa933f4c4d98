"""From the figures of every seed to a result: means, spreads, and the gap to another domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import nan
from typing import Any

import numpy as np

from sslkit.contracts import LabelledSource, Score
from sslkit.evaluation.report import Result
from sslkit.runs.head_parts import HeadRun


def summary(run: HeadRun, subject: str, rows: Sequence[Mapping[str, Any]]) -> Result:
    """The mean of all seeds and its spread; rows: what each training left in its result.json."""
    columns, classes = (_columns(rows, part) for part in ("figures", "per_class"))
    spread = (
        {name: float(np.std(values, ddof=1)) for name, values in columns.items()} if len(rows) > 1 else {}
    )
    means = [{name: float(np.mean(values)) for name, values in part.items()} for part in (columns, classes)]
    score = Score(subject, *means)
    weights = {row["weights"] for row in rows}
    details = {
        "mode": run.protocol.mode,
        "canvas": list(run.plan.size),
        "precision": run.layout.precision,
        "parameters": rows[0]["parameters"],
        "seeds": [{"seed": row["seed"], "figures": row["figures"]} for row in rows],
    }
    return Result(
        score,
        str(run.protocol),
        next(iter(weights)) if len(weights) == 1 else "random",
        len(run.splits.train),
        len(run.splits.test),
        len(run.splits.train.classes),
        seeds=len(rows),
        spread=spread,
        details=details,
    )


def transferred(
    run: HeadRun, subject: str, rows: Sequence[Mapping[str, Any]], source: LabelledSource
) -> Result:
    """The figures there, and by how much the one that matters differs from the test's, seed by seed."""
    metric = run.spec.metric
    there = []
    for row in rows:
        figures = dict(row["transfer"])
        gap = None
        if figures.get(metric) is not None and row["figures"].get(metric) is not None:
            gap = figures[metric] - row["figures"][metric]
        there.append({**row, "figures": {**figures, f"{metric}_gap": gap}, "per_class": {}})
    return replace(summary(run, subject, there), test=len(source))


def _columns(rows: Sequence[Mapping[str, Any]], part: str) -> dict[str, list[float]]:
    """The figures of all seeds by name; NaN where one has none."""
    names = rows[0][part]
    return {name: [nan if row[part][name] is None else row[part][name] for row in rows] for name in names}
