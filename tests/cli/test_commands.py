"""Each command hands what was typed to its run, and prints what comes back."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sslkit.cli.app import app

RUNNER = CliRunner()
Stand = Callable[..., list[tuple[tuple[Any, ...], dict[str, Any]]]]


class Result:
    """What the runs give back, as far as the command line knows it."""

    def to_dict(self) -> dict[str, Any]:
        return {"top1": 0.5}

    def to_text(self) -> str:
        return "top-1 50.0 %"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Stand:
    """Puts a recorder in the place of a run, so that no command trains anything here."""

    def stand(module: str, function: str, result: Any = None) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def record(*args: Any, **kwargs: Any) -> Any:
            calls.append((args, kwargs))
            return result

        stub = types.ModuleType(f"sslkit.runs.{module}")
        setattr(stub, function, record)
        monkeypatch.setitem(sys.modules, stub.__name__, stub)
        return calls

    return stand


def invoke(*arguments: str, code: int = 0) -> str:
    done = RUNNER.invoke(app, arguments)
    assert done.exit_code == code, done.output
    return done.stdout


def test_pretrain(stand_in: Stand) -> None:
    calls = stand_in("pretrain", "pretrain", Path("run"))
    invoke(
        "pretrain", "photos", "--recipe", "mine", "--out", "run", "--resume", "schedule.epochs=2", "seed=1"
    )
    given = {"recipe": "mine", "out": Path("run"), "overwrite": False, "resume": True}
    assert calls == [(("photos",), {**given, "overrides": ["schedule.epochs=2", "seed=1"]})]


def test_the_engine_of_the_views_is_a_setting_that_comes_last(stand_in: Stand) -> None:
    calls = stand_in("pretrain", "pretrain", Path("run"))
    invoke("pretrain", "photos", "--views-engine", "kornia", "views.engine=fused")
    assert calls[0][1]["overrides"] == ["views.engine=fused", "views.engine=kornia"]


def test_pretrain_without_options_leaves_everything_to_the_run(stand_in: Stand) -> None:
    calls = stand_in("pretrain", "pretrain", Path("run"))
    invoke("pretrain", "photos")
    given = {"recipe": None, "out": None, "overwrite": False, "resume": False, "overrides": []}
    assert calls == [(("photos",), given)]


@pytest.mark.parametrize(
    ("typed", "data", "settings"),
    [
        (["seed=1", "log_every=2"], None, ["seed=1", "log_every=2"]),
        (["shapes:count=9", "seed=1"], "shapes:count=9", ["seed=1"]),
        ([], None, []),
    ],
)
def test_pretrain_tells_data_from_settings(
    stand_in: Stand, typed: list[str], data: str | None, settings: list[str]
) -> None:
    calls = stand_in("pretrain", "pretrain", Path("run"))
    invoke("pretrain", *typed)
    ((args, kwargs),) = calls
    assert (args, kwargs["overrides"]) == ((data,), settings)


def test_a_folder_named_like_a_setting_is_data(
    stand_in: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    calls = stand_in("pretrain", "pretrain", Path("run"))
    invoke("pretrain", "a=b")
    assert calls[0][0] == ("a=b",)


def test_overwrite_and_resume_exclude_each_other(stand_in: Stand) -> None:
    calls = stand_in("pretrain", "pretrain")
    invoke("pretrain", "photos", "--overwrite", "--resume", code=2)
    assert calls == []


def test_resume(stand_in: Stand) -> None:
    calls = stand_in("pretrain", "resume")
    invoke("resume", "run")
    assert calls == [((Path("run"),), {})]


def test_views(stand_in: Stand) -> None:
    calls = stand_in("views", "draw_sheet", Path("sheet.png"))
    assert invoke("views", "photos", "--out", "sheet.png", "views.size=96") == "sheet.png\n"
    assert calls == [
        (("photos",), {"recipe": None, "out": Path("sheet.png"), "overrides": ["views.size=96"]})
    ]


def test_evaluate_prints_text_or_json(stand_in: Stand) -> None:
    calls = stand_in("evaluate", "evaluate", Result())
    assert invoke("evaluate", "run", "--data", "a") == "top-1 50.0 %\n"
    arguments = [
        "--test",
        "b",
        "--transfer-to",
        "c",
        "--head",
        "linear",
        "--protocol",
        "p",
        "--no-baselines",
        "--out",
        "o",
        "--seed",
        "3",
    ]
    assert json.loads(invoke("evaluate", "run", "--data", "a", *arguments, "--json")) == {"top1": 0.5}
    defaults = {"test": None, "head": "knn", "protocol": None, "settings": [], "baselines": True, "out": None}
    defaults |= {"transfer_to": None, "seed": 0, "seeds": 1, "resume": False}
    chosen = {"test": "b", "head": "linear", "protocol": "p", "baselines": False, "out": Path("o"), "seed": 3}
    chosen = defaults | chosen | {"transfer_to": "c"}
    assert calls == [(("run", "a"), defaults), (("run", "a"), chosen)]


def test_transfer_prints_the_answer_and_fails_where_a_row_did(stand_in: Stand) -> None:
    found = Result()
    found.failed = []  # type: ignore[attr-defined]
    calls = stand_in("transfer", "transfer", found)
    assert "top-1" in invoke("transfer", "run")
    arguments = ["--against", "a", "--against", "b", "--suite", "s.yaml", "--seeds", "5", "--task", "knn"]
    arguments += ["--out", "o", "--processes", "2", "--leaderboard", "l.jsonl", "--no-store", "--json"]
    found.failed = ["a row"]  # type: ignore[attr-defined]
    assert json.loads(invoke("transfer", "run", *arguments, code=1)) == {"top1": 0.5}
    defaults = {"against": [], "suite": "procedural", "seeds": 3, "tasks": [], "out": None}
    defaults |= {"processes": None, "leaderboard": None, "store": True}
    chosen = {"against": ["a", "b"], "suite": "s.yaml", "seeds": 5, "tasks": ["knn"], "out": Path("o")}
    chosen |= {"processes": 2, "leaderboard": Path("l.jsonl"), "store": False}
    assert calls == [(("run",), defaults), (("run",), chosen)]


def test_data_inspect(stand_in: Stand) -> None:
    calls = stand_in("inspect", "inspect", Result())
    assert invoke("data", "inspect", "photos") == "top1  0.5\n"
    assert json.loads(invoke("data", "inspect", "photos", "--channels", "5", "--json")) == {"top1": 0.5}
    assert calls == [(("photos",), {"channels": 3}), (("photos",), {"channels": 5})]


def test_demo(stand_in: Stand) -> None:
    calls = stand_in("demo", "demo", Result())
    assert json.loads(invoke("demo", "--out", "d", "--json")) == {"top1": 0.5}
    assert calls == [((Path("d"),), {})]


def test_json_has_null_where_there_is_no_number_and_text_for_a_path(stand_in: Stand) -> None:
    stand_in("index", "index_info", {"recall": [float("nan"), 1.0], "path": Path("a"), "empty": None})
    shown = json.loads(invoke("index", "info", "i", "--json"))
    assert shown == {"recall": [None, 1.0], "path": "a", "empty": None}


def test_json_has_an_escape_for_a_name_that_is_no_text(stand_in: Stand) -> None:
    stand_in("index", "index_info", {"path": "caf\udce9 ü"})
    shown = invoke("index", "info", "i", "--json")
    assert "ü" in shown
    assert json.loads(shown) == {"path": "caf\udce9 ü"}
