"""What the page asks for, from the JSON it sends; nothing in it is believed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sslkit.errors import ConfigError
from sslkit.retrieval.filters import Where
from sslkit.retrieval.times import span_of

MOST_NEIGHBOURS = 500

Share = tuple[float, float, float, float]
"""Left, top, width and height of a part of a picture, as shares of its sides."""

_KEYS = {"item", "picture", "box", "k", "label", "path", "where", "time", "exact"}


@dataclass(frozen=True)
class Asked:
    """A search: by an item of the index or a picture that was sent before, whole or a part of it."""

    item: int | None
    picture: str | None
    box: Share | None
    k: int
    where: Where | None
    exact: bool


def asked_of(plain: Any) -> Asked:
    """Read what a page sent; ConfigError says what is wrong with it."""
    if not isinstance(plain, dict) or not set(plain) <= _KEYS:
        raise ConfigError(f"a search is an object with some of the keys {', '.join(sorted(_KEYS))}")
    item, picture = plain.get("item"), plain.get("picture")
    if (item is None) == (picture is None) or type(item) not in (int, type(None)) or not _text(picture):
        raise ConfigError("search by an item, a number, or by a picture, the key that it was given")
    k = plain.get("k", 20)
    if type(k) is not int or not 1 <= k <= MOST_NEIGHBOURS:
        raise ConfigError(f"{k} neighbours asked for; between 1 and {MOST_NEIGHBOURS} can be shown")
    sql, label, path, time = (plain.get(key) or None for key in ("where", "label", "path", "time"))
    if not all(map(_text, (sql, label, path, time))):
        raise ConfigError("where, label, path and time are texts")
    where = Where(sql or "", label, path, None if time is None else span_of(time))
    return Asked(item, picture, _box(plain.get("box")), k, where or None, plain.get("exact") is True)


def _text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _box(given: Any) -> Share | None:
    if given is None:
        return None
    if not isinstance(given, list) or len(given) != 4 or not all(_is_number(value) for value in given):
        raise ConfigError(
            "a box is four numbers: left, top, width and height as shares of the picture's sides"
        )
    left, top, width, height = (float(value) for value in given)
    # Room for what dividing pixels and multiplying them again leaves over.
    if min(left, top) < 0 or min(width, height) <= 0 or max(left + width, top + height) > 1 + 1e-6:
        raise ConfigError(f"the box {given} is not inside the picture; use shares of its sides, 0 to 1")
    return left, top, width, height


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
