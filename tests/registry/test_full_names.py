"""Every name is also PLUGIN:NAME; a short name means one thing or is refused."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from pathlib import Path

import pytest

from sslkit.errors import ConfigError, PluginError, UnknownNameError
from sslkit.registry import names, plugins, resolve
from sslkit.registry.disabled import switch
from sslkit.registry.lookup import find, loaded

Install = Callable[..., Path]
HEADS = ["classifier", "multi_label_classifier"]
"""Those that come with sslkit."""


def gives(name: str, address: str, hook: str = "sslkit_heads") -> str:
    """The module of a plugin with one name."""
    return f"""
from sslkit.hookspecs import hookimpl
SSLKIT_API = 1
@hookimpl
def {hook}():
    return {{"{name}": "{address}"}}
"""


def notes(name: str) -> tuple[str, ...]:
    return next(plugin.notes for plugin in plugins() if plugin.name == name)


def test_a_name_is_known_short_and_with_its_plugin(install: Install) -> None:
    install(gives("ordered", "collections:OrderedDict"), name="mine")
    assert resolve("head", "ordered") is resolve("head", "mine:ordered") is OrderedDict
    assert names("head") == [*HEADS, "ordered"]
    assert find("objective", "built-in:simclr") == find("objective", "simclr")
    assert "built-in:simclr" not in names("objective")


def test_a_name_of_two_plugins_must_be_written_in_full(install: Install) -> None:
    install(gives("bag", "collections:Counter"), name="one")
    install(gives("bag", "collections:deque"), name="two")
    install(gives("other", "collections:OrderedDict"), name="three")
    with pytest.raises(
        ConfigError, match="head 'bag' is not clear, 2 plugins give it; write one:bag or two:bag"
    ):
        resolve("head", "bag")
    assert resolve("head", "one:bag") is Counter
    assert resolve("head", "two:bag") is deque
    assert names("head") == [*HEADS, "one:bag", "other", "two:bag"]
    assert [plugin.provides for plugin in plugins() if plugin.name == "two"] == [{"head": ("two:bag",)}]
    assert notes("two") == ("head 'bag' alone is not clear beside one; write two:bag",)
    assert notes("three") == ()


def test_names_of_different_kinds_do_not_meet(install: Install) -> None:
    install(gives("bag", "collections:Counter"), name="one")
    install(gives("bag", "collections:deque", "sslkit_sources"), name="two")
    assert resolve("head", "bag") is Counter
    assert resolve("source", "bag") is deque


def test_a_built_in_keeps_its_short_name(install: Install) -> None:
    install(gives("simclr", "collections:Counter", "sslkit_objectives"), name="mine")
    install(gives("simclr", "collections:deque", "sslkit_objectives"), name="other")
    assert resolve("objective", "simclr").__module__ == "sslkit.objectives.simclr"
    assert resolve("objective", "mine:simclr") is Counter
    assert {"simclr", "mine:simclr", "other:simclr"} <= set(names("objective"))
    assert notes("mine") == ("objective 'simclr' alone is the built-in one; write mine:simclr",)
    assert notes("built-in") == ()


def test_a_name_is_clear_again_when_the_other_plugin_is_disabled(install: Install) -> None:
    install(gives("bag", "collections:Counter"), name="one")
    install(gives("bag", "collections:deque"), name="two")
    switch("one", on=False)
    loaded.cache_clear()
    assert resolve("head", "bag") is deque


def test_a_full_name_that_is_wrong_offers_those_of_its_plugin(install: Install) -> None:
    install(gives("ordered", "collections:OrderedDict"), name="mine")
    install(gives("orders", "collections:Counter"), name="other")
    with pytest.raises(UnknownNameError, match=r"unknown head 'mine:orderd'; did you mean 'mine:ordered'\?$"):
        resolve("head", "mine:orderd")
    with pytest.raises(UnknownNameError, match="did you mean 'mine:ordered'"):
        resolve("head", "mien:ordered")


BROKEN = gives("ordered", "collections:OrderedDict") + "\nimport no_such_library_anywhere\n"


def test_an_unknown_name_says_which_broken_plugin_would_give_it_and_why_it_does_not(install: Install) -> None:
    install(BROKEN, name="broken")
    reason = "failed to load because ModuleNotFoundError: No module named 'no_such_library_anywhere'"
    with pytest.raises(UnknownNameError) as caught:
        resolve("head", "ordered")
    said = f"'ordered' is provided by plugin 'broken' (sslkit_test_broken 1.2), which {reason} (see `sslkit"
    assert said in str(caught.value)
    with pytest.raises(UnknownNameError) as caught:
        resolve("head", "broken:what")
    assert f"Plugin 'broken' (sslkit_test_broken 1.2) {reason}" in str(caught.value)
    # A name that it does not promise, or promises as another kind, is not laid at its door.
    with pytest.raises(UnknownNameError, match=r"Left out: broken \(see"):
        resolve("head", "simple")
    with pytest.raises(UnknownNameError, match=r"Left out: broken \(see"):
        resolve("source", "ordered")


def test_an_unknown_name_says_that_its_plugin_is_disabled_or_left_out_in_safe_mode(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(gives("ordered", "collections:OrderedDict"), name="mine")
    switch("mine", on=False)
    loaded.cache_clear()
    for name in ("ordered", "mine:ordered"):
        with pytest.raises(
            UnknownNameError, match="is disabled; `sslkit plugins enable mine` brings it back"
        ):
            resolve("head", name)
    monkeypatch.setenv("SSLKIT_SAFE", "1")
    loaded.cache_clear()
    for name in ("ordered", "mine:ordered"):
        with pytest.raises(UnknownNameError, match="is left out in safe mode; go without --safe"):
            resolve("head", name)


def test_whatever_a_module_raises_when_its_name_is_used_is_its_plugins_fault(install: Install) -> None:
    folder = install(gives("late", "sslkit_test_late_part:Head"), name="mine")
    (folder / "sslkit_test_late_part.py").write_text("raise RuntimeError('no such operator')")
    with pytest.raises(
        PluginError, match=r"head 'late' of plugin 'mine'.*RuntimeError\('no such operator'\)"
    ):
        resolve("head", "late")
