"""Every name a recipe may use: looked up, imported when used, and built with checked options."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from sslkit.errors import ConfigError, PluginError, UnknownNameError
from sslkit.hookspecs import ENTRY_POINT_GROUP, Kind
from sslkit.registry.plugins import Loaded, Plugin, load_plugins


@functools.cache
def loaded() -> Loaded:
    """The built-ins and the installed plugins, found once per process; imports no torch."""
    return load_plugins(entry_points(group=ENTRY_POINT_GROUP))


def plugins() -> list[Plugin]:
    """Every plugin found, the built-in one first, broken ones with their reason."""
    return list(loaded().plugins)


def names(kind: Kind) -> list[str]:
    """The names registered for a kind, sorted."""
    return sorted(loaded().targets[kind])


def resolve(kind: Kind, name: str) -> Any:
    """Import what a name stands for.

    Raises UnknownNameError for a name nobody registered, PluginError when its owner cannot give the object.
    """
    target = loaded().targets[kind].get(name)
    if target is None:
        broken = [plugin.name for plugin in plugins() if not plugin.works]
        hint = f"Left out as broken: {', '.join(broken)} (see `sslkit plugins why NAME`)." if broken else ""
        raise UnknownNameError(label(kind), name, names(kind), hint)
    module, _, path = target.address.partition(":")
    try:
        return functools.reduce(getattr, path.split("."), importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        owner = f"{label(kind)} '{name}' of plugin '{target.plugin}'"
        raise PluginError(f"{owner} cannot be loaded from '{target.address}': {error}") from error


def build(kind: Kind, name: str, /, *args: Any, **options: Any) -> Any:
    """Build what a name stands for, after checking the options against its keyword arguments.

    Raises ConfigError that names the nearest option, or says what kind of value an option takes.
    """
    target = resolve(kind, name)
    return target(*args, **_checked(f"{label(kind)} '{name}'", target, len(args), options))


def label(kind: Kind) -> str:
    """What messages call a kind."""
    return kind.replace("_", " ")


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
