"""What an index knows of each sample: a row of its database with a checksum of its own."""

from __future__ import annotations

import json
import zlib
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from sqlite3 import Connection
from typing import Any

from sslkit.errors import ArtifactError

_COLUMNS = (
    "items.id, name, label, start, stop, address, sample, metadata, checksum FROM items "
    "JOIN sources ON sources.number = source"
)

PLACE = "coalesce(CAST(segment AS INTEGER), -1), coalesce(CAST(row AS INTEGER), -1)"
"""Where the vector of an item lies; a damaged database may say anything, which comes to nothing later."""


@dataclass(frozen=True)
class IndexedItem:
    """What an index knows of one sample.

    name: path inside its data set; label: class number or None; start, stop: seconds of a moment in its
    video, or None; source: address of the data set; sample: position in it; metadata: of its own.
    """

    id: int
    name: str
    label: int | None
    start: float | None = None
    stop: float | None = None
    source: str = ""
    sample: int = -1
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)


def read_items(connection: Connection, ids: Iterable[int]) -> dict[int, IndexedItem]:
    """The items of those ids that are there; ArtifactError for one that is not as it was written."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} WHERE items.id IN (SELECT value FROM json_each(?))", (json.dumps(list(ids)),)
    )
    return {row[0]: _item(row) for row in rows}


def check_items(connection: Connection) -> int:
    """Look at every item as `read_items` does; their number."""
    return sum(_item(row).id >= 0 for row in connection.execute(f"SELECT {_COLUMNS}"))


def write_items(
    connection: Connection, rows: Iterable[tuple[IndexedItem, int, int, int]], replaced: Container[int]
) -> None:
    """Write items with the number of their source, segment and row.

    replaced: ids of those that are there already; without metadata they keep what they have.
    """

    def values() -> Iterator[tuple[Any, ...]]:
        for item, source, segment, row in rows:
            own = _plain(item) if item.metadata else None
            if own is None and item.id in replaced:
                query = "SELECT metadata FROM items WHERE id = ?"
                (own,) = connection.execute(query, (item.id,)).fetchone()
            known = (item.id, item.name, item.label, item.start, item.stop, item.source, item.sample, own)
            kept = None if own is None else raw(own)
            times = (item.start, item.stop)
            yield (
                item.id,
                segment,
                row,
                source,
                item.sample,
                raw(item.name),
                item.label,
                *times,
                kept,
                _sum(known),
            )

    connection.executemany(
        "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, CAST(? AS TEXT), ?, ?, ?, CAST(? AS TEXT), ?)",
        values(),
    )


def read_places(connection: Connection, ids: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Segment and row of the vectors of those ids that are there."""
    rows = connection.execute(
        f"SELECT id, {PLACE} FROM items WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(ids)),),
    )
    return {id: (segment, row) for id, segment, row in rows}


def read_names(connection: Connection, source: str) -> set[str]:
    """Names of the items of the data set at an address."""
    rows = connection.execute(
        "SELECT name FROM items JOIN sources ON sources.number = source WHERE address = CAST(? AS TEXT)",
        (raw(source),),
    )
    return {name for (name,) in rows}


def raw(text: str) -> bytes:
    """The bytes of a text whose undecodable parts came from a file name; sqlite3 would refuse it as text."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ArtifactError(
            f"{text!r} is no text that can be kept: {error.reason}; name it otherwise"
        ) from error


def _item(row: tuple[Any, ...]) -> IndexedItem:
    if _sum(row[:8]) != row[8]:
        raise ArtifactError(
            f"item {row[0]} is not as it was written (name {row[1]!r}): the database is damaged; build the "
            "index again"
        )
    id, name, label, start, stop, source, sample, metadata, _ = row
    own = json.loads(metadata) if metadata else {}
    return IndexedItem(id, name, label, start, stop, source, sample, own)


def _sum(known: tuple[Any, ...]) -> int:
    return zlib.crc32(repr(known).encode())


def _plain(item: IndexedItem) -> str:
    try:
        return json.dumps(dict(item.metadata), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArtifactError(
            f"the metadata of {item.name!r} are no JSON values: {error}; numbers that are finite, texts, "
            "true, false, null, lists and objects are"
        ) from error
