"""`sslkit profile` hands what was typed to its run, and prints what comes back."""

from __future__ import annotations

import json
import sys
import types
from typing import Any

import pytest
from typer.testing import CliRunner

from sslkit.cli.app import app

RUNNER = CliRunner()
DEFAULTS = {
    "head": None,
    "protocol": None,
    "settings": [],
    "size": None,
    "frames": None,
    "batch": None,
    "classes": None,
    "precision": "auto",
    "train": False,
    "stream": False,
    "passes": 20,
}


class Result:
    """What the run gives back, as far as the command line knows it."""

    def to_dict(self) -> dict[str, Any]:
        return {"frames_per_second": 4.0}

    def to_text(self) -> str:
        return "fast enough"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Puts a recorder in the place of the run."""
    made: list[Any] = []
    stub: Any = types.ModuleType("sslkit.runs.profile")

    def record(*args: Any, **kwargs: Any) -> Result:
        made.append((args, kwargs))
        return Result()

    stub.profile = record
    monkeypatch.setitem(sys.modules, stub.__name__, stub)
    return made


def invoke(*arguments: str, code: int = 0) -> str:
    done = RUNNER.invoke(app, ["profile", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_a_model_alone_is_enough(calls: list[Any]) -> None:
    assert invoke("resnet18") == "fast enough\n"
    assert calls == [(("resnet18",), DEFAULTS)]


def test_everything_typed_reaches_the_run(calls: list[Any]) -> None:
    typed = ["--head", "seg", "--protocol", "p.yaml", "--size", "368x496", "--frames", "4", "--batch", "2"]
    typed += ["--classes", "9", "--precision", "fp32", "--train", "--stream", "--passes", "7"]
    assert json.loads(invoke("run", "mode=finetune", *typed, "--json")) == {"frames_per_second": 4.0}
    given = {
        **{"head": "seg", "protocol": "p.yaml", "settings": ["mode=finetune"], "size": (368, 496)},
        **{"frames": 4, "batch": 2, "classes": 9, "precision": "fp32"},
        **{"train": True, "stream": True, "passes": 7},
    }
    assert calls == [(("run",), given)]


def test_one_side_is_a_square(calls: list[Any]) -> None:
    invoke("run", "--size", "96")
    assert calls[0][1]["size"] == (96, 96)


@pytest.mark.parametrize("size", ["big", "0", "32x", "x32", "1x2x3", "-4", "²"])
def test_a_size_that_is_none_is_refused(calls: list[Any], size: str) -> None:
    assert "HEIGHTxWIDTH" in invoke("run", f"--size={size}", code=2)
    assert not calls
