"""Says in plain words what pydantic found wrong in a recipe: key, rule, value given, and where it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from sslkit.errors import did_you_mean


def describe(error: ValidationError, model: type[BaseModel], place: Callable[[str], str]) -> str:
    """One line per wrong key; `place` tells where a dotted path was written."""
    problems: dict[str, list[str]] = {}
    given: dict[str, Any] = {}
    for problem in error.errors(include_url=False):
        path = ".".join(_field_path(problem["loc"], model))
        if problem["type"] == "extra_forbidden":
            key = str(problem["loc"][-1])
            problems.setdefault(path, []).append(f"unknown key{_nearest(key, problem['loc'][:-1], model)}")
            continue
        message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if problem["type"] in ("model_type", "dict_type"):
            message = "should be a section of `key: value` lines"
        known = problems.setdefault(path, [])
        # The branches of a union fail one by one; said together they are one rule.
        known.append(message.removeprefix("should be ") if known else message)
        if not isinstance(problem["input"], dict):
            given[path] = problem["input"]
    return "\n".join(
        f"{path or 'recipe'}: {' or '.join(rules)}"
        f"{f', got {given[path]!r}' if path in given else ''} ({place(path)})"
        for path, rules in problems.items()
    )


def _field_path(loc: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """The part of pydantic's location that is keys of the recipe; the rest names branches of unions."""
    path: list[str] = []
    section: type[BaseModel] | None = model
    for part in loc:
        if section is None:
            break
        path.append(str(part))
        section = _section(section, str(part))
    return path


def _nearest(key: str, loc: tuple[int | str, ...], model: type[BaseModel]) -> str:
    section = model
    for part in loc:
        section = _section(section, str(part)) or section
    # A key that exists in another section was most likely meant for it.
    elsewhere = [path for path in _paths(model) if path.rpartition(".")[2] == key]
    if elsewhere:
        return f"; did you mean {' or '.join(repr(path) for path in elsewhere)}?"
    return did_you_mean(key, section.model_fields)


def _paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name in model.model_fields:
        yield f"{prefix}{name}"
        if (inner := _section(model, name)) is not None:
            yield from _paths(inner, f"{prefix}{name}.")


def _section(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The section that a field holds, also where the field may be left empty."""
    field = model.model_fields.get(name)
    kinds = [field.annotation, *get_args(field.annotation)] if field else []
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
