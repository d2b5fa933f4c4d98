"""`sslkit mine` hands what was typed to one of its two runs, and prints what comes back."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sslkit.cli.app import app

RUNNER = CliRunner()


class Result:
    """What both runs give back, as far as the command line knows it."""

    def to_dict(self) -> dict[str, Any]:
        return {"pairs": []}

    def to_text(self) -> str:
        return "nothing is confused"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Puts recorders in the places of the runs."""
    made: list[Any] = []
    stub: Any = types.ModuleType("sslkit.runs.mine")
    for name in ("mine", "mine_class"):

        def record(*args: Any, name: str = name, **kwargs: Any) -> Result:
            made.append((name, args, kwargs))
            return Result()

        setattr(stub, name, record)
    monkeypatch.setitem(sys.modules, stub.__name__, stub)
    return made


def invoke(*arguments: str, code: int = 0) -> str:
    done = RUNNER.invoke(app, ["mine", *arguments])
    assert done.exit_code == code, done.output
    return done.stdout


def test_a_run_alone_is_judged_on_its_own_data(calls: list[Any]) -> None:
    assert invoke("run") == "nothing is confused\n"
    assert calls == [("mine", ("run", None), {"html": None, "out": None})]


def test_data_and_options_reach_the_run(calls: list[Any]) -> None:
    typed = ["photos", "--html", "c.html", "--out", "found", "--pairs", "7", "--cap", "0.9"]
    assert json.loads(invoke("run", *typed, "--json")) == {"pairs": []}
    given = {"html": Path("c.html"), "out": Path("found"), "pairs": 7, "cap": 0.9}
    assert calls == [("mine", ("run", "photos"), given)]


def test_a_class_asks_for_rounds_of_bootstrapping(calls: list[Any]) -> None:
    invoke("run", "photos", "--class", "cat", "--rounds", "3", "--out", "found")
    given = {"rounds": 3, "html": None, "out": Path("found")}
    assert calls == [("mine_class", ("run", "photos", "cat"), given)]


@pytest.mark.parametrize("typed", [["--pairs", "0"], ["--class", "cat", "--rounds", "0"]])
def test_counts_below_one_are_refused(calls: list[Any], typed: list[str]) -> None:
    invoke("run", *typed, code=2)
    assert calls == []


@pytest.mark.parametrize(
    "typed", [["--rounds", "3"], ["--class", "cat", "--pairs", "3"], ["--class", "cat", "--cap", "0.9"]]
)
def test_an_option_of_the_other_kind_is_refused(calls: list[Any], typed: list[str]) -> None:
    invoke("run", *typed, code=2)
    assert calls == []
