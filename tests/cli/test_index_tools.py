"""`sslkit index eval` and `sslkit index export`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from sslkit.cli import index_eval, interchange
from sslkit.errors import ConfigError
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.embed import EmbeddingSet

app = typer.Typer()
for _commands in (index_eval, interchange):
    _commands.add_to(app)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    vectors = np.random.default_rng(0).standard_normal((40, 5)).astype(np.float32)
    labels = np.arange(40, dtype=np.int64) % 4
    names = [f"{'query' if row % 5 == 0 else 'rest'}/{row}.jpg" for row in range(40)]
    given = EmbeddingSet(vectors, np.arange(40), names, labels, "abc", ("a", "b", "c", "d"))
    Index.build(given, tmp_path / "index").close()
    return tmp_path / "index"


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_eval_prints_tables_json_and_a_page(index: Path, tmp_path: Path) -> None:
    told = run("eval", index, "--k", "1,5", "--out", tmp_path / "page.html")
    assert "recall@5" in told
    assert "mAP@R" in told
    assert (tmp_path / "page.html").read_text("utf-8").startswith("<!doctype html>")
    split = json.loads(
        run(
            "eval",
            index,
            "--queries-where",
            "path LIKE 'query/%'",
            "--label",
            "b",
            "--queries",
            "0",
            "--json",
        )
    )
    assert (split["queries"], split["gallery"], split["where"]) == (2, 8, "class b")
    assert list(split["recall"]) == ["1", "10", "100"]
    with pytest.raises(ConfigError, match="whole numbers with commas"):
        run("eval", index, "--k", "1,x")


def test_export_says_what_it_wrote(index: Path, tmp_path: Path) -> None:
    assert "40 of 5 dimensions" in run("export", index, "--out", tmp_path / "out", "--table", "csv")
    told = json.loads(run("export", index, "--out", tmp_path / "out", "--overwrite", "--json"))
    assert told["count"] == 40
    assert np.load(tmp_path / "out" / "vectors.npy").shape == (40, 5)
