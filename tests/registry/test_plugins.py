"""The loader: a broken plugin costs one line on stderr and its own names, never anything else."""

from __future__ import annotations

from collections.abc import Callable, Collection
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


def load(*, disabled: Collection[str] = (), safe: bool = False) -> tuple[Loaded, dict[str, Plugin]]:
    """What is found, less any plugin that is really installed where the tests run."""
    found = [
        entry for entry in entry_points(group=ENTRY_POINT_GROUP) if entry.value.startswith("sslkit_test_")
    ]
    loaded = load_plugins(found, disabled=disabled, safe=safe)
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


def test_the_built_ins_come_through_the_hooks_and_heads_through_plugins_alone() -> None:
    plugins = {plugin.name: plugin for plugin in load_plugins([]).plugins}
    assert set(plugins) == {"built-in"}
    assert set(plugins["built-in"].provides) == set(HOOKS) - {"network", "backbone_transform"}


BROKEN = {
    "raises on import": ("1 / 0", "ZeroDivisionError"),
    "does not parse": ("def", "SyntaxError"),
    "leaves the process": ("raise SystemExit(3)", "SystemExit"),
    "needs what is not installed": ("import no_such_library", "No module named 'no_such_library'"),
    "declares no API": (GOOD.replace("SSLKIT_API = 1", ""), "declares no SSLKIT_API"),
    "is of another API": (GOOD.replace("SSLKIT_API = 1", "SSLKIT_API = 2"), "SSLKIT_API = 2"),
    "misspells a hook": (GOOD.replace("sslkit_objectives", "sslkit_objectivs"), "mean 'sslkit_objectives'"),
    "forgets the mark": (GOOD.replace("@hookimpl\n", ""), "lacks the @hookimpl mark"),
    "marks what is no hook": (GOOD.replace("sslkit_objectives", "objectives"), "unknown hook 'objectives'"),
    "takes arguments": (GOOD.replace("objectives()", "objectives(config)"), "config"),
    "raises in a hook": (GOOD.replace("return", "raise KeyError('gone')\n    return"), "KeyError"),
    "returns no mapping": (GOOD.replace("return {", "return {1, } or {"), "must return a mapping"),
    "gives no address": (GOOD.replace("collections:OrderedDict", "collections"), "'module:object'"),
    "gives a name with a colon": (GOOD.replace('"mine"', '"my:own"'), "'my:own'; a name has no colon"),
    "raises without a word": (
        "from sslkit.errors import PluginError\nraise PluginError('')\n",
        "PluginError",
    ),
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
    loaded, plugins = load()
    assert [plugin.works for plugin in loaded.plugins] == [True, True, False]
    assert "sslkit_test_a 1.2 has a plugin named 'twin' already" in plugins["twin"].reason
    assert plugins["twin"].provides == {}
    assert names(loaded) >= {"mine"}
    assert "other" not in names(loaded)


def test_a_plugin_named_with_a_colon_is_left_out(install: Install) -> None:
    install(GOOD, name="my:own", package="colon")
    assert "has a colon" in load()[1]["my:own"].reason


IMPORTED = "import pathlib; pathlib.Path(__file__).with_suffix('.ran').touch()\n"


def test_a_disabled_plugin_is_not_imported_and_no_error_where_plugins_are_strict(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = install(IMPORTED + "1 / 0", name="broken")
    install(IMPORTED + GOOD, name="good")
    monkeypatch.setenv("SSLKIT_STRICT_PLUGINS", "1")
    loaded, plugins = load(disabled={"broken"})
    assert plugins["good"].state == "works"
    assert plugins["broken"].state == "disabled"
    assert "sslkit plugins enable broken" in plugins["broken"].reason
    assert [file.stem for file in folder.glob("*.ran")] == ["sslkit_test_good"]
    assert "mine" in names(loaded)
    assert capsys.readouterr().err == ""


def test_safe_mode_imports_no_plugin_and_keeps_the_built_ins(install: Install) -> None:
    folder = install(IMPORTED + GOOD)
    loaded, plugins = load(safe=True)
    assert (plugins["throwaway"].state, plugins["throwaway"].works) == ("safe mode", False)
    assert list(folder.glob("*.ran")) == []
    assert "mine" not in names(loaded)
    assert loaded.targets["objective"]["simclr"].plugin == "built-in"


def test_what_a_plugin_prints_does_not_stand_among_the_results(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("print('Hello from a library')\n" + GOOD)
    load()
    assert capsys.readouterr() == ("", "Hello from a library\n")


def test_strict_plugins_make_a_broken_one_an_error(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("1 / 0", name="broken")
    monkeypatch.setenv("SSLKIT_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match=r"broken.*ZeroDivisionError"):
        load()


def test_a_library_of_the_plugin_that_is_named_like_a_hook_is_no_hook(install: Install) -> None:
    install(GOOD + "import json as sslkit_mine\n")
    assert load()[1]["throwaway"].works
