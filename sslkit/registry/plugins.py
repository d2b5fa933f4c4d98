"""Loads each plugin alone: import, API check, register, verify, and roll back on failure.

Pluggy itself stops at the first broken entry point, lets one raising hook fail the whole call, keeps a
rejected plugin half registered and passes a misspelt hook in silence; here each costs its own plugin only.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import traceback
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any, Literal

import pluggy

from sslkit import hookspecs
from sslkit.errors import PluginError, did_you_mean
from sslkit.hookspecs import API_VERSION, HOOKS, PROJECT, Kind
from sslkit.registry import builtin

BUILTIN = "built-in"
STRICT_VARIABLE = "SSLKIT_STRICT_PLUGINS"
SAFE_VARIABLE = "SSLKIT_SAFE"

Names = Mapping[Kind, Mapping[str, str]]
"""What a plugin gives: of each kind, names and their addresses."""


@dataclass(frozen=True)
class Plugin:
    """A plugin as it was found: what it provides, or why it provides nothing.

    provides: the names as they are to be written. notes: what is to be known about them. held: not imported
    on purpose. reason, trace: why it is left out, and where it failed.
    """

    name: str
    module: str
    distribution: str
    provides: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)
    reason: str = ""
    trace: str = ""
    held: Literal["", "disabled", "safe mode"] = ""
    notes: tuple[str, ...] = ()

    @property
    def works(self) -> bool:
        """Whether its names are registered."""
        return not self.reason

    @property
    def state(self) -> str:
        """One of: works, left out, disabled, safe mode."""
        return "works" if self.works else self.held or "left out"


@dataclass(frozen=True)
class Target:
    """A registered name: where its object is, and whose it is."""

    address: str
    plugin: str


@dataclass
class Loaded:
    """Every plugin found, and all names that work: short ones, and PLUGIN:NAME of every name."""

    plugins: list[Plugin] = field(default_factory=list)
    targets: dict[Kind, dict[str, Target]] = field(default_factory=lambda: {kind: {} for kind in HOOKS})


def label(kind: Kind) -> str:
    """What messages call a kind."""
    return kind.replace("_", " ")


def load_plugins(
    entry_points: Iterable[EntryPoint], *, disabled: Collection[str] = (), safe: bool = False
) -> Loaded:
    """Register the built-ins, then each entry point in the order of names.

    A disabled plugin is not imported; in safe mode none is. A broken one costs one line on stderr, or raises
    PluginError where SSLKIT_STRICT_PLUGINS=1. What plugins print while they load goes to stderr.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    given = {BUILTIN: _registered(manager, BUILTIN, builtin)}
    found = [Plugin(BUILTIN, builtin.__name__, PROJECT)]
    for entry in sorted(entry_points, key=lambda entry: (entry.name, entry.value)):
        plugin = _as_found(entry, disabled, safe)
        if plugin.works:
            try:
                _check_plugin_name(plugin, found)
                with contextlib.redirect_stdout(sys.stderr):
                    given[plugin.name] = _load_one(manager, entry)
            except (
                Exception,
                SystemExit,
            ) as error:  # whatever a stranger's module raises is its failure alone
                plugin = _failed(plugin, error)
        found.append(plugin)
    targets = _targets(given)
    return Loaded([_described(plugin, given, targets) for plugin in found], targets)


def _as_found(entry: EntryPoint, disabled: Collection[str], safe: bool) -> Plugin:
    plugin = Plugin(
        entry.name, entry.value, f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"
    )
    if safe:
        return replace(plugin, held="safe mode", reason="safe mode loads no plugin")
    if entry.name in disabled:
        reason = f"disabled here; `sslkit plugins enable {entry.name}` brings it back"
        return replace(plugin, held="disabled", reason=reason)
    return plugin


