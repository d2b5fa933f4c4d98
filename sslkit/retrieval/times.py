"""Stretches of a video, as people write and read them."""

from __future__ import annotations

import math

from sslkit.errors import ConfigError


def span_of(text: str) -> tuple[float, float]:
    """Seconds from and to of "3-5", "90-", "-5", "1:30-2:00" or "12.5"; ConfigError for anything else."""
    first, dash, last = (part.strip() for part in text.partition("-"))
    try:
        start = _seconds(first) if first else 0.0
        stop = start if not dash else _seconds(last) if last else math.inf
        if not (first or last) or stop < start:
            raise ValueError
    except ValueError:
        raise ConfigError(
            f"{text!r} is no stretch of time; write seconds from and to, the later one last, such as 3-5, "
            "12.5-13, 90- or 1:30-2:00"
        ) from None
    return start, stop


def told_span(start: float, stop: float) -> str:
    """A stretch in seconds: "12.5-13.0 s", "12.5 s" where it has no length, "from 12.5 s" without end."""
    if math.isinf(stop):
        return f"from {_told(start)} s"
    return f"{_told(start)} s" if stop == start else f"{_told(start)}-{_told(stop)} s"


def _seconds(text: str) -> float:
    """Seconds of "12.5", "1:02.5" or "1:00:02.5"."""
    parts = text.split(":")
    if len(parts) > 3 or not all(part and set(part) <= set("0123456789.") for part in parts):
        raise ValueError
    return sum(float(part) * 60.0**power for power, part in enumerate(reversed(parts)))


def _told(seconds: float) -> str:
    """At least one digit behind the point, at most three."""
    whole, _, part = f"{seconds:.3f}".partition(".")
    return f"{whole}.{part.rstrip('0') or '0'}"
