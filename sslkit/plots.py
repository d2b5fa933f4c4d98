"""The few plots of the reports, drawn in black and calm colours on nothing: for light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import NDArray

from sslkit.errors import DataError

# Middle tones: each has a contrast of at least 2.5 : 1 (WCAG 2) against both papers of page.css.
COLOURS = (
    "#3f7fc4",
    "#d9662b",
    "#2a9d7c",
    "#c0709f",
    "#b08a1e",
    "#5aa9d6",
    "#8a6fc9",
    "#a05a4a",
    "#7d9a3c",
    "#8b8d91",
)
_STROKES = ("-", "--", "-.", ":")
_MARKS = ("o", "s", "^", "D", "v")
_FEW = 6  # points up to this many are marked, and their x values are the ticks
_WIDE = 20.0  # a range of x from 1 to more than this is drawn with a logarithmic axis
_SIZES = {"font.size": 9, "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6}


def line_plot(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x_label: str, y_label: str
) -> Figure:
    """Named curves (x values, y values); each carries its name at its right end, so there is no legend."""
    figure, axes = _axes(7.0, 2.8)
    for (name, (x, y)), colour in zip(series.items(), _cycle(len(series)), strict=True):
        if len(x) != len(y) or len(x) == 0:
            raise DataError(
                f"curve '{name}' has {len(x)} x values and {len(y)} y values; as many, at least one"
            )
        axes.plot(
            x, y, color=colour, linewidth=1.6, marker="o" if len(x) == 1 else None, solid_capstyle="round"
        )
        axes.annotate(
            _plain(name),
            (x[-1], y[-1]),
            (5, 0),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
        )
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.xaxis.set_major_locator(
        MaxNLocator(6, integer=all(float(v).is_integer() for x, _ in series.values() for v in x))
    )
    axes.yaxis.set_major_locator(MaxNLocator(5))
    return figure


class Band(NamedTuple):
    """A curve between two others, all over the same x."""

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def band_plot(series: Mapping[str, Band], *, x_label: str, y_label: str) -> Figure:
    """Named curves in their bands, small, for several beside each other; a legend below names them.

    Strokes and marks tell them apart as colours do. Few points are marked; x is logarithmic where all of it
    is positive and its range is wide.
    """
    figure, axes = _axes(3.6, 2.5)
    ends = [float(value) for band in series.values() for value in band.x]
    for number, (name, band) in enumerate(series.items()):
        if len({len(part) for part in band}) != 1 or len(band.x) == 0:
            raise DataError(
                f"curve '{name}' has {[len(part) for part in band]} values; as many of each, >= 1"
            )
        colour = COLOURS[number % len(COLOURS)]
        axes.fill_between(band.x, band.low, band.high, color=colour, alpha=0.22, linewidth=0)
        axes.plot(
            band.x,
            band.y,
            color=colour,
            linewidth=1.6,
            linestyle=_STROKES[number % len(_STROKES)],
            marker=_MARKS[number % len(_MARKS)] if len(band.x) <= _FEW else None,
            markersize=4.5,
            label=_plain(name),
        )
    if min(ends) > 0 and max(ends) / min(ends) >= _WIDE:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    if len(places := sorted(set(ends))) <= _FEW:
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.minorticks_off()
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(_plain(x_label))
    axes.set_ylabel(_plain(y_label))
    axes.legend(
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.22),
        borderaxespad=0,
        handlelength=3,
        fontsize=_SIZES["font.size"],
    )
    return figure


def bar_plot(
    values: Mapping[str, float], *, x_label: str, highlight: str | None = None, width: float = 7.0
) -> Figure:
    """Named values as horizontal bars, top to bottom in the order given; one may be highlighted.

    width: of the figure in inches; a narrow one has larger text.
    """
    figure, axes = _axes(width, 0.5 + 0.32 * len(values))
    names = [_plain(name) for name in values]
    colours = [COLOURS[0] if highlight in (None, name) else COLOURS[-1] for name in values]
    bars = axes.barh(range(len(names)), list(values.values()), color=colours, height=0.62)
    axes.bar_label(bars, fmt="%.3g", padding=4)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(x_label)
    return figure


def scatter_plot(
    points: NDArray[np.float32], labels: NDArray[np.int64] | None = None, class_names: Sequence[str] = ()
) -> Figure:
    """Points (N, 2) without axes, coloured by label int64 (N,); up to ten classes are named in a legend.

    With more classes the colours repeat and nothing is named.
    """
    if points.ndim != 2 or points.shape[1] != 2:
        raise DataError(f"points have the shape {points.shape}; (N, 2) is needed")
    figure, axes = _axes(7.0, 5.2)
    axes.set_axis_off()
    axes.set_aspect("equal", adjustable="datalim")
    if labels is None:
        axes.scatter(points[:, 0], points[:, 1], s=9, color=COLOURS[0], alpha=0.75, linewidths=0)
        return figure
    for label in np.unique(labels):
        chosen = points[labels == label]
        name = _plain(class_names[label]) if 0 <= label < len(class_names) else "unknown"
        colour = COLOURS[label % len(COLOURS)]
        axes.scatter(chosen[:, 0], chosen[:, 1], s=9, color=colour, alpha=0.75, linewidths=0, label=name)
    if len(class_names) <= len(COLOURS):
        axes.legend(
            frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), handletextpad=0.2, markerscale=1.8
        )
    return figure


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    # Made without pyplot: no window system, no global state, nothing to close.
    with matplotlib.rc_context(_SIZES):
        figure = Figure(figsize=(width, height))
        axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.patch.set_alpha(0)
    return figure, axes


def _cycle(count: int) -> list[str]:
    return [COLOURS[number % len(COLOURS)] for number in range(count)]


def _plain(name: str) -> str:
    """A name as text: no mathematics between dollar signs, "?" for what is no UTF-8."""
    return name.encode("utf-8", "replace").decode("utf-8").replace("$", r"\$")