def _failed(plugin: Plugin, error: BaseException) -> Plugin:
    own = isinstance(error, PluginError) and str(error)
    reason = own or f"{type(error).__name__}: {error}"
    if os.environ.get(STRICT_VARIABLE) == "1":
        raise PluginError(f"plugin '{plugin.name}' ({plugin.distribution}): {reason}") from error
    line = " ".join(reason.split())
    sys.stderr.write(
        f"sslkit: plugin '{plugin.name}' is left out: {line} (sslkit plugins why {plugin.name})\n"
    )
    return replace(plugin, reason=reason, trace="".join(traceback.format_exception(error)))


def _check_plugin_name(plugin: Plugin, found: Iterable[Plugin]) -> None:
    """Names are written PLUGIN:NAME, so a plugin's is one of its kind and has no colon."""
    if ":" in plugin.name:
        raise PluginError(f"its name '{plugin.name}' has a colon; names are written PLUGIN:NAME")
    for other in found:
        if other.name == plugin.name:
            raise PluginError(f"{other.distribution} has a plugin named '{plugin.name}' already")


def _load_one(manager: pluggy.PluginManager, entry: EntryPoint) -> Names:
    module = entry.load()
    _check_api(module)
    _check_hook_names(module)
    try:
        return _registered(manager, entry.name, module)
    except (Exception, SystemExit):
        if manager.get_plugin(entry.name) is module:
            manager.unregister(module)
        raise


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


def _registered(manager: pluggy.PluginManager, name: str, module: ModuleType) -> Names:
    """Register a plugin and ask it for its names."""
    manager.register(module, name=name)
    manager.check_pending()
    return {
        kind: _checked(hook, implementation.function())
        for kind, hook in HOOKS.items()
        for implementation in getattr(manager.hook, hook).get_hookimpls()
        if implementation.plugin is module
    }


def _checked(hook: str, names: Any) -> dict[str, str]:
    if not isinstance(names, Mapping):
        raise PluginError(
            f"{hook} must return a mapping of names to 'module:object', not {type(names).__name__}"
        )
    for name, address in names.items():
        module, colon, target = address.partition(":") if isinstance(address, str) else ("", "", "")
        if not (isinstance(name, str) and name and module and colon and target):
            raise PluginError(f"{hook} gives {name!r}: {address!r}; it must be a name and 'module:object'")
        if ":" in name:
            raise PluginError(f"{hook} gives '{name}'; a name has no colon, sslkit adds the plugin's own")
    return dict(names)


def _targets(given: Mapping[str, Names]) -> dict[Kind, dict[str, Target]]:
    """Every name that works: all full ones, and the short ones that can only mean one.

    A built-in keeps its short name; one that several plugins give, and the built-ins do not, is nobody's.
    """
    targets: dict[Kind, dict[str, Target]] = {kind: {} for kind in HOOKS}
    for kind, known in targets.items():
        owners: dict[str, list[Target]] = {}
        for plugin, names in given.items():  # the built-ins come first
            for name, address in names.get(kind, {}).items():
                known[f"{plugin}:{name}"] = target = Target(address, plugin)
                owners.setdefault(name, []).append(target)
        for name, claims in owners.items():
            if len(claims) == 1 or claims[0].plugin == BUILTIN:
                known[name] = claims[0]
    return targets


def _described(
    plugin: Plugin, given: Mapping[str, Names], targets: Mapping[Kind, Mapping[str, Target]]
) -> Plugin:
    """A plugin with its names as they are to be written, and a note where that is the full one."""
    if not plugin.works:
        return plugin
    provides: dict[Kind, tuple[str, ...]] = {}
    notes: list[str] = []
    for kind, names in given[plugin.name].items():
        written = []
        for name in sorted(names):
            full, owner = f"{plugin.name}:{name}", targets[kind].get(name)
            short = owner is not None and owner.plugin == plugin.name
            written.append(name if short else full)
            if not short:
                others = [
                    other for other in given if other != plugin.name and name in given[other].get(kind, {})
                ]
                whose = "is the built-in one" if owner else f"is not clear beside {', '.join(others)}"
                notes.append(f"{label(kind)} '{name}' alone {whose}; write {full}")
        if written:
            provides[kind] = tuple(written)
    return replace(plugin, provides=provides, notes=tuple(notes))
