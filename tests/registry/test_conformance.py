"""What `sslkit plugins check` runs: the plugin's own checks, then the kit's on each head."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from unittest import SkipTest

import pytest

from sslkit.errors import ConfigError, UnknownNameError
from sslkit.registry.conformance import checks_of
from sslkit.registry.disabled import switch
from sslkit.registry.lookup import loaded

Install = Callable[..., Path]
PLUGIN = """
from sslkit.hookspecs import hookimpl
SSLKIT_API = 1
@hookimpl
def sslkit_heads():
    return {"good": "sslkit_test_heads:Good", "bad": "sslkit_test_heads:Bad"}
"""
HEADS = """
class Good:
    learns = True
class Bad:
    learns = False
"""


def learns(head: type) -> None:
    if not vars(head)["learns"]:
        raise AssertionError(f"{head.__name__} reached .2, the goal is .9")


def draws(head: type) -> None:
    if not vars(head)["learns"]:
        raise ZeroDivisionError("nothing to draw")


def leaves(head: type) -> None:
    if not vars(head)["learns"]:
        raise SystemExit(3)
    raise SkipTest("no way out")


@pytest.fixture(autouse=True)
def _kit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kit of three checks in place of the real one, which takes a minute for each head."""
    kit = types.ModuleType("sslkit.testing.head_kit")
    vars(kit)["checks"] = lambda: {"overfits": learns, "draw": draws, "leaves": leaves}
    monkeypatch.setitem(sys.modules, "sslkit.testing.head_kit", kit)
    monkeypatch.delitem(sys.modules, "sslkit_test_heads", raising=False)


@pytest.fixture
def plugin(install: Install) -> Path:
    folder = install(PLUGIN, name="mine")
    (folder / "sslkit_test_heads.py").write_text(HEADS)
    return folder


def outcomes(name: str, only: str | None = None) -> dict[tuple[str, str], str]:
    return {
        (check.subject, check.id): ": ".join(filter(None, check.outcome()))
        for check in checks_of(name, only=only)
    }


def test_a_plugin_is_checked_with_all_its_heads(plugin: Path) -> None:
    assert outcomes("mine") == {
        ("mine", "loads"): "passed",
        ("mine", "light_import"): "passed",
        ("bad", "overfits"): "failed: Bad reached .2, the goal is .9",
        ("bad", "draw"): "failed: ZeroDivisionError: nothing to draw",
        ("bad", "leaves"): "failed: SystemExit: 3",
        ("good", "overfits"): "passed",
        ("good", "draw"): "passed",
        ("good", "leaves"): "skipped: no way out",
    }


@pytest.mark.parametrize("name", ["good", "mine:good"])
def test_a_head_is_checked_by_its_short_or_its_full_name(plugin: Path, name: str) -> None:
    assert outcomes(name) == {
        (name, "overfits"): "passed",
        (name, "draw"): "passed",
        (name, "leaves"): "skipped: no way out",
    }


def test_one_check_is_run_alone(plugin: Path) -> None:
    assert outcomes("mine", "draw") == {
        ("bad", "draw"): "failed: ZeroDivisionError: nothing to draw",
        ("good", "draw"): "passed",
    }
    with pytest.raises(UnknownNameError, match="unknown check 'overfit'; did you mean 'overfits'"):
        checks_of("mine", only="overfit")


def test_a_module_that_imports_torch_is_not_light(install: Install) -> None:
    # In the process of the check it does what `import torch` does, without the seconds.
    torch = "import sys\nif 'pytest' not in sys.modules: sys.modules['torch'] = sys\n"
    install(torch + PLUGIN, name="heavy")
    assert "sslkit_test_heavy imports torch" in outcomes("heavy", "light_import")["heavy", "light_import"]


def test_a_module_that_needs_what_another_imported_is_found_out(install: Install) -> None:
    install("import sys; sys.modules['pytest']\n" + PLUGIN, name="leaning")
    failure = outcomes("leaning", "light_import")["leaning", "light_import"]
    assert failure == "failed: sslkit_test_leaning cannot be imported by itself: KeyError: 'pytest'"


def test_a_broken_plugin_fails_its_first_check(install: Install) -> None:
    install("1 / 0", name="wreck")
    assert outcomes("wreck") == {("wreck", "loads"): "failed: ZeroDivisionError: division by zero"}


def test_a_head_that_cannot_be_imported_is_one_failure(plugin: Path) -> None:
    (plugin / "sslkit_test_heads.py").write_text("class Good:\n    learns = True\n")
    found = outcomes("mine")
    assert "cannot be loaded" in found["bad", "imports"]
    assert ("bad", "overfits") not in found
    assert found["good", "overfits"] == "passed"


def test_the_built_in_plugin_is_light_and_its_heads_are_checked() -> None:
    checks = checks_of("built-in")
    assert {check.subject for check in checks} == {"built-in", "classifier", "multi_label_classifier"}
    own = [check for check in checks if check.subject == "built-in"]
    assert {check.id: check.outcome()[0] for check in own} == {"loads": "passed", "light_import": "passed"}


def test_a_disabled_plugin_is_not_checked(plugin: Path) -> None:
    switch("mine", on=False)
    loaded.cache_clear()
    with pytest.raises(ConfigError, match=r"'mine' is not imported.*plugins enable mine"):
        checks_of("mine")
    with pytest.raises(UnknownNameError, match=r"'good' is provided by plugin 'mine'.*is disabled"):
        checks_of("good")


def test_a_name_of_nothing_offers_the_nearest_and_one_that_is_not_clear_is_refused(install: Install) -> None:
    install(PLUGIN, name="mine")
    with pytest.raises(UnknownNameError, match="unknown plugin or head 'goood'; did you mean 'good'"):
        checks_of("goood")
    install(PLUGIN, name="other")
    with pytest.raises(ConfigError, match="write mine:good or other:good"):
        checks_of("good")
