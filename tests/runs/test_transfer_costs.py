"""What a matrix cost, and what it was made of."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from sslkit.page import Page
from sslkit.runs.transfer_costs import add_bookkeeping, add_costs, duration
from tests.runs.made_results import RUN, made


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (99.94, "99.9 s"),
        (100, "2 min"),
        (5900, "98 min"),
        (6120, "1 h 42 min"),
        (90000, "25 h 00 min"),
    ],
)
def test_a_duration_is_said_as_people_do(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_pretraining_is_told_with_the_split_of_a_step() -> None:
    page = Page("p")
    add_costs(page, made())
    html = page.html()
    assert f"Pretraining of {RUN}" in html
    assert "Pretraining of random" not in html
    assert "<dt>images per second</dt><dd>22.6</dd>" in html
    assert "<dt>time</dt><dd>1 h 42 min</dd>" in html
    assert "share_" not in html
    drawn = html.partition("<svg")[2]
    assert re.findall(r">(forward|backward|wait|mining)</text>", drawn) == ["backward", "forward", "wait"]


def test_the_seconds_of_a_task_are_the_sum_of_its_rows_by_part() -> None:
    page = Page("p")
    add_costs(page, made({"knn": ("top1", 0.4), "flow": ("epe", 3.0)}))
    lines = re.findall(r"<tr>(<td>.*?)</tr>", page.html())
    table = [re.findall(r">([^<>]+)</td>", line) for line in lines]
    assert table == [
        ["knn", "9.000", "13.5", "0.750", "1.500", "24.8"],
        ["flow", "9.000", "13.5", "0.750", "1.500", "24.8"],
        ["all tasks", "18.0", "27.0", "1.500", "3.000", "49.5"],
    ]


def test_every_cell_tells_where_its_knowledge_came_from_and_what_was_trained() -> None:
    results = made({"knn": ("top1", 0.4)}, seeds=2, failing=[("knn", RUN, 0)])
    page = Page("p")
    add_bookkeeping(page, results)
    html = page.html()
    first, second = re.findall(r"<tr>(<td>knn.*?)</tr>", html, re.DOTALL)
    assert "<td>photos, simclr →<small>shapes, knn</small></td>" in first
    assert "<td>nothing →<small>shapes, knn</small></td>" in second
    assert "backbone frozen: 11,176,512\nhead: 5,130" in first
    assert "knn-1<small>@0123456789ab</small>" in first
    assert "train 480, test 120, classes 15" in first
    assert f"weights of each seed: {0:016x}, {1:016x}" in second
    nothing = made({"knn": ("top1", 0.4)}, failing=[("knn", RUN, -1), ("knn", "random", -1)])
    add_bookkeeping(Page("p"), replace(nothing))
