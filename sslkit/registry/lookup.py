"""Every name a recipe may use: looked up, imported when used, and built with checked options."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import os
import typing
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from sslkit.errors import ConfigError, PluginError, UnknownNameError
from sslkit.hookspecs import ENTRY_POINT_GROUP, Kind
from sslkit.registry.disabled import disabled_plugins
from sslkit.registry.plugins import SAFE_VARIABLE, Loaded, Plugin, Target, label, load_plugins
from sslkit.registry.promises import promised


@functools.cache
def loaded() -> Loaded:
    """The built-ins and the installed plugins, found once per process; imports no torch."""
    safe = os.environ.get(SAFE_VARIABLE) == "1"
    return load_plugins(entry_points(group=ENTRY_POINT_GROUP), disabled=disabled_plugins(), safe=safe)


def installed() -> list[str]:
    """The names of all plugins but the built-in one, sorted; none is imported."""
    return sorted({entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)})


def plugins() -> list[Plugin]:
    """Every plugin found, the built-in one first, those left out with their reason."""
    return list(loaded().plugins)


def names(kind: Kind) -> list[str]:
    """The names registered for a kind, sorted; PLUGIN:NAME where the short one is another's or not clear."""
    known = loaded().targets[kind]
    return sorted(name for name, target in known.items() if known.get(name.partition(":")[2]) != target)


def find(kind: Kind, name: str) -> Target:
    """Where the object of a name is, short or PLUGIN:NAME; nothing of its plugin is imported.

    Raises UnknownNameError for a name nobody registered, ConfigError for one that several plugins gave.
    """
    known = loaded().targets[kind]
    if name in known:
        return known[name]
    rivals = sorted(full for full in known if full.partition(":")[2] == name)
    if rivals:
        raise ConfigError(
            f"{label(kind)} '{name}' is not clear, {len(rivals)} plugins give it; write {' or '.join(rivals)}"
        )
    plugin, colon, _ = name.partition(":")
    own = [full for full in known if colon and full.startswith(f"{plugin}:")]
    hint = absence(kind, name) or _all_left_out()
    raise UnknownNameError(label(kind), name, own or (known if colon else names(kind)), hint)


def absence(kind: Kind, name: str) -> str:
    """Which plugin that is left out would give a name, and why it is left out; "" when none would."""
    owner, colon, _ = name.partition(":")
    for plugin in plugins():
        package = f"plugin '{plugin.name}' ({plugin.distribution})"
        if plugin.works:
            continue
        if colon and plugin.name == owner:
            return f"P{package[1:]} {_fate(plugin)}."
        if not colon and name in promised(plugin.module).get(kind, ()):
            return f"'{name}' is provided by {package}, which {_fate(plugin)}."
    return ""


def _all_left_out() -> str:
    left_out = ", ".join(plugin.name for plugin in plugins() if not plugin.works)
    return f"Left out: {left_out} (see `sslkit plugins why NAME`)." if left_out else ""


def resolve(kind: Kind, name: str) -> Any:
    """Import what a name stands for.

    Raises UnknownNameError for a name nobody registered, ConfigError for one that is not clear, PluginError
    when its owner cannot give the object.
    """
    target = find(kind, name)
    module, _, path = target.address.partition(":")
    try:
        return functools.reduce(getattr, path.split("."), importlib.import_module(module))
    except Exception as error:  # a plugin's module may raise anything while it is imported
        owner = f"{label(kind)} '{name}' of plugin '{target.plugin}'"
        said = str(error) if isinstance(error, ImportError | AttributeError) else repr(error)
        raise PluginError(f"{owner} cannot be loaded from '{target.address}': {said}") from error


def _fate(plugin: Plugin) -> str:
    if plugin.held == "safe mode":
        return f"is left out in safe mode; go without --safe and {SAFE_VARIABLE}=1"
    if plugin.held:
        return f"is disabled; `sslkit plugins enable {plugin.name}` brings it back"
    reason = " ".join(plugin.reason.split())
    return f"failed to load because {reason.rstrip('.')} (see `sslkit plugins why {plugin.name}`)"


def build(kind: Kind, name: str, /, *args: Any, **options: Any) -> Any:
    """Build what a name stands for, after checking the options against its keyword arguments.

    Raises ConfigError that names the nearest option, or says what kind of value an option takes.
    """
    target = resolve(kind, name)
    return target(*args, **_checked(f"{label(kind)} '{name}'", target, len(args), options))


def _checked(
    what: str, target: Callable[..., Any], positional: int, options: Mapping[str, Any]
) -> dict[str, Any]:
    parameters = list(inspect.signature(target).parameters.values())[positional:]
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    keywords = {p.name: p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    for option in options:
        if option not in keywords and not open_ended:
            takes = f"it takes {', '.join(sorted(keywords))}" if keywords else "it takes none"
            near = difflib.get_close_matches(option, keywords, n=1)
            raise ConfigError(
                f"{what} has no option '{option}'{f', did you mean {near[0]!r}' if near else ''}; {takes}"
            )
    needed = [n for n, p in keywords.items() if p.default is p.empty and n not in options]
    if needed:
        raise ConfigError(f"{what} needs a value for {', '.join(repr(option) for option in needed)}")
    hints = _hints(target)
    return {option: _fitted(what, option, value, hints.get(option, Any)) for option, value in options.items()}


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (
        NameError,
        TypeError,
    ):  # names that exist for the type checker only: nothing to check values against
        return {}


def _fitted(what: str, option: str, value: Any, hint: Any) -> Any:
    """The value as the keyword's annotation wants it: a YAML list becomes a tuple, an integer a float."""
    if not isinstance(value, bool | int | float | str | list | dict | None):
        return value  # an object made by code, not a value from a recipe
    try:
        adapter = TypeAdapter(hint)
    except PydanticUserError:  # no schema for this annotation; the class itself will judge the value
        return value
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        rule = error.errors(include_url=False)[0]["msg"].removeprefix("Input ")
        raise ConfigError(f"option '{option}' of {what} {rule}, got {value!r}") from None
