"""`sslkit index duplicates | ...` hands what was typed to its runs, and prints what comes back."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from sslkit.cli import curate
from sslkit.errors import ConfigError
from sslkit.retrieval.filters import Where
from sslkit.runs.curated import Wanted

APP = typer.Typer()
curate.add_to(APP)
RUNNER = CliRunner()
NOWHERE = Wanted(None, None, False)


class Result:
    """What all runs give back, as far as the command line knows it."""

    def to_dict(self) -> dict[str, Any]:
        return {"findings": []}

    def to_text(self) -> str:
        return "all is well"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Puts recorders in the places of the runs."""
    made: list[Any] = []
    for module, names in (
        ("curate", ("duplicates", "outliers", "mislabelled")),
        ("survey", ("leakage", "clusters", "diverse")),
    ):
        stub: Any = types.ModuleType(f"sslkit.runs.{module}")
        for name in names:

            def record(*args: Any, name: str = name, **kwargs: Any) -> Result:
                made.append((name, args, kwargs))
                return Result()

            setattr(stub, name, record)
        monkeypatch.setitem(sys.modules, stub.__name__, stub)
    return made


def invoke(*arguments: str) -> str:
    done = RUNNER.invoke(APP, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_defaults_are_those_of_the_runs(calls: list[Any]) -> None:
    import inspect

    from sslkit.retrieval.curation import duplicates, mislabelled, outliers

    for command in ("duplicates", "outliers", "mislabelled", "clusters"):
        assert invoke(command, "i") == "all is well\n"
    invoke("leakage", "i", "j")
    invoke("diverse", "i", "--count", "3")
    by_name = {name: kwargs for name, _, kwargs in calls}
    assert by_name["duplicates"]["threshold"] is None
    assert by_name["outliers"]["k"] == outliers.NEIGHBOURS
    assert by_name["mislabelled"]["k"] == mislabelled.NEIGHBOURS
    assert by_name["leakage"]["threshold"] == duplicates.THRESHOLD
    assert f"{duplicates.THRESHOLD}" in inspect.getsource(curate.duplicates)
    assert by_name["clusters"]["count"] is None
    assert all(kwargs["wanted"] == NOWHERE and kwargs["where"] is None for kwargs in by_name.values())


def test_options_reach_the_run(calls: list[Any]) -> None:
    places = ["--out", "o", "--apply", "l.txt", "--overwrite"]
    typed = [*places, "--path", "a/*", "--where", "year > 2000", "--label", "cat"]
    wanted = Wanted(Path("o"), Path("l.txt"), True)
    where = Where("year > 2000", "cat", "a/*")
    assert json.loads(
        invoke("duplicates", "i", "--quantile", ".01", "--keep", "first", *typed, "--json")
    ) == {"findings": []}
    invoke("outliers", "i", "--method", "lof", "-k", "4", "--share", ".2", *typed, "--exact")
    invoke("mislabelled", "i", "-k", "4", "--share", ".3", *typed)
    invoke("clusters", "i", "--count", "12", "--seed", "5", *typed)
    invoke("diverse", "i", "--count", "7", "--seed", "5", *typed)
    index, both = (Path("i"),), {"where": where, "wanted": wanted}
    assert calls == [
        ("duplicates", index, {"threshold": None, "quantile": 0.01, "keep": "first", "exact": False, **both}),
        ("outliers", index, {"method": "lof", "k": 4, "share": 0.2, "exact": True, **both}),
        ("mislabelled", index, {"k": 4, "share": 0.3, "exact": False, **both}),
        ("clusters", index, {"count": 12, "seed": 5, **both}),
        ("diverse", index, {"count": 7, "seed": 5, **both}),
    ]


def test_leakage_into_an_index_or_a_part(calls: list[Any]) -> None:
    invoke("leakage", "i", "j", "--threshold", ".9")
    invoke("leakage", "i", "--path", "train/*", "--other-path", "test/*", "--other-where", "id > 3")
    rest = {"exact": False, "wanted": NOWHERE}
    parts = {"where": Where(path="train/*"), "other_where": Where("id > 3", None, "test/*")}
    assert calls == [
        ("leakage", (Path("i"), Path("j")), {"threshold": 0.9, "where": None, "other_where": None, **rest}),
        ("leakage", (Path("i"), None), {"threshold": 0.98, **parts, **rest}),
    ]


def test_unclear_questions_are_refused(calls: list[Any]) -> None:
    for arguments, message in (
        (["leakage", "i"], "leakage into what"),
        (["clusters", "i", "--count", "few"], "a number of clusters or auto"),
    ):
        done = RUNNER.invoke(APP, arguments)
        assert isinstance(done.exception, ConfigError)
        assert message in str(done.exception)
    assert calls == []


def test_help_says_what_sees_what_and_that_nothing_is_deleted() -> None:
    told = " ".join(RUNNER.invoke(APP, ["duplicates", "--help"]).stdout.replace("│", " ").split())
    assert "as the model sees them" in told
    assert "by their pixels alone" in told
    assert "No image is moved or deleted" in told
