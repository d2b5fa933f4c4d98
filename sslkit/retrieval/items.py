"""The items of an index in SQLite: id, name and label of every row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from sslkit.errors import ArtifactError


class ItemRow(NamedTuple):
    """id: the sample's id in its source; label: class number or None."""

    id: int
    name: str
    label: int | None


def write_items(path: Path, items: Iterable[ItemRow]) -> None:
    """Write a new database; rows are numbered 0, 1, ... in the order given."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "CREATE TABLE items "
            "(row INTEGER PRIMARY KEY, id INTEGER NOT NULL UNIQUE, name TEXT NOT NULL, label INTEGER)"
        )
        database.executemany(
            # The cast keeps names whose bytes are no UTF-8, which sqlite3 would refuse as text.
            "INSERT INTO items VALUES (?, ?, CAST(? AS TEXT), ?)",
            ((row, item.id, _bytes(item.name), item.label) for row, item in enumerate(items)),
        )


def read_items(path: Path, rows: Sequence[int]) -> list[ItemRow]:
    """The items of some rows, in their order; ArtifactError when the database is damaged or lacks a row."""
    with closing(_open(path)) as database:
        try:
            found = [_one(database, row) for row in rows]
        except sqlite3.Error as error:
            raise ArtifactError(f"{path} is damaged: {error}; build the index again") from error
    for row, item in zip(rows, found, strict=True):
        if item is None:
            raise ArtifactError(f"{path} has no item for row {row}; build the index again")
    return [ItemRow(*item) for item in found if item is not None]


def count_items(path: Path) -> int:
    """Number of items; ArtifactError when the database is damaged."""
    with closing(_open(path)) as database:
        try:
            return int(database.execute("SELECT count(*) FROM items").fetchone()[0])
        except sqlite3.Error as error:
            raise ArtifactError(f"{path} is damaged: {error}; build the index again") from error


def _open(path: Path) -> sqlite3.Connection:
    # Immutable: no lock and no journal, so a read-only folder is as good as any other.
    database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    database.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    return database


def _one(database: sqlite3.Connection, row: int) -> tuple[int, str, int | None] | None:
    found: tuple[int, str, int | None] | None = database.execute(
        "SELECT id, name, label FROM items WHERE row = ?", (row,)
    ).fetchone()
    return found


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
