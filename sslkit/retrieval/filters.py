"""Which items of an index are meant: conditions on what is known of them, as SQL that can only read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sslkit.errors import ConfigError, UnknownNameError

COLUMNS = ("id", "path", "label", "class", "start", "stop", "source", "sample")
"""What a condition may name, beside the keys of the metadata.

path: of the file inside its data set; label: name of the class, class: its number; start, stop: seconds of a
moment in its video; source: address of the data set; sample: position in it.
"""

_STEPS = 50_000_000  # of SQLite's machine, half a second; then a condition is stopped that
_STEPS_PER_ITEM = 2_000  # needs more than so many of them for an item
_LONGEST = 10_000_000  # bytes of a value that a condition makes


@dataclass(frozen=True)
class Where:
    """Conditions that must all hold; without any, all items are meant.

    sql: as behind WHERE in SQLite, of `COLUMNS` and metadata keys, such as "label = 'cat' AND year > 2010".
    label: name of a class. path: a pattern such as "*/2024/*.jpg", whose * also matches "/".
    time: (from, to), seconds; moments of videos that overlap it.
    """

    sql: str = ""
    label: str | None = None
    path: str | None = None
    time: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.time is not None and not self.time[0] <= self.time[1]:
            raise ConfigError(f"time {self.time[0]} to {self.time[1]}: it must not end before it starts")

    def __bool__(self) -> bool:
        return bool(self.sql.strip()) or (self.label, self.path, self.time) != (None, None, None)


def selected(
    connection: sqlite3.Connection, where: Where, columns: str, keys: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    """Rows of `columns` of the items that are meant, by id; keys: of the metadata.

    Raises ConfigError for a condition that is no SQL, names what is not there, does more than read items, or
    takes too long, and UnknownNameError for a class that is not there.
    """
    if where.label is not None:
        classes = [name for (name,) in connection.execute("SELECT name FROM classes ORDER BY number")]
        if where.label not in classes:
            raise UnknownNameError("class", where.label, classes)
    conditions, values = _conditions(where)
    items = _items([key for key in keys if key.lower() in where.sql.lower()])
    count = int(connection.execute("SELECT value FROM state WHERE key = 'count'").fetchone()[0])
    with _only_reading(connection, _STEPS + _STEPS_PER_ITEM * count):
        try:
            if where.sql.strip():
                # By itself, outside of brackets, it must be whole: then none that it closes is one of ours.
                connection.execute(f"EXPLAIN SELECT 1 FROM ({items}) WHERE {where.sql}\n", {}).close()
            query = f"SELECT {columns} FROM ({items}) WHERE {' AND '.join(conditions)} ORDER BY id"
            yield from connection.execute(query, values)
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            reason = (
                "it takes too long" if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT" else error
            )
            known = ", ".join((*COLUMNS, *keys))
            raise ConfigError(
                f"the condition {where.sql!r} cannot be used: {reason}; write one as behind WHERE in SQLite, "
                f"such as \"label = 'cat'\"; it may name {known}"
            ) from error


def _conditions(where: Where) -> tuple[list[str], dict[str, Any]]:
    conditions, values = ["1"], dict[str, Any]()
    if where.sql.strip():
        conditions.append(f"({where.sql}\n)")  # the line break ends a comment in it
    if where.label is not None:
        conditions.append("label = CAST(:label AS TEXT)")
        values["label"] = where.label.encode("utf-8", "surrogateescape")
    if where.path is not None:
        conditions.append("path GLOB CAST(:path AS TEXT)")
        values["path"] = where.path.encode("utf-8", "surrogateescape")
    if where.time is not None:
        conditions.append("start <= :to AND stop >= :from")
        values["from"], values["to"] = where.time
    return conditions, values


def _items(keys: Sequence[str]) -> str:
    """The table a condition sees."""
    own = "".join(
        f", json_extract(metadata, {_quoted(_path(key), chr(39))}) AS {_quoted(key, chr(34))}" for key in keys
    )
    return (
        "SELECT items.id AS id, segment, row, items.name AS path, classes.name AS label, "
        f"items.label AS class, start, stop, sources.address AS source, sample{own} FROM items "
        "JOIN sources ON sources.number = items.source LEFT JOIN classes ON classes.number = items.label"
    )


def _path(key: str) -> str:
    return '$."' + key + '"'


def _quoted(text: str, quote: str) -> str:
    return quote + text.replace(quote, quote * 2) + quote


@contextmanager
def _only_reading(connection: sqlite3.Connection, steps: int) -> Iterator[None]:
    def allowed(action: int, *_: object) -> int:
        reads = action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION)
        return sqlite3.SQLITE_OK if reads else sqlite3.SQLITE_DENY

    longest = connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    connection.set_authorizer(allowed)
    connection.set_progress_handler(lambda: 1, steps)
    try:
        yield
    finally:
        connection.set_authorizer(None)
        connection.set_progress_handler(None, 0)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, longest)
