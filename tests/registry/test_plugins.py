"""The loader: a broken plugin costs one line on stderr and its own names, never anything else."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from sslkit.errors import PluginError
from sslkit.hookspecs import ENTRY_POINT_GROUP, HOOKS
from sslkit.registry.plugins import Loaded, Plugin, load_plugins

GOOD = """
from sslkit.hookspecs import hookimpl
SSLKIT_API = 1
@hookimpl
def sslkit_objectives():
    return {"mine": "collections:OrderedDict"}
"""
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Lays a plugin down as an installer would: a module and a dist-info with its entry point."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("SSLKIT_STRICT_PLUGINS", raising=False)
    modules: list[str] = []

    def lay_down(source: str, name: str = "throwaway", package: str | None = None) -> Path:
        package = package or name
        module = f"sslkit_test_{package}"
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        info = tmp_path / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\n{name} = {module}\n")
        importlib.invalidate_caches()
        return tmp_path

    yield lay_down
    for module in modules:
        sys.modules.pop(module, None)


def load() -> tuple[Loaded, dict[str, Plugin]]:
    """What is found, less any plugin that is really installed where the tests run."""
    found = [
        entry for entry in entry_points(group=ENTRY_POINT_GROUP) if entry.value.startswith("sslkit_test_")
    ]
    loaded = load_plugins(found)
    return loaded, {plugin.name: plugin for plugin in loaded.plugins}


def names(loaded: Loaded) -> set[str]:
    return {name for targets in loaded.targets.values() for name in targets}


def test_a_good_plugin_provides_its_names(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install(GOOD)
    loaded, plugins = load()
    assert plugins["throwaway"].works
    assert plugins["throwaway"].provides == {"objective": ("mine",)}
    assert plugins["throwaway"].distribution == "sslkit_test_throwaway 1.2"
    assert loaded.targets["objective"]["mine"].address == "collections:OrderedDict"
    assert capsys.readouterr().err == ""


def test_every_built_in_name_comes_through_the_hooks() -> None:
    plugins = {plugin.name: plugin for plugin in load_plugins([]).plugins}
    assert set(plugins) == {"built-in"}
    assert set(plugins["built-in"].provides) == set(HOOKS)


BROKEN = {
    "raises on import": ("1 / 0", "ZeroDivisionError"),
    "does not parse": ("def", "SyntaxError"),
    "leaves the process": ("raise SystemExit(3)", "SystemExit"),
    "needs what is not installed": ("import no_such_library", "No module named 'no_such_library'"),
    "declares no API": (GOOD.replace("SSLKIT_API = 1", ""), "declares no SSLKIT_API"),
    "is of another API": (GOOD.replace("SSLKIT_API = 1", "SSLKIT_API = 2"), "SSLKIT_API = 2"),
    "misspells a hook": (GOOD.replace("sslkit_objectives", "sslkit_objectivs"), "mean 'sslkit_objectives'"),
    "forgets the mark": (GOOD.replace("@hookimpl\n", ""), "lacks the @hookimpl mark"),
    "takes arguments": (GOOD.replace("objectives()", "objectives(config)"), "config"),
    "raises in a hook": (GOOD.replace("return", "raise KeyError('gone')\n    return"), "KeyError"),
    "returns no mapping": (GOOD.replace("return {", "return {1, } or {"), "must return a mapping"),
    "gives no address": (GOOD.replace("collections:OrderedDict", "collections"), "'module:object'"),
    "takes a built-in's name": (GOOD.replace('"mine"', '"simclr"'), "taken by built-in"),
}


@pytest.mark.parametrize(("source", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_left_out_whole(
    install: Install, capsys: pytest.CaptureFixture[str], source: str, reason: str
) -> None:
    install(source, name="broken")
    install(GOOD, name="good")
    loaded, plugins = load()
    assert reason in plugins["broken"].reason
    assert "Traceback" in plugins["broken"].trace
    assert plugins["broken"].provides == {}
    # The other plugin and the built-ins are untouched, and a half-registered hook would have clashed.
    assert plugins["good"].works
    assert loaded.targets["objective"]["mine"].plugin == "good"
    assert loaded.targets["objective"]["simclr"].plugin == "built-in"
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "sslkit plugins why broken" in lines[0]


def test_a_plugin_that_fails_in_its_last_hook_leaves_no_name_of_its_first(install: Install) -> None:
    install(GOOD + "\n@hookimpl\ndef sslkit_heads():\n    raise RuntimeError('late')\n", name="broken")
    loaded, plugins = load()
    assert "late" in plugins["broken"].reason
    assert "mine" not in names(loaded)


def test_of_two_plugins_with_one_name_the_second_is_left_out(install: Install) -> None:
    install(GOOD, name="twin", package="a")
    install(GOOD.replace('"mine"', '"other"'), name="twin", package="b")
    loaded, _ = load()
    assert [plugin.works for plugin in loaded.plugins] == [True, True, False]
    assert names(loaded) >= {"mine"}
    assert "other" not in names(loaded)


def test_of_two_plugins_that_give_one_name_the_second_is_left_out(install: Install) -> None:
    install(GOOD, name="first")
    install(GOOD, name="second")
    loaded, plugins = load()
    assert "taken by first" in plugins["second"].reason
    assert loaded.targets["objective"]["mine"].plugin == "first"


def test_strict_plugins_make_a_broken_one_an_error(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("1 / 0", name="broken")
    monkeypatch.setenv("SSLKIT_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match=r"broken.*ZeroDivisionError"):
        load()


def test_a_library_of_the_plugin_that_is_named_like_a_hook_is_no_hook(install: Install) -> None:
    install(GOOD + "import json as sslkit_mine\n")
    assert load()[1]["throwaway"].works


def test_the_command_line_lists_an_installed_plugin_without_torch(install: Install) -> None:
    folder = install(GOOD)
    script = (
        "import sys; from sslkit.cli.app import app\n"
        "app(['plugins', 'list', '--json'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    assert "throwaway" in {plugin["name"] for plugin in json.loads(done.stdout) if plugin["works"]}
