"""What the picker measured, as a table to print and a picture: recall against the time of a query."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sslkit.neighbours.trials import Trial
from sslkit.plots import Band, band_plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEADER = ("", "structure", "effort", "rows", "recall", "95 % interval", "ms", "ms batch", "MiB", "built s")
_LEFT = (0, 1, 2)  # columns of words
_INCHES = (7.0, 4.2)
_DOTS = 160  # an inch


def table(trials: Sequence[Trial], k: int) -> str:
    """Aligned lines, one a trial in the order of measuring; an arrow marks the chosen one, notes come below.

    ms: one query by itself, and each of a batch.
    """
    header = (*_HEADER[:4], f"recall@{k}", *_HEADER[5:])
    cells = [header, *map(_cells, trials)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "  ".join(
            cell.ljust(width) if column in _LEFT else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    notes = [f"note: {trial.note}" for trial in trials if trial.note]
    return "\n".join([*lines, *notes])


def picture(trials: Sequence[Trial], k: int, target: float) -> bytes:
    """The figure as a PNG, dark on white."""
    stream = io.BytesIO()
    figure(trials, k, target).savefig(stream, format="png", dpi=_DOTS, facecolor="white", bbox_inches="tight")
    return stream.getvalue()


def figure(trials: Sequence[Trial], k: int, target: float) -> Figure:
    """Recall with its interval against milliseconds of one query; a line a structure and number of rows.

    target: the recall that was asked for, a dotted line. The chosen trial has a ring around it. `Page.figure`
    takes it too.
    """
    drawn = band_plot(
        {name: _band(group) for name, group in _groups(trials).items()},
        x_label="ms for one query, alone",
        y_label=f"recall@{k}",
    )
    drawn.set_size_inches(*_INCHES)
    axes = drawn.axes[0]
    axes.xaxis.set_major_formatter("{x:g}")
    # The lower right is free: what is slow finds much.
    axes.legend(frameon=False, loc="lower right", handlelength=3)
    axes.axhline(target, color="#000000", linewidth=0.8, linestyle=":")
    axes.annotate(
        f"asked: {target:g}",
        (1.0, target),
        (-2, -3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="top",
    )
    for trial in trials:
        if trial.chosen:
            place = (trial.milliseconds, trial.recall)
            axes.plot(
                *place, marker="o", markersize=13, markerfacecolor="none", markeredgecolor="#000000", zorder=5
            )
            axes.annotate("chosen", place, (10, -14), textcoords="offset points", weight="bold")
    return drawn


def _cells(trial: Trial) -> tuple[str, ...]:
    return (
        "->" if trial.chosen else "",
        trial.factory,
        "all rows" if trial.effort is None else str(trial.effort),
        f"{trial.rows:,}",
        f"{trial.recall:.4f}",
        f"{trial.low:.4f}-{trial.high:.4f}" if trial.effort is not None else "exact",
        f"{trial.milliseconds:.3f}",
        f"{trial.batch_milliseconds:.3f}",
        f"{trial.nbytes / 2**20:,.1f}",
        f"{trial.build_seconds:,.1f}",
    )


def _groups(trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    """Trials of one structure, by its name; the number of rows is told where it differs."""
    most = max(trial.rows for trial in trials)
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        name = trial.factory if trial.rows == most else f"{trial.factory} on {trial.rows:,}"
        groups.setdefault(name, []).append(trial)
    return groups


def _band(trials: Sequence[Trial]) -> Band:
    ordered = sorted(trials, key=lambda trial: trial.milliseconds)
    return Band(
        [trial.milliseconds for trial in ordered],
        [trial.recall for trial in ordered],
        [trial.low for trial in ordered],
        [trial.high for trial in ordered],
    )
