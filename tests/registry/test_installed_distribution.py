"""A whole distribution laid down as an installer does it, seen by commands in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LIGHT = """
from sslkit.hookspecs import hookimpl

SSLKIT_API = 1


@hookimpl
def sslkit_heads():
    return {"paper_head": "sslkit_paper.head:PaperHead"}


@hookimpl
def sslkit_sources():
    return {"paper": "sslkit_paper.source:open_paper"}
"""
SOURCE = """
def open_paper(address: str = "small", *, count: int = 3) -> range:
    return range(count)
"""
# Loads the command line in a process and says at the end whether torch came along.
COMMAND = """
import sys
from sslkit.cli.app import app
app(sys.argv[1:], standalone_mode=False)
assert "torch" not in sys.modules, "torch was imported"
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of packages with one distribution in it, `sslkit-paper`."""
    package, info = tmp_path / "site" / "sslkit_paper", tmp_path / "site" / "sslkit_paper-0.3.dist-info"
    for folder in (package, info):
        folder.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "plugin.py").write_text(LIGHT)
    (package / "source.py").write_text(SOURCE)
    (package / "head.py").write_text("import torch\n\n\nclass PaperHead(torch.nn.Module):\n    pass\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sslkit-paper\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text("[sslkit.plugins]\npaper-plugin = sslkit_paper.plugin\n")
    (info / "INSTALLER").write_text("a test\n")
    return tmp_path / "site"


def command(
    site: Path, *arguments: str, script: str = COMMAND, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of sslkit with `site` on the path, and settings of its own beside it."""
    settings = {"PYTHONPATH": str(site), "SSLKIT_CONFIG": str(site.parent / "settings"), "COLUMNS": "300"}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | settings | variables,
    )


def listed(site: Path, *options: str, **variables: str) -> dict[str, Any]:
    """What `plugins list --json` says of the distribution; it imports no torch."""
    done = command(site, *options, "plugins", "list", "--json", **variables)
    assert done.returncode == 0, done.stderr
    return next(plugin for plugin in json.loads(done.stdout) if plugin["name"] == "paper-plugin")


def test_an_installed_plugin_is_listed_switched_off_and_on(site: Path) -> None:
    found = listed(site)
    assert (found["distribution"], found["state"]) == ("sslkit-paper 0.3", "works")
    assert found["provides"] == {"head": ["paper_head"], "source": ["paper"]}
    assert "paper-plugin" in command(site, "plugins", "disable", "paper-plugin").stdout
    assert listed(site)["state"] == "disabled"
    assert "paper-plugin" in command(site, "plugins", "enable", "paper-plugin").stdout
    assert listed(site)["state"] == "works"


def test_safe_mode_is_an_option_and_a_variable(site: Path) -> None:
    (site / "sslkit_paper" / "plugin.py").write_text("import os; os._exit(9)")  # no exception to catch
    assert listed(site, "--safe")["state"] == "safe mode"
    assert listed(site, SSLKIT_SAFE="1")["state"] == "safe mode"
    assert command(site, "plugins", "list").returncode == 9
    assert command(site, "plugins", "disable", "paper-plugin").returncode == 0  # imports nothing, so it can
    assert listed(site)["state"] == "disabled"


def test_a_source_of_an_installed_plugin_is_opened_by_both_names(site: Path) -> None:
    script = "import sys, sslkit; print(*(len(sslkit.open_source(data)) for data in sys.argv[1:]))"
    done = command(site, "paper", "paper:count=4", "paper-plugin:paper:small,count=5", script=script)
    assert done.stdout.split() == ["3", "4", "5"], done.stderr


def test_a_plugin_that_breaks_after_an_update_costs_a_line_and_says_what_it_would_have_given(
    site: Path,
) -> None:
    plugin = site / "sslkit_paper" / "plugin.py"
    plugin.write_text(plugin.read_text() + "\nimport gone_after_the_update\n")
    assert listed(site)["state"] == "left out"
    done = command(site, "plugins", "check", "paper_head", script="from sslkit.cli import main; main()")
    assert done.returncode == 2
    line, error = done.stderr.splitlines()
    assert line.startswith("sslkit: plugin 'paper-plugin' is left out: ModuleNotFoundError")
    assert (
        "'paper_head' is provided by plugin 'paper-plugin' (sslkit-paper 0.3), which failed to load" in error
    )
