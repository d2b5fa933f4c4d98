"""What the listing commands show."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import SkipTest

import pytest
from typer.testing import CliRunner

from sslkit.cli import plugins as command
from sslkit.cli.app import app
from sslkit.config import load_recipe, recipe_names
from sslkit.errors import ConfigError
from sslkit.hookspecs import HOOKS
from sslkit.registry import Plugin, conformance
from sslkit.registry.conformance import Check
from sslkit.registry.disabled import disabled_plugins

RUNNER = CliRunner()
WORKING = Plugin("fine", "fine_module", "fine 1.0", {"objective": ("mine",), "view_policy": ("v", "w")})
WRECK = Plugin("wreck", "wreck_module", "wreck 2.0", reason="it broke\nbadly", trace="Traceback: here\n")
SHY = Plugin("shy", "shy_module", "shy 3.0", reason="disabled here", held="disabled")
NOTED = Plugin("noted", "n", "noted 4.0", {"objective": ("noted:byol",)}, notes=("write noted:byol",))


@pytest.fixture(autouse=True)
def _two_plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "plugins", lambda: [WORKING, WRECK])
    monkeypatch.setattr(command, "installed", lambda: ["fine", "shy", "wreck"])
    monkeypatch.setenv("SSLKIT_CONFIG", str(tmp_path / "settings"))


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


def test_what_is_disabled_and_what_must_be_written_in_full_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "plugins", lambda: [SHY, NOTED])
    _, shy, noted, note = shown("plugins", "list").splitlines()
    assert shy.split() == ["shy", "shy", "3.0", "disabled", "disabled", "here"]
    assert noted.endswith("works     objective noted:byol")
    assert note == "noted: write noted:byol"
    assert json.loads(shown("plugins", "list", "--json"))[1]["notes"] == ["write noted:byol"]
    assert "disabled here" in shown("plugins", "why", "shy")
    assert "write noted:byol" in shown("plugins", "why", "noted")


def test_the_hooks_are_listed_with_their_documentation_and_who_uses_them() -> None:
    lines = shown("plugins", "list", "--hooks").splitlines()
    documented = [line.partition(": ")[::2] for line in lines if not line.startswith(" ")]
    assert [hook for hook, _ in documented] == list(HOOKS.values())
    assert all(documentation for _, documentation in documented)
    assert lines[lines.index("  fine: mine") - 1].startswith("sslkit_objectives: ")
    entries = json.loads(shown("plugins", "list", "--hooks", "--json"))
    assert {entry["kind"]: entry["names"] for entry in entries if entry["names"]} == {
        "objective": {"fine": ["mine"]},
        "view_policy": {"fine": ["v", "w"]},
    }


def test_a_plugin_is_disabled_and_enabled(tmp_path: Path) -> None:
    assert f"disabled wreck, as {tmp_path / 'settings' / 'plugins.json'} says" in shown(
        "plugins", "disable", "wreck"
    )
    assert disabled_plugins() == {"wreck"}
    assert "enabled wreck" in shown("plugins", "enable", "wreck")
    assert disabled_plugins() == set()
    assert shown("plugins", "enable", "fine") == "fine is not disabled\n"


def test_a_disabled_plugin_that_is_gone_can_be_enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    shown("plugins", "disable", "wreck")
    monkeypatch.setattr(command, "installed", list)
    shown("plugins", "enable", "wreck")
    assert disabled_plugins() == set()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("disable", "built-in"), "sslkit itself and cannot be disabled"),
        (("disable", "wrek"), "did you mean 'wreck'"),
        (("enable", "wrek"), "did you mean 'wreck'"),
        (("why", "wrek"), "did you mean 'wreck'"),
    ],
)
def test_a_name_that_cannot_be_switched_is_refused(arguments: tuple[str, ...], said: str) -> None:
    done = RUNNER.invoke(app, ["plugins", *arguments])
    assert isinstance(done.exception, ConfigError)
    assert said in str(done.exception)
    assert disabled_plugins() == set()


def failing() -> None:
    raise AssertionError("reached .2,\nthe goal is .9")


def skipping() -> None:
    raise SkipTest("no objects")


CHECKS = [
    Check("mine", "loads", lambda: None),
    Check("mine_head", "draw", skipping),
    Check("mine_head", "overfits", failing),
]


def test_a_check_prints_one_aligned_line_each_and_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformance, "checks_of", lambda name, only: CHECKS)
    done = RUNNER.invoke(app, ["plugins", "check", "mine"])
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "mine       loads     passed",
        "mine_head  draw      skipped: no objects",
        "mine_head  overfits  failed: reached .2,",
        "1 of 3 checks failed",
    ]
    done = RUNNER.invoke(app, ["plugins", "check", "mine", "--json"])
    assert done.exit_code == 1
    assert [(entry["outcome"], entry["reason"]) for entry in json.loads(done.stdout)] == [
        ("passed", ""),
        ("skipped", "no objects"),
        ("failed", "reached .2,\nthe goal is .9"),
    ]


def test_checks_that_pass_end_well_and_one_may_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def checks_of(name: str, only: str | None) -> list[Check]:
        asked.append((name, only))
        return CHECKS[:2]

    monkeypatch.setattr(conformance, "checks_of", checks_of)
    assert shown("plugins", "check", "mine", "--only", "loads").splitlines() == [
        "mine       loads  passed",
        "mine_head  draw   skipped: no objects",
    ]
    assert asked == [("mine", "loads")]


def test_a_new_plugin_is_written_and_the_next_commands_are_shown(tmp_path: Path) -> None:
    text = shown(
        "plugins", "new", "tree-height", "--input", "image", "--target", "label", "--out", str(tmp_path)
    )
    files, _, commands = text.partition("\nNext:\n")
    folder = tmp_path / "sslkit-tree-height"
    assert {Path(line) for line in files.splitlines()} == {
        file for file in folder.rglob("*") if file.is_file()
    }
    assert [line.strip() for line in commands.splitlines()] == [
        f"pip install -e {folder}",
        f"python -m pytest {folder}",
        "sslkit plugins check tree-height",
    ]


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
