"""The plots draw what they are given and can be seen on both papers."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np
import pytest
from matplotlib.axes import Axes

from sslkit.errors import DataError
from sslkit.page import Page
from sslkit.plots import COLOURS, Band, band_plot, bar_plot, line_plot, scatter_plot


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """The contrast of WCAG 2."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def themes(name: str) -> list[str]:
    """A colour of the page in the light and in the dark."""
    found = re.findall(rf"--{name}: (#\w{{6}})", (files("sslkit.page") / "page.css").read_text("utf-8"))
    assert len(found) == 2
    return found


def test_every_colour_can_be_seen_on_both_papers() -> None:
    for colour in COLOURS:
        for paper in themes("paper"):
            assert contrast(colour, paper) >= 2.5, (colour, paper)


@pytest.mark.parametrize("name", ["ink", "soft", "accent", "alarm"])
def test_text_of_the_page_can_be_read_in_the_light_and_in_the_dark(name: str) -> None:
    for paper in ("paper", "tile"):
        for text, below in zip(themes(name), themes(paper), strict=True):
            assert contrast(text, below) >= 4.5, (name, paper)


def test_a_curve_has_its_points_and_its_name() -> None:
    (axes,) = line_plot({"loss": ([0, 1, 2], [3.0, 2.0, 1.0])}, x_label="epoch", y_label="loss").axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [3, 2, 1])
    assert [text.get_text() for text in axes.texts] == ["loss"]
    assert axes.get_xlabel() == "epoch"


def test_curves_of_unequal_or_no_points_are_refused() -> None:
    for x, y in (([1, 2], [1.0]), ([], [])):
        with pytest.raises(DataError, match="curve 'loss'"):
            line_plot({"loss": (x, y)}, x_label="x", y_label="y")


BAND = Band([1, 10, 100], [0.2, 0.5, 0.6], [0.1, 0.4, 0.6], [0.3, 0.6, 0.6])


def test_a_band_lies_between_its_ends_around_its_line() -> None:
    (axes,) = band_plot({"a": BAND, "b": BAND}, x_label="labels", y_label="top1").axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), BAND.y)
    (path,) = axes.collections[0].get_paths()
    assert {tuple(vertex) for vertex in path.vertices} == {
        *zip(BAND.x, BAND.low, strict=True),
        *zip(BAND.x, BAND.high, strict=True),
    }
    assert axes.lines[0].get_linestyle() != axes.lines[1].get_linestyle()  # not by colour alone
    assert axes.lines[0].get_marker() != axes.lines[1].get_marker()


@pytest.mark.parametrize(
    ("x", "scale"), [((1, 10, 100), "log"), ((0, 10, 100), "linear"), ((5, 6, 7), "linear")]
)
def test_a_wide_range_of_x_is_drawn_in_decades(x: tuple[float, ...], scale: str) -> None:
    (axes,) = band_plot({"a": BAND._replace(x=x)}, x_label="x", y_label="y").axes
    assert axes.get_xscale() == scale
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"{place:g}" for place in x]


def test_bands_of_unequal_or_no_points_are_refused() -> None:
    for band in (BAND._replace(low=[0.1]), Band([], [], [], [])):
        with pytest.raises(DataError, match="curve 'a'"):
            band_plot({"a": band}, x_label="x", y_label="y")


def test_bars_have_their_lengths_and_one_may_stand_out() -> None:
    (axes,) = bar_plot({"a": 0.5, "b": 0.25}, x_label="top-1", highlight="b").axes
    long, short = (bar.get_extents().width for bar in axes.patches)
    assert long == pytest.approx(2 * short)
    first, second = (bar.get_facecolor() for bar in axes.patches)
    assert first != second
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]


def test_names_are_plain_text_whatever_they_hold() -> None:
    name = "$x_1$ & \udce9 図"
    points = np.zeros((2, 2), np.float32)
    for figure in (
        bar_plot({name: 0.5}, x_label="x"),
        line_plot({name: ([1], [1.0])}, x_label="x", y_label="y"),
        band_plot({name: BAND}, x_label="x", y_label="y"),
        scatter_plot(points, np.zeros(2, np.int64), [name]),
    ):
        assert "$x_1$ &amp; ? 図" in Page("p").figure(figure).html()


def named(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def test_points_are_named_by_class_up_to_ten() -> None:
    points = np.random.default_rng(0).standard_normal((30, 2)).astype(np.float32)
    labels = np.arange(30) % 3 - 1
    (axes,) = scatter_plot(points, labels, ["cat", "dog"]).axes
    assert named(axes) == ["unknown", "cat", "dog"]
    assert [np.shape(drawn.get_offsets()) for drawn in axes.collections] == [(10, 2)] * 3
    (many,) = scatter_plot(points, np.arange(30), [str(k) for k in range(30)]).axes
    assert named(many) == []
    (plain,) = scatter_plot(points).axes
    assert len(plain.collections) == 1
    with pytest.raises(DataError, match=r"\(30, 3\)"):
        scatter_plot(np.zeros((30, 3), np.float32))
