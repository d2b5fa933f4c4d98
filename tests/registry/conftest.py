"""Plugins laid down as an installer would, and a registry that sees them and no other."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from sslkit.registry import lookup

GROUP = "sslkit.plugins"
Install = Callable[..., Path]


def laid_down(group: str) -> list[EntryPoint]:
    """The plugins of a test, not those that are really installed where the tests run."""
    return [entry for entry in entry_points(group=group) if entry.value.startswith("sslkit_test_")]


@pytest.fixture(autouse=True)
def _own_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user has switched on or off does not reach the tests."""
    monkeypatch.setenv("SSLKIT_CONFIG", str(tmp_path_factory.mktemp("settings")))
    for variable in ("SSLKIT_STRICT_PLUGINS", "SSLKIT_SAFE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Lays down a module and a dist-info with its entry point; gives the folder that is on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(lookup, "entry_points", laid_down)
    modules: list[str] = []

    def lay_down(source: str, name: str = "throwaway", package: str | None = None) -> Path:
        package = package or name
        module = f"sslkit_test_{package}"
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        info = tmp_path / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {module}\n")
        importlib.invalidate_caches()
        lookup.loaded.cache_clear()
        return tmp_path

    yield lay_down
    lookup.loaded.cache_clear()
    for module in modules:
        sys.modules.pop(module, None)
