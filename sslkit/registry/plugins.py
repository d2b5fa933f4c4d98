"""Loads each plugin alone: import, API check, register, verify, and roll back on failure.

Pluggy itself stops at the first broken entry point, lets one raising hook fail the whole call, keeps a
rejected plugin half registered and passes a misspelt hook in silence; here each costs its own plugin only.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import pluggy

from sslkit import hookspecs
from sslkit.errors import PluginError, did_you_mean
from sslkit.hookspecs import API_VERSION, HOOKS, PROJECT, Kind
from sslkit.registry import builtin

BUILTIN = "built-in"
STRICT_VARIABLE = "SSLKIT_STRICT_PLUGINS"


@dataclass(frozen=True)
class Plugin:
    """A plugin as it was found: what it provides, or the reason and trace of its failure."""

    name: str
    module: str
    distribution: str
    provides: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)
    reason: str = ""
    trace: str = ""

    @property
    def works(self) -> bool:
        """Whether its names are registered."""
        return not self.reason


@dataclass(frozen=True)
class Target:
    """A registered name: where its object is, and whose it is."""

    address: str
    plugin: str


@dataclass
class Loaded:
    """Every plugin found, and the targets of those that work."""

    plugins: list[Plugin] = field(default_factory=list)
    targets: dict[Kind, dict[str, Target]] = field(default_factory=lambda: {kind: {} for kind in HOOKS})


def load_plugins(entry_points: Iterable[EntryPoint]) -> Loaded:
    """Register the built-ins, then each entry point in the order of names.

    A broken plugin costs one line on stderr, or raises PluginError where SSLKIT_STRICT_PLUGINS=1.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    loaded = Loaded()
    _register(manager, loaded, BUILTIN, builtin)
    loaded.plugins.append(Plugin(BUILTIN, builtin.__name__, PROJECT, _provided(loaded, BUILTIN)))
    for entry in sorted(entry_points, key=lambda entry: (entry.name, entry.value)):
        loaded.plugins.append(_load_one(manager, loaded, entry))
    return loaded


def _load_one(manager: pluggy.PluginManager, loaded: Loaded, entry: EntryPoint) -> Plugin:
    distribution = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"
    module = None
    try:
        if any(plugin.name == entry.name for plugin in loaded.plugins):
            raise PluginError(f"another plugin is named '{entry.name}' already")
        module = entry.load()
        _check_api(module)
        _check_hook_names(module)
        _register(manager, loaded, entry.name, module)
    except (Exception, SystemExit) as error:  # whatever a stranger's module raises is its failure alone
        if module is not None and manager.is_registered(module) and manager.get_name(module) == entry.name:
            manager.unregister(module)
        reason = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        if os.environ.get(STRICT_VARIABLE) == "1":
            raise PluginError(f"plugin '{entry.name}' ({distribution}): {reason}") from error
        line = " ".join(reason.split())
        sys.stderr.write(
            f"sslkit: plugin '{entry.name}' is left out: {line} (sslkit plugins why {entry.name})\n"
        )
        return Plugin(entry.name, entry.value, distribution, reason=reason, trace=traceback.format_exc())
    return Plugin(entry.name, entry.value, distribution, _provided(loaded, entry.name))


def _check_api(module: ModuleType) -> None:
    declared = getattr(module, "SSLKIT_API", None)
    if declared != API_VERSION:
        said = "declares no SSLKIT_API" if declared is None else f"is written for SSLKIT_API = {declared!r}"
        raise PluginError(f"it {said}; this sslkit offers {API_VERSION}")


def _check_hook_names(module: ModuleType) -> None:
    """Refuse a misspelt hook and one without the `hookimpl` mark: pluggy would silently pass over both."""
    for name, value in vars(module).items():
        if not name.startswith("sslkit_") or not inspect.isroutine(value):
            continue
        if name not in HOOKS.values():
            raise PluginError(f"'{name}' is not a hook{did_you_mean(name, HOOKS.values())}")
        if not hasattr(value, f"{PROJECT}_impl"):
            raise PluginError(f"hook '{name}' lacks the @hookimpl mark")


def _register(manager: pluggy.PluginManager, loaded: Loaded, name: str, module: ModuleType) -> None:
    """Register a plugin and take its names in, all or none."""
    manager.register(module, name=name)
    manager.check_pending()
    taken: dict[Kind, dict[str, Target]] = {}
    for kind, hook in HOOKS.items():
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if implementation.plugin is module:
                names = _checked(hook, implementation.function())
                for registered in names.keys() & loaded.targets[kind].keys():
                    owner = loaded.targets[kind][registered].plugin
                    raise PluginError(f"{hook} gives the name '{registered}', which is taken by {owner}")
                taken[kind] = {key: Target(address, name) for key, address in names.items()}
    for kind, targets in taken.items():
        loaded.targets[kind].update(targets)


def _checked(hook: str, names: Any) -> Mapping[str, str]:
    if not isinstance(names, Mapping):
        raise PluginError(
            f"{hook} must return a mapping of names to 'module:object', not {type(names).__name__}"
        )
    for name, address in names.items():
        module, colon, target = address.partition(":") if isinstance(address, str) else ("", "", "")
        if not (isinstance(name, str) and name and module and colon and target):
            raise PluginError(f"{hook} gives {name!r}: {address!r}; it must be a name and 'module:object'")
    return names


def _provided(loaded: Loaded, plugin: str) -> dict[Kind, tuple[str, ...]]:
    provided = {
        kind: tuple(sorted(name for name, target in targets.items() if target.plugin == plugin))
        for kind, targets in loaded.targets.items()
    }
    return {kind: names for kind, names in provided.items() if names}
