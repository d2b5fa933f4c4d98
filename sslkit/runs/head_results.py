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
    means, spread = over_seeds(rows, "figures")
    score = Score(subject, means, over_seeds(rows, "per_class")[0])
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


def over_seeds(rows: Sequence[Mapping[str, Any]], part: str) -> tuple[dict[str, float], dict[str, float]]:
    """Means and standard deviations of "figures" or "per_class"; NaN where a seed has none.

    What only some seeds have, such as classes that were not drawn in others, is the mean of those.
    """
    names = dict.fromkeys(name for row in rows for name in row[part])
    columns = {
        name: [nan if row[part][name] is None else row[part][name] for row in rows if name in row[part]]
        for name in names
    }
    means = {name: float(np.mean(values)) for name, values in columns.items()}
    spreads = {name: float(np.std(values, ddof=1)) for name, values in columns.items() if len(values) > 1}
    return means, spreads
