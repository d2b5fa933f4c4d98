"""The matrix on paper: aligned for a terminal, marked up for a web page, nothing claimed without evidence."""

from __future__ import annotations

import re

from sslkit.evaluation.matrix import build_matrix, number
from sslkit.evaluation.matrix_text import cell_text, is_best, markdown_matrix, notes, text_matrix
from tests.evaluation.transfer_rows import failed, grid, results, row

SHARES = {
    "knn": {"run": 0.9, "random": 0.2, "imagenet": 0.6},
    "linear": {"run": 0.6, "random": 0.6, "imagenet": 0.6},
}


def test_a_cell_has_the_mean_half_the_interval_and_the_verdict_against_untrained() -> None:
    matrix = build_matrix([grid(SHARES)])
    found = matrix.cells["knn", "run"].estimate
    assert found is not None
    assert (
        cell_text(matrix, "knn", "run") == f"{number(found.mean)} ± {number(found.high - found.mean)} better"
    )
    assert re.fullmatch(r"\.\d{3} ± \.\d{3}", cell_text(matrix, "knn", "random"))
    assert cell_text(matrix, "linear", "run").endswith(" no evidence")


def test_bold_is_what_is_better_than_every_other_with_evidence() -> None:
    matrix = build_matrix([grid(SHARES)])
    assert is_best(matrix, "knn", "run")
    assert not any(
        is_best(matrix, task, name) for task, name in matrix.cells if (task, name) != ("knn", "run")
    )
    lines = markdown_matrix(matrix).splitlines()
    assert lines[0] == "| task | metric | run | random | imagenet |"
    assert lines[1] == "| --- | --- | --- | --- | --- |"
    assert re.match(r"\| knn \| top1 \| \*\*\.\d{3}\*\* ± \.\d{3} better \| \.\d{3} ± ", lines[2])
    assert "**" not in lines[3]


def test_alone_nothing_is_best() -> None:
    matrix = build_matrix([grid({"knn": {"run": 0.9}})])
    assert not is_best(matrix, "knn", "run")
    beside_a_failure = build_matrix([results(row("knn", "run", 0, 0.9), failed("knn", "random", 0, "x"))])
    assert not is_best(beside_a_failure, "knn", "run")


def test_failures_and_marks_are_notes_told_once() -> None:
    rows = [row("knn", name, seed, share) for name, share in SHARES["knn"].items() for seed in range(3)]
    rows += [failed("flow", name, seed, "no |\nGPU") for name in SHARES["knn"] for seed in range(3)]
    rows[1] = failed("knn", "run", 1, "out of memory")
    matrix = build_matrix([results(*rows)])
    assert notes(matrix) == ["[1] seed 1: out of memory", "[2] 2 of 3 seeds", "[3] no | GPU"]
    text = text_matrix(matrix)
    assert re.search(r"^knn +top1 +\S+ ± \S+ better \[1\] \[2\] ", text, re.MULTILINE)
    assert re.search(r"^flow +- (not comparable )?\[3\] +- \[3\] +- \[3\]$", text, re.MULTILINE)
    assert text.count("no | GPU") == 1
    assert "\n[3] no \\| GPU\n" in markdown_matrix(matrix)


def test_columns_are_aligned_and_no_name_breaks_the_table() -> None:
    shares = {"knn": {"préentraîné | 図": 0.9, "random": 0.2}, "a-very-long-task-name": {"random": 0.2}}
    matrix = build_matrix([grid(shares)])
    head, first, second, *rest = text_matrix(matrix).splitlines()
    assert len(rest) == 1  # the note of the task that one of them lacks
    assert head.index("random") == first.index(cell_text(matrix, "knn", "random"))
    assert head.index("random") == second.index(cell_text(matrix, "a-very-long-task-name", "random"))
    for line in markdown_matrix(matrix).splitlines()[:4]:
        assert len(re.findall(r"(?<!\\)\|", line)) == 5


def test_less_is_better_is_said_beside_the_metric() -> None:
    matrix = build_matrix([grid({"flow": {"run": 0.2, "random": 0.9}}, higher_is_better=False)])
    assert "| flow | top1 (lower is better) | **" in markdown_matrix(matrix)
