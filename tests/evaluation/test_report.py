"""Result tables for programs and for people."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sslkit.contracts import Score
from sslkit.errors import ConfigError
from sslkit.evaluation.report import Result, markdown_table, text_table, write_results


def result(subject: str = "run", **figures: float) -> Result:
    return Result(Score(subject, figures, {"cat": 0.25}), "knn-20@abc", "0123", 100, 20, 10)


def test_json_holds_everything(tmp_path: Path) -> None:
    write_results([result(top1=0.5)], tmp_path / "new" / "folder")
    read = json.loads((tmp_path / "new" / "folder" / "results.json").read_text())
    assert read["results"] == [
        {
            "subject": "run",
            "figures": {"top1": 0.5},
            "per_class": {"cat": 0.25},
            "protocol": "knn-20@abc",
            "weights": "0123",
            "train": 100,
            "test": 20,
            "classes": 10,
            "seeds": 1,
            "spread": {},
            "details": {},
        }
    ]


def test_markdown_has_a_column_for_every_figure_of_any_row() -> None:
    lines = markdown_table([result(top1=0.5), result("other", top5=1.0)]).splitlines()
    assert lines == [
        "| subject | top1 | top5 | protocol | weights | train | test | classes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| run | 0.5000 |  | knn-20@abc | 0123 | 100 | 20 | 10 |",
        "| other |  | 1.0000 | knn-20@abc | 0123 | 100 | 20 | 10 |",
    ]


def test_the_spread_over_seeds_stands_beside_the_mean() -> None:
    spread = replace(result(top1=0.5), seeds=3, spread={"top1": 0.0123})
    assert "| 0.5000 ± 0.0123 |" in markdown_table([spread])


def test_what_could_not_be_measured_is_a_dash() -> None:
    unknown = replace(result(top1=float("nan")), seeds=3, spread={"top1": float("nan")})
    assert markdown_table([unknown]).splitlines()[2].startswith("| run | - |")


def test_a_subject_cannot_break_the_table() -> None:
    line = markdown_table([result("a|b\\|c\nd", top1=0.5)]).splitlines()[2]
    assert line.startswith(r"| a\|b\\\|c d | 0.5000 |")
    assert len(text_table([result("a\nb", top1=0.5)]).splitlines()) == 2


def test_plain_text_is_aligned() -> None:
    header, first, second = text_table([result(top1=0.5), result("a long name", top1=0.25)]).splitlines()
    assert header.index("top1") == first.index("0.5000") == second.index("0.2500")


def test_figures_that_are_not_finite_are_null_in_json(tmp_path: Path) -> None:
    write_results([result(top1=float("nan"))], tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["results"][0]["figures"] == {"top1": None}


def test_names_with_undecodable_bytes_are_written(tmp_path: Path) -> None:
    write_results([result("caf\udce9 ü", top1=0.5)], tmp_path)
    assert "ü" in (tmp_path / "results.md").read_text("utf-8")
    json.loads((tmp_path / "results.json").read_text("utf-8"))


def test_a_place_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="choose another place"):
        write_results([result(top1=0.5)], tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"
