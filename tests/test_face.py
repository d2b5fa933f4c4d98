"""The face: few names, sorted, lazy, and nothing done by importing it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sslkit


def test_the_face_is_sorted_and_small() -> None:
    assert sslkit.__all__ == sorted(sslkit.__all__)
    assert len(sslkit.__all__) <= 20
    assert dir(sslkit) == sslkit.__all__


@pytest.mark.parametrize("name", sslkit.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(sslkit, name)
    assert name == "__version__" or value.__doc__


def test_type_checkers_see_the_names_that_users_get() -> None:
    tree = ast.parse(Path(sslkit.__file__).read_text(encoding="utf-8"))
    branch = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.name: node.module
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == sslkit._HOMES
    assert set(typed) | {"__version__"} == set(sslkit.__all__)


def test_an_unknown_name_is_an_attribute_error_that_lists_what_there_is() -> None:
    with pytest.raises(AttributeError, match="pretrain"):
        _ = sslkit.pretain


def test_importing_sslkit_loads_no_other_library() -> None:
    script = "import sys; before = set(sys.modules); import sslkit; print(*(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert {name.partition(".")[0] for name in loaded.split()} <= {"sslkit"} | set(sys.stdlib_module_names)
