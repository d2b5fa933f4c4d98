"""YAML as people write it: read safely, `1e-3` a number, no key given twice, errors with line and column."""

from __future__ import annotations

import re
from typing import Any

import yaml

from sslkit.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a repeated key and reads `1e-3` as a number, as YAML 1.2 does."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
            raise yaml.constructor.ConstructorError(
                None, None, f"key '{key.value}' is given twice", key.start_mark
            )
        seen.add(key.value)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """The mapping a YAML text holds, {} when it is empty; otherwise a ConfigError with line and column."""
    try:
        # A SafeLoader: it builds plain values only, never objects.
        content = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML: {_problem(error)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{where} must hold `key: value` lines, not a {type(content).__name__}")
    if odd := [key for key in content if not isinstance(key, str)]:
        raise ConfigError(f"{where} has the key {odd[0]!r}; keys are words")
    return content


def parse_value(text: str, where: str) -> Any:
    """The value of an override, read as YAML: 3, 1e-3, true, null and [a, b] mean themselves."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value in '{where}' is not valid YAML: {_problem(error)}") from None


def line_of(text: str, path: str) -> int | None:
    """The line, from 1, where a dotted path stands in a YAML text; None when it is not there."""
    node = yaml.compose(text, Loader=_Loader)
    line = None
    for part in path.split("."):
        if not isinstance(node, yaml.MappingNode):
            break
        found = next(((key, value) for key, value in node.value if key.value == part), None)
        if found is None:
            return line
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def _problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else str(problem)
