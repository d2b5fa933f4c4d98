"""`sslkit search` hands over what was typed, and prints what was found."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from sslkit.cli import search as command
from sslkit.errors import ConfigError
from sslkit.retrieval.filters import Where

PLAIN = {
    "k": 10,
    "where": None,
    "box": None,
    "exact": False,
    "ids": None,
    "vectors": None,
    "model_hash": None,
    "html": None,
    "model": None,
}


class Result:
    def to_dict(self):
        return {"query": "a.jpg", "hits": [{"similarity": 0.5}]}

    def to_text(self):
        return "a.jpg\n   0.500  b.jpg"


@pytest.fixture
def invoke(monkeypatch):
    calls = []

    def search(*args, **kwargs):
        calls.append((args, kwargs))
        return [Result(), Result()]

    monkeypatch.setattr("sslkit.runs.search.search", search)
    app = typer.Typer()
    command.add_to(app)

    def run(*arguments):
        calls.clear()
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        return done, calls

    return run


def test_queries_are_handed_over_as_they_are_written(invoke) -> None:
    done, calls = invoke("i", "a.jpg", "walk.avi@3-5", "file:///b%20c.jpg", "d.jpg#1,2,3,4")
    assert calls == [((Path("i"), ["a.jpg", "walk.avi@3-5", "file:///b%20c.jpg", "d.jpg#1,2,3,4"]), PLAIN)]
    assert done.stdout.count("0.500  b.jpg") == 2


def test_every_option_reaches_the_search(invoke) -> None:
    typed = "-k 5 --box 1,2,3,4 --label cat --path *.jpg --time 3-5 --exact --html g.html --model run"
    options = typed.split(" ")
    done, calls = invoke("i", "a.jpg", *options, "--where", "year > 2000", "--json")
    where = Where("year > 2000", "cat", "*.jpg", (3.0, 5.0))
    assert calls[0][1] == {
        **PLAIN,
        "k": 5,
        "box": "1,2,3,4",
        "where": where,
        "exact": True,
        "html": Path("g.html"),
        "model": "run",
    }
    assert json.loads(done.stdout) == [Result().to_dict()] * 2


def test_ids_and_vectors_need_no_query(invoke) -> None:
    assert invoke("i", "--ids", "ids.txt")[1] == [((Path("i"), []), {**PLAIN, "ids": Path("ids.txt")})]
    _, calls = invoke("i", "--vectors", "v.npy", "--model-hash", "abc")
    assert calls == [((Path("i"), []), {**PLAIN, "vectors": Path("v.npy"), "model_hash": "abc"})]


def test_wrong_options_end_before_the_search(invoke) -> None:
    assert invoke("i", "a.jpg", "-k", "0")[0].exit_code == 2
    with pytest.raises(ConfigError, match="stretch of time"):
        invoke("i", "a.jpg", "--time", "late")
