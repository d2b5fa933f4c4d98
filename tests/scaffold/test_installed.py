"""A generated plugin really installed as a wheel: sslkit lists it, and its own tests pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sslkit.scaffold import new_plugin

OWN = "not test_contract or light_import or spec or options"
"""Of the tests it comes with: its own, and the quick ones of the kit."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A plugin's folder, and the folder its wheel was installed into."""
    place = tmp_path_factory.mktemp("installed")
    new_plugin("tree-height", input="image", target="label", out=place / "source")
    folder, site = place / "source" / "sslkit-tree-height", place / "site"
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(site), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, site


def run(site: Path, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site), "SSLKIT_STRICT_PLUGINS": "1"}
    return subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, env=environment, cwd=cwd
    )


def test_sslkit_lists_it(installed: tuple[Path, Path]) -> None:
    _, site = installed
    done = run(site, "sslkit", "plugins", "list", "--json")
    assert done.returncode == 0, done.stderr
    found = {plugin["name"]: plugin for plugin in json.loads(done.stdout)}["tree-height"]
    assert found["works"]
    assert found["distribution"] == "sslkit-tree-height 0.1.0"
    assert found["provides"] == {"head": ["tree-height"], "protocol": ["tree-height"]}


def test_its_protocol_is_in_the_wheel(installed: tuple[Path, Path]) -> None:
    folder, site = installed
    place = "sslkit_tree_height/protocols/tree-height.yaml"
    assert (site / place).read_bytes() == (folder / place).read_bytes()


def test_its_own_tests_pass(installed: tuple[Path, Path]) -> None:
    folder, site = installed
    done = run(site, "pytest", "-q", "-p", "no:cacheprovider", "-k", OWN, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_contract" not in done.stdout  # pytest names only what fails or is skipped
    assert " passed" in done.stdout


def test_its_tests_fail_where_its_head_is_broken(installed: tuple[Path, Path]) -> None:
    folder, site = installed
    head = folder / "sslkit_tree_height" / "head.py"  # the folder comes before what is installed
    sound = head.read_text(encoding="utf-8")
    head.write_text(sound.replace("prediction.label == label", "prediction.label != label"), encoding="utf-8")
    try:
        done = run(site, "pytest", "-q", "-p", "no:cacheprovider", "-k", "by_hand", cwd=folder)
    finally:
        head.write_text(sound, encoding="utf-8")
    assert done.returncode == 1, done.stdout + done.stderr
