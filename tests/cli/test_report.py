"""`sslkit report` hands what was typed to its run, and prints what comes back."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from sslkit.cli import report

RUNNER = CliRunner()


class Result:
    """What the run gives back, as far as the command line knows it."""

    def to_dict(self) -> dict[str, Any]:
        return {"answer": ["It helped."], "low": float("nan")}

    def to_text(self) -> str:
        return "It helped."


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Puts a recorder in the place of the run."""
    made: list[Any] = []
    stub: Any = types.ModuleType("sslkit.runs.compare")

    def record(*args: Any, **kwargs: Any) -> Result:
        made.append((args, kwargs))
        return Result()

    stub.compare = record
    monkeypatch.setitem(sys.modules, stub.__name__, stub)
    return made


def invoke(*arguments: str, code: int = 0) -> str:
    app = typer.Typer()
    app.callback()(lambda: None)  # with one command alone its name would not be typed
    report.add_to(app)
    done = RUNNER.invoke(app, ["report", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_folders_and_options_reach_the_run(calls: list[Any]) -> None:
    assert invoke("a", "b") == "It helped.\n"
    invoke("a", "--out", "page.html", "--force", "--leaderboard", "board.jsonl")
    plain: dict[str, Any] = {"out": None, "force": False, "leaderboard": None}
    full = {"out": Path("page.html"), "force": True, "leaderboard": Path("board.jsonl")}
    assert calls == [(([Path("a"), Path("b")],), plain), (([Path("a")],), full)]


def test_json_is_for_programs(calls: list[Any]) -> None:
    assert json.loads(invoke("a", "--json")) == {"answer": ["It helped."], "low": None}


def test_no_folder_is_wrongly_asked(calls: list[Any]) -> None:
    invoke(code=2)
    assert calls == []
