"""The matrix on a page: every figure, interval and verdict is where it belongs, in words."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from sslkit.evaluation.matrix import Matrix, build_matrix
from sslkit.evaluation.statistics import Estimate
from sslkit.page import Interval, Page
from sslkit.runs.matrix_page import add_differences, add_matrix
from tests.runs.made_results import RUN, made


class Noting(Page):
    """Keeps what would be drawn."""

    def __init__(self) -> None:
        super().__init__("p")
        self.drawn: list[list[Interval]] = []

    def intervals(self, rows, axis, caption=""):  # type: ignore[no-untyped-def]
        self.drawn.append(list(rows))
        return super().intervals(self.drawn[-1], axis, caption)


def table_of(matrix: Matrix) -> list[list[str]]:
    """The cells of the table, lines parted by a bar."""
    page = Page("p")
    add_matrix(page, matrix)
    rows = re.findall(r"<tr>(.*?)</tr>", page.html(), re.DOTALL)[1:]
    return [
        [
            re.sub(r"<[^>]+>", "|", cell).strip("|").replace("\n", "|")
            for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)
        ]
        for row in rows
    ]


def test_a_cell_has_the_mean_its_interval_and_the_verdict_in_words() -> None:
    matrix = build_matrix([made({"knn": ("top1", 0.45)})])
    (row,) = table_of(matrix)
    estimate = matrix.cells["knn", RUN].estimate
    assert estimate is not None
    interval = f"{estimate.low:.3f} to {estimate.high:.3f}".replace("0.", ".")
    assert row[0] == "knn|top1"
    assert row[1] == f"{estimate.mean:.3f}|{interval}|▲ better than random".replace("0.", ".")
    assert row[2].startswith(".454|")
    assert "random" not in row[2]


def test_a_failed_cell_is_a_dash_with_its_reason_below() -> None:
    matrix = build_matrix([made(failing=[("segmentation", RUN, -1), ("knn", "random", 1)])])
    rows = {row[0].partition("|")[0]: row for row in table_of(matrix)}
    assert rows["segmentation"][1] == "–|[3]"  # noqa: RUF001
    assert rows["knn"][2].endswith("[1] [2]")
    page = Page("p")
    add_matrix(page, matrix)
    html = page.html()
    assert "[1] seed 1: the head of knn needs stride 4, &lt;random&gt; has 32 | 16" in html
    assert "[3] the head of segmentation needs stride 4" in html


def test_where_lower_is_better_it_says_so_and_judges_so() -> None:
    matrix = build_matrix([made({"flow": ("epe", 3.2)})])
    (row,) = table_of(matrix)
    assert row[0] == "flow|epe, lower is better"
    assert row[1].endswith("▲ better than random")


def differences(matrix: Matrix) -> list[list[Interval]]:
    page = Noting()
    add_differences(page, matrix)
    return page.drawn


def test_right_is_better_for_every_metric_and_the_unit_is_per_cent_of_the_other() -> None:
    matrix = build_matrix([made({"knn": ("top1", 0.45), "flow": ("epe", 3.2)})])
    (rows,) = differences(matrix)
    for row in rows:
        found, base = matrix.cells[row.name, RUN].against["random"], matrix.cells[row.name, "random"].estimate
        assert base is not None
        sign = -1 if row.name == "flow" else 1
        assert row.mean == pytest.approx(sign * 100 * found.mean / base.mean)
        assert row.mean is not None
        assert row.mean > 0
        reach = sorted(sign * 100 * end / base.mean for end in (found.low, found.high))
        assert [row.low, row.high] == pytest.approx(reach)
        assert "▲ better" in row.words
    assert rows[1].words.startswith("-.480 (-")  # in the metric's own unit, as it was measured
    assert rows[1].note == "epe, lower is better"


def test_what_has_no_figure_or_no_interval_says_so() -> None:
    matrix = build_matrix([made(failing=[("knn", "random", -1)])])
    (rows,) = differences(matrix)
    assert rows[0] == Interval("knn", None, None, None, "no figure of random", "top1")
    nan = float("nan")
    cells = dict(matrix.cells)
    cell = cells["few-shot", RUN]
    unsure = Estimate(*[{"mean": 0.06, "seeds": 1}.get(name, nan) for name in Estimate.__dataclass_fields__])
    cells["few-shot", RUN] = replace(cell, against={"random": unsure})
    zero = cells["detection", "random"].estimate
    assert zero is not None
    cells["detection", "random"] = replace(cells["detection", "random"], estimate=replace(zero, mean=0.0))
    (rows,) = differences(replace(matrix, cells=cells))
    named = {row.name: row for row in rows}
    assert "no interval" in named["few-shot"].words
    assert named["few-shot"].low == named["few-shot"].high == named["few-shot"].mean
    assert named["detection"].mean is None
    assert "not drawn: random is at 0" in named["detection"].words


def test_the_untrained_one_comes_first_and_others_are_folded() -> None:
    subjects = (RUN, "resnet18.a1_in1k", "random")
    page = Noting()
    add_differences(page, build_matrix([made(subjects=subjects)]))
    html = page.html()
    assert len(page.drawn) == 2
    assert f"{RUN} better than random" in html.partition("<details>")[0]
    assert f"<summary>{RUN} against resnet18.a1_in1k</summary>" in html


def test_one_backbone_alone_has_no_differences() -> None:
    page = Page("p")
    add_differences(page, build_matrix([made(subjects=(RUN,))]))
    assert "Differences" not in page.html()
