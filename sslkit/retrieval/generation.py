"""A change of an index as it is made, within the transaction that will commit it.

Small segments are merged as they come, each into a newer one at least half its size, so that N items added
one by one lie in about log2(N) segments and each is copied about as often.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslkit.neighbours.flat import FlatIndex
from sslkit.neighbours.sharded import PREFIX
from sslkit.retrieval import store
from sslkit.retrieval.arrivals import Arrivals
from sslkit.retrieval.folder import flush
from sslkit.retrieval.items import read_places, write_items
from sslkit.retrieval.segments import PATTERNS, Described, Picker, Segment, write_segment

_ROWS = 16384  # vectors in memory at a time
_LEFT_OVER = (*PATTERNS, ".index.json.*.tmp", f"{PREFIX}*")


@dataclass(frozen=True)
class _Rows:
    """What a new segment takes from one place: ids int64 (n,), and the unit vectors of some of them."""

    ids: NDArray[np.int64]
    take: Callable[[NDArray[np.int64]], NDArray[np.float32]]


class Generation:
    """The next generation of an index; `finish` before the commit."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder, self.connection = folder, connection
        self.state = store.read_state(connection, folder / store.NAME)
        self.segments = {segment.number: segment for segment in read_segments(connection)}
        sweep(folder, connection)

    def append(self, new: Arrivals, picker: Picker | None) -> None:
        """Add items with their vectors, in place of those that have the same id."""
        before = read_places(self.connection, new.ids.tolist()) if self.state["count"] else {}
        self.entomb(before.values())
        dim = self.state["passport"]["dim"]
        rows = _Rows(new.ids, lambda some: FlatIndex(dim).unit(new.vectors(some), "vectors"))
        segment, placed = self._write(rows, [] if picker else self._absorbed(len(new.ids)), picker)
        numbered = zip(new.items(self.connection), placed.tolist(), strict=True)
        rows_of = ((item, source, segment, row) for (item, source), row in numbered)
        write_items(self.connection, rows_of, before)
        self.state["keys"] = sorted({*self.state["keys"], *new.keys})
        self.state["count"] += len(new.ids) - len(before)
        self.state["next_id"] = max(self.state["next_id"], int(new.ids.max()) + 1)

    def merge(self, numbers: Sequence[int], picker: Picker | None) -> None:
        """Write the items of some segments into one."""
        self._write(None, numbers, picker)

    def entomb(self, places: Iterable[tuple[int, int]]) -> None:
        """Mark rows (segment, row) as no longer there."""
        self.connection.executemany("INSERT INTO removed VALUES (?, ?)", places)

    def finish(self) -> None:
        """Forget segments without a living row, and count the generation."""
        counts = "SELECT segment, count(*) FROM removed GROUP BY segment"
        for number, removed in self.connection.execute(counts).fetchall():
            if removed == self.segments[number].count:
                self._drop(number)
        self.state["generation"] += 1
        store.write_state(self.connection, **self.state)
        flush(self.folder)

    def _absorbed(self, count: int) -> list[int]:
        """Small segments that are merged with `count` new rows, newest first."""
        absorbed: list[int] = []
        for number in sorted(self.segments, reverse=True):
            segment = self.segments[number]
            if segment.effort is not None or segment.count > 2 * count:
                break
            absorbed.append(number)
            count += segment.count
        return absorbed

    def _write(
        self, new: _Rows | None, absorbed: Sequence[int], picker: Picker | None
    ) -> tuple[int, NDArray[np.int64]]:
        """A segment of new rows and of the living ones of others; its number and the row of each new id."""
        places = [] if new is None else [new]
        places += [self._living(number) for number in absorbed]
        ids = np.concatenate([place.ids for place in places])
        owner = np.repeat(np.arange(len(places)), [len(place.ids) for place in places])
        inside = np.concatenate([np.arange(len(place.ids)) for place in places])
        order = np.argsort(ids, kind="stable")
        at = self.state["next_segment"]
        self.state["next_segment"] += 1
        parts = _blocks(places, ids, owner, inside, order)
        described, picked = write_segment(self.folder, at, parts, self.state["passport"]["dim"], picker)
        self.segments[at] = described
        if picked is not None:
            self.state["passport"]["search"] = picked.to_dict()
        self.connection.execute("INSERT INTO segments VALUES (?, ?)", (at, json.dumps(described.to_dict())))
        rows = np.empty(len(order), np.int64)
        rows[order] = np.arange(len(order))
        first = 0 if new is None else len(new.ids)
        moved = zip(rows[first:].tolist(), ids[first:].tolist(), strict=True)
        self.connection.executemany(
            "UPDATE items SET segment = ?, row = ? WHERE id = ?", ((at, row, id) for row, id in moved)
        )
        for number in absorbed:
            self._drop(number)
        return at, rows[:first]

    def _living(self, number: int) -> _Rows:
        segment = Segment(self.folder, self.segments[number])
        segment.verify()  # damage must not be copied under a new checksum
        living = np.setdiff1d(np.arange(len(segment)), removed_rows(self.connection, number))
        return _Rows(segment.ids[living], lambda rows: segment.vectors.rows(living[rows]))

    def _drop(self, number: int) -> None:
        del self.segments[number]
        self.connection.execute("DELETE FROM segments WHERE number = ?", (number,))
        self.connection.execute("DELETE FROM removed WHERE segment = ?", (number,))


def read_segments(connection: sqlite3.Connection) -> list[Described]:
    """What the database says of its segments, by number."""
    rows = connection.execute("SELECT described FROM segments ORDER BY number")
    return [Described.from_json(plain) for (plain,) in rows]


def removed_rows(connection: sqlite3.Connection, number: int) -> NDArray[np.int64]:
    """Rows of a segment that are no longer there, int64 (R,)."""
    rows = connection.execute("SELECT CAST(row AS INTEGER) FROM removed WHERE segment = ?", (number,))
    return np.fromiter((row for (row,) in rows), np.int64)


def sweep(folder: Path, connection: sqlite3.Connection) -> None:
    """Remove files that are no part of the index: of segments merged since, or of a change that failed.

    Call it within a transaction that writes. Readers keep those that they have open.
    """
    named = {name for segment in read_segments(connection) for name in segment.files}
    for file in folder.iterdir():
        if file.name not in named and any(fnmatchcase(file.name, pattern) for pattern in _LEFT_OVER):
            with suppress(OSError):  # Windows keeps what is mapped; the next change tries again
                shutil.rmtree(file) if file.is_dir() else file.unlink()


def _blocks(
    places: Sequence[_Rows],
    ids: NDArray[np.int64],
    owner: NDArray[np.int64],
    inside: NDArray[np.int64],
    order: NDArray[np.int64],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Ids and vectors of all places together, by id."""
    for start in range(0, len(order), _ROWS):
        block = order[start : start + _ROWS]
        vectors: NDArray[np.float32] | None = None
        for number, place in enumerate(places):
            here = np.flatnonzero(owner[block] == number)
            if len(here) == 0:
                continue
            taken = place.take(inside[block[here]])
            if vectors is None:
                vectors = np.empty((len(block), taken.shape[1]), np.float32)
            vectors[here] = taken
        assert vectors is not None
        yield ids[block], vectors
