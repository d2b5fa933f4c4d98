"""Checks of what a head was given."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from sslkit.errors import ConfigError, did_you_mean

Value = TypeVar("Value", str, int)


def one_of(option: str, value: Value, allowed: Collection[Value]) -> Value:
    """The value of an option; raises ConfigError that lists the allowed ones."""
    if value not in allowed:
        words = [str(word) for word in allowed]
        raise ConfigError(
            f"{option} is {value!r}; it is one of {', '.join(words)}{did_you_mean(str(value), words)}"
        )
    return value
