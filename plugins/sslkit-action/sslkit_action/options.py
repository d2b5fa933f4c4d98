"""Checks of what a head was given."""

from __future__ import annotations

from collections.abc import Collection

from sslkit.errors import ConfigError, did_you_mean


def one_of(option: str, value: str, allowed: Collection[str]) -> str:
    """The value of an option; raises ConfigError that lists the allowed ones."""
    if value not in allowed:
        raise ConfigError(
            f"{option} is {value!r}; it is one of {', '.join(allowed)}{did_you_mean(str(value), allowed)}"
        )
    return value


def whole(option: str, value: int, *, least: int = 1, most: int | None = None) -> int:
    """A whole number within its limits; raises ConfigError that names them."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or value > (most or value):
        limits = f"at least {least}" if most is None else f"{least} to {most}"
        raise ConfigError(f"{option} is {value!r}; it is a whole number, {limits}")
    return value


def below_one(option: str, value: float) -> float:
    """A share of 0 or more and less than 1; raises ConfigError for others."""
    if not 0 <= value < 1:
        raise ConfigError(f"{option} is {value!r}; it is at least 0 and less than 1, such as 0.1")
    return float(value)
