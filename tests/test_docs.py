"""What is written beside the code stays true to it."""

from __future__ import annotations

import re
import shlex
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import sslkit
from sslkit.config import load_recipe, recipe_header, recipe_names

ROOT = Path(__file__).parent.parent
FIELDS = ["purpose", "command", "hardware", "duration", "expected"]


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_says_purpose_command_hardware_duration_and_expected_number(name: str) -> None:
    fields = dict(line.partition(": ")[::2] for line in recipe_header(name).splitlines())
    assert list(fields) == FIELDS
    assert all(fields.values())
    # The recipe is named in its own command: by --recipe, or as the command that uses it (`sslkit demo`).
    assert name in shlex.split(fields["command"])


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_loads(name: str) -> None:
    load_recipe(name)


def test_the_table_of_recipes_lists_each_once() -> None:
    table = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) == recipe_names()


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" in project["dynamic"]
    assert version("sslkit") == sslkit.__version__


def test_the_licence_is_the_whole_apache_text() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert text.rstrip().endswith("limitations under the License.")
