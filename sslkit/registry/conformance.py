"""Whether a plugin keeps the contract: it loads, its module is light, its heads pass the kit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal
from unittest import SkipTest

from sslkit.errors import ConfigError, PluginError, UnknownNameError
from sslkit.registry.lookup import absence, find, loaded, names, plugins, resolve
from sslkit.registry.plugins import Plugin

Outcome = Literal["passed", "failed", "skipped"]

_LIGHT = """
import importlib, sys
importlib.import_module(sys.argv[1])
sys.exit(3 if "torch" in sys.modules else 0)
"""


@dataclass(frozen=True)
class Check:
    """One thing to hold of a plugin or of a head; `run` raises AssertionError where it does not."""

    subject: str
    id: str
    run: Callable[[], None]

    def outcome(self) -> tuple[Outcome, str]:
        """Run it: how it ended, and the reason where it did not pass; whatever it raises is a failure."""
        try:
            self.run()
        except SkipTest as skipped:
            return "skipped", str(skipped)
        except AssertionError as error:
            return "failed", str(error) or "an assertion without a reason"
        except (Exception, SystemExit) as error:  # the plugin's own code runs here
            return "failed", f"{type(error).__name__}: {error}"
        return "passed", ""


def checks_of(name: str, *, only: str | None = None) -> list[Check]:
    """The checks of a plugin and all its heads, or of one head (NAME or PLUGIN:NAME), in the order to run.

    only: the id of one check. Raises UnknownNameError for a name or an id that is none, ConfigError for a
    plugin that is not imported and for a head that is not clear.
    """
    found = {plugin.name: plugin for plugin in plugins()}
    if name in found:
        checks = _of_plugin(found[name])
    elif name in loaded().targets["head"]:
        checks = _of_head(name)
    else:
        _refuse(name, found)
    if only is None:
        return checks
    chosen = [check for check in checks if check.id == only]
    if not chosen:
        raise UnknownNameError("check", only, {check.id for check in checks})
    return chosen


def _refuse(name: str, found: dict[str, Plugin]) -> None:
    """Say why a name is that of no plugin and of no head."""
    hint = absence("head", name)
    if any(full.partition(":")[2] == name for full in loaded().targets["head"]):
        find("head", name)  # raises ConfigError with the full names
    raise UnknownNameError("plugin or head", name, {*found, *names("head")}, hint)


def _of_plugin(plugin: Plugin) -> list[Check]:
    if plugin.held:
        raise ConfigError(f"plugin '{plugin.name}' is not imported: {plugin.reason}")
    checks = [Check(plugin.name, "loads", partial(_loads, plugin))]
    if plugin.works:
        checks.append(Check(plugin.name, "light_import", partial(_imports_lightly, plugin)))
    for head in plugin.provides.get("head", ()):
        checks += _of_head(head)
    return checks


def _of_head(head: str) -> list[Check]:
    """The kit's checks; where the class cannot even be imported, that one failure."""
    from sslkit.testing.head_kit import checks

    try:
        subject = resolve("head", head)
    except PluginError as error:
        return [Check(head, "imports", partial(_fails, str(error)))]
    return [Check(head, id, partial(check, subject)) for id, check in checks().items()]


def _loads(plugin: Plugin) -> None:
    if not plugin.works:
        raise AssertionError(plugin.reason)


def _imports_lightly(plugin: Plugin) -> None:
    """Import the plugin's module in a process of its own, which must not import torch."""
    module = plugin.module.partition(":")[0]
    path = os.pathsep.join(folder for folder in sys.path if folder)
    done = subprocess.run(
        [sys.executable, "-c", _LIGHT, module],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode == 3:
        raise AssertionError(
            f"importing {module} imports torch; its hooks name objects as 'module:object', and nothing is "
            "imported before it is used"
        )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise AssertionError(f"{module} cannot be imported by itself: {said[-1]}")


def _fails(reason: str) -> None:
    raise AssertionError(reason)
