"""What the listing commands show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sslkit.cli import plugins as command
from sslkit.cli.app import app
from sslkit.config import load_recipe, recipe_names
from sslkit.registry import Plugin

RUNNER = CliRunner()
WORKING = Plugin("fine", "fine_module", "fine 1.0", {"objective": ("mine",), "view_policy": ("v", "w")})
WRECK = Plugin("wreck", "wreck_module", "wreck 2.0", reason="it broke\nbadly", trace="Traceback: here\n")


@pytest.fixture(autouse=True)
def _two_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "plugins", lambda: [WORKING, WRECK])


def shown(*arguments: str) -> str:
    done = RUNNER.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_list_shows_state_and_names_of_each_plugin() -> None:
    header, fine, wreck = shown("plugins", "list").splitlines()
    assert header.split() == ["PLUGIN", "PACKAGE", "STATE", "PROVIDES"]
    assert fine.endswith("works     objective mine; view policy v, w")
    assert wreck.endswith("left out  it broke")


def test_the_list_as_json_holds_the_whole_reason() -> None:
    fine, wreck = json.loads(shown("plugins", "list", "--json"))
    assert (fine["works"], fine["provides"]) == (True, {"objective": ["mine"], "view_policy": ["v", "w"]})
    assert (wreck["works"], wreck["reason"]) == (False, "it broke\nbadly")


def test_why_shows_the_trace_of_a_failure() -> None:
    text = shown("plugins", "why", "wreck")
    assert "wreck 2.0" in text
    assert "it broke" in text
    assert text.endswith("Traceback: here\n")
    assert json.loads(shown("plugins", "why", "wreck", "--json"))["trace"] == WRECK.trace


def test_why_of_a_plugin_that_works_says_so() -> None:
    text = shown("plugins", "why", "fine")
    assert "works" in text
    assert "Traceback" not in text


def test_recipes_are_listed_with_their_purpose() -> None:
    listed = json.loads(shown("recipes", "list", "--json"))
    assert list(listed) == recipe_names()
    assert all(listed.values())
    assert shown("recipes", "list").splitlines()[0].startswith(recipe_names()[0])


def test_a_recipe_shown_is_a_recipe_that_loads_to_the_same(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(shown("recipes", "show", "smoke-byol"), encoding="utf-8")
    assert file.read_text(encoding="utf-8").startswith("# purpose: ")
    assert load_recipe(file) == load_recipe("smoke-byol")
