"""A forest plot: points with their reach on one axis, in the page's own text, so that a phone can show it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from sslkit.page.cells import escaped, soft

_REACH = 4.0  # a drawing of intervals spans so many times their median reach; what is further is cut


@dataclass(frozen=True)
class Interval:
    """A row of a drawing of intervals: a point with its reach, all None where there is none.

    name, note: the bold and the soft lines on the left; words: what it says, on the right.
    """

    name: str
    mean: float | None
    low: float | None
    high: float | None
    words: str = ""
    note: str = ""


def drawing(rows: Iterable[Interval], axis: str) -> str:
    """The rows above one axis, and the line of zero; axis: what is drawn, with its unit.

    Reaches beyond four times the median one are cut at an arrow, so that a wild row does not hide the others.
    """
    rows = list(rows)
    low, high, ticks = _span(rows)
    at = [_place(tick, low, high) for tick in ticks]
    lines = "".join(f'<i class="tick" style="left:{place:.2f}%"></i>' for place in at)
    zero = f'<i class="zero" style="left:{_place(0.0, low, high):.2f}%"></i>'
    body = "".join(
        f'<tr><th scope="row">{escaped(row.name)}{soft(row.note)}</th>'
        f'<td class="strip"><div>{lines}{zero}{_drawn(row, low, high)}</div></td>'
        f"<td>{escaped(row.words)}</td></tr>"
        for row in rows
    )
    named = "".join(
        f'<span style="left:{place:.2f}%">{f"{tick:+g}" if tick else "0"}</span>'
        for place, tick in zip(at, ticks, strict=True)
    )
    return (
        f'<table class="intervals"><thead><tr><th></th><th class="axis">{escaped(axis)}</th><th></th></tr>'
        f"</thead><tbody>{body}</tbody><tfoot><tr><td></td>"
        f'<td class="strip"><div>{named}</div></td><td></td></tr></tfoot></table>'
    )


def _span(rows: Sequence[Interval]) -> tuple[float, float, list[float]]:
    """Ends of the axis of intervals, and its ticks."""
    known = [(row.low, row.high) for row in rows if row.low is not None and row.high is not None]
    reach = _REACH * float(np.median([max(abs(low), abs(high)) for low, high in known] or [0.0]))
    low = max(min([0.0, *(low for low, _ in known)]), -reach)
    high = min(max([0.0, *(high for _, high in known)]), reach)
    if low == high:
        low, high = -1.0, 1.0
    ticks = [float(tick) for tick in MaxNLocator(4).tick_values(low, high)]
    return min(low, ticks[0]), max(high, ticks[-1]), ticks


def _place(value: float, low: float, high: float) -> float:
    """Where a value lies between the ends, in per cent; beyond them it lies at the end."""
    return 100.0 * (min(max(value, low), high) - low) / (high - low)


def _drawn(row: Interval, low: float, high: float) -> str:
    if row.mean is None or row.low is None or row.high is None:
        return ""
    left, right = _place(row.low, low, high), _place(row.high, low, high)
    arrows = '<b class="cut left">&lsaquo;</b>' * (row.low < low) + '<b class="cut right">&rsaquo;</b>' * (
        row.high > high
    )
    dot = f'<i class="dot" style="left:{_place(row.mean, low, high):.2f}%"></i>'
    return (
        f'<i class="reach" style="left:{left:.2f}%;width:{right - left:.2f}%"></i>'
        f"{dot if low <= row.mean <= high else ''}{arrows}"
    )
