"""One generation of an index as a reader has it: its segments and which of their rows are alive."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ArtifactError
from sslkit.retrieval import store
from sslkit.retrieval.filters import Where, selected
from sslkit.retrieval.generation import read_segments, removed_rows
from sslkit.retrieval.items import PLACE, check_items
from sslkit.retrieval.segments import Segment

Masks = Sequence[NDArray[np.bool_] | None]
"""Of each segment, which rows may be found; None for all."""


class Snapshot:
    """What a generation consists of; it stays searchable when a later one is committed."""

    def __init__(self, state: dict[str, Any], segments: Sequence[Segment], connection: Connection) -> None:
        self.version = (str(state["built"]), int(state["generation"]))
        self.generation, self.count = int(state["generation"]), int(state["count"])
        self.passport, self.keys = state["passport"], tuple(state["keys"])
        self.segments = segments
        self.classes = store.read_classes(connection)
        self._removed = [removed_rows(connection, segment.described.number) for segment in segments]
        self._meant: tuple[Where, Masks] | None = None

    @cached_property
    def living(self) -> Masks:
        """The rows that were not removed."""
        return [
            None if len(removed) == 0 else _mask(len(segment), removed, False)
            for segment, removed in zip(self.segments, self._removed, strict=True)
        ]

    def masks(self, connection: Connection, where: Where | None) -> Masks:
        """The rows that may be found, as the database in the state of this generation says."""
        if not where:
            return self.living
        known = self._meant
        if known is None or known[0] != where:  # the last one is kept for the next block of queries
            found = selected(connection, where, PLACE, self.keys)
            places = np.array(list(found), np.int64).reshape(-1, 2)
            masks = [
                _mask(len(segment), places[places[:, 0] == segment.described.number, 1], True)
                for segment in self.segments
            ]
            self._meant = known = (where, masks)
        return known[1]

    def nearest(
        self, vectors: NDArray[np.float32], k: int, masks: Masks, *, exact: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids int64 (Q, k), cosines float32 (Q, k), most similar first, equal ones by id; -1 and -inf pad."""
        unit = self.segments[0].vectors.unit(vectors, "queries")
        found = []
        for segment, mask in zip(self.segments, masks, strict=True):
            if mask is not None and not mask.any():
                continue
            rows, similarities = segment.search(unit, k, allowed=mask, exact=exact)
            found.append((np.where(rows < 0, -1, segment.ids[rows]), similarities))
        width = sum(ids.shape[1] for ids, _ in found)
        if width < k:
            pad = (len(unit), k - width)
            found.append((np.full(pad, -1, np.int64), np.full(pad, -np.inf, np.float32)))
        if len(found) == 1:
            return found[0]
        ids = np.concatenate([ids for ids, _ in found], axis=1)
        similarities = np.concatenate([values for _, values in found], axis=1)
        order = np.lexsort((ids, -similarities), axis=1)[:, :k]
        return np.take_along_axis(ids, order, axis=1), np.take_along_axis(similarities, order, axis=1)

    def ids(self) -> NDArray[np.int64]:
        """Ids of all living rows, int64 (N,), ascending."""
        parts = [
            segment.ids if mask is None else segment.ids[mask]
            for segment, mask in zip(self.segments, self.living, strict=True)
        ]
        return np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.int64)

    def vectors(self, ids: NDArray[np.int64], places: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
        """Vectors float32 (M, D) of the items `ids` int64 (M,) at rows (segment, row)."""
        wanted = np.array(places, np.int64).reshape(-1, 2)
        vectors = np.empty((len(wanted), int(self.passport["dim"])), np.float32)
        sound = np.zeros(len(wanted), np.bool_)
        for segment in self.segments:
            here = np.flatnonzero(
                (wanted[:, 0] == segment.described.number)
                & (wanted[:, 1] >= 0)
                & (wanted[:, 1] < len(segment))
            )
            if len(here):
                vectors[here] = segment.vectors.rows(wanted[here, 1])
                sound[here] = segment.ids[wanted[here, 1]] == ids[here]
        if not sound.all():
            raise ArtifactError(
                f"the vector of item {ids[~sound][0]} is not where the database says; build the index again"
            )
        return vectors

    def blocks(self, rows: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Ids int64 (B,) and vectors float32 (B, D) of all living rows, segment by segment."""
        for segment, mask in zip(self.segments, self.living, strict=True):
            for start in range(0, len(segment), rows):
                block = np.arange(start, min(start + rows, len(segment)))
                block = block if mask is None else block[mask[block]]
                if len(block):
                    yield segment.ids[block], segment.vectors.rows(block)

    def verify_items(self, connection: Connection) -> None:
        """Check each item, and that items and living rows are each other's; ArtifactError names the fault."""
        (sound,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if sound != "ok":
            raise ArtifactError(f"the item database is damaged: {sound}; build the index again")
        counted = 0
        for segment, mask in zip(self.segments, self.living, strict=True):
            number = segment.described.number
            query = f"SELECT {PLACE}, id FROM items WHERE segment = ? ORDER BY row"
            items = np.array(connection.execute(query, (number,)).fetchall(), np.int64).reshape(-1, 3)
            living = np.arange(len(segment)) if mask is None else np.flatnonzero(mask)
            expected = np.stack([living, segment.ids[living]], axis=1)
            if not np.array_equal(items[:, 1:], expected):
                raise ArtifactError(
                    f"the items of segment {number} are not those of its vectors; build the index again"
                )
            counted += len(items)
        count = check_items(connection)
        if not counted == count == self.count:
            raise ArtifactError(
                f"{count} items, {counted} of them with a vector, {self.count} were committed; build the "
                "index again"
            )

    def verify_files(self) -> None:
        """Check every byte of the segments; ArtifactError names the file that changed."""
        for segment in self.segments:
            segment.verify()


def snapshot_of(folder: Path, connection: Connection, known: Snapshot | None) -> Snapshot:
    """The generation the database is at; `known` itself when it is that one, else its open segments are kept.

    Call it within a read transaction: a writer removes the files of an older generation after its commit,
    which waits for readers.
    """
    if known is not None and _version(connection) == known.version:
        return known
    state = store.read_state(connection, folder / store.NAME)
    open_ones = known.segments if known else ()
    segments = []
    for described in read_segments(connection):
        kept = next((segment for segment in open_ones if segment.described == described), None)
        segments.append(kept or Segment(folder, described))
    return Snapshot(state, segments, connection)


def _version(connection: Connection) -> tuple[str, int] | None:
    query = "SELECT value FROM state WHERE key IN ('built', 'generation') ORDER BY key"
    try:
        built, generation = (json.loads(value) for (value,) in connection.execute(query))
        return str(built), int(generation)
    except (ValueError, TypeError):
        return None  # damaged: `read_state` says how


def _mask(count: int, rows: NDArray[np.int64], value: bool) -> NDArray[np.bool_]:
    if len(rows) and not 0 <= rows.min() <= rows.max() < count:
        raise ArtifactError(
            f"rows {rows.min()} to {rows.max()} of a segment of {count}; build the index again"
        )
    mask = np.full(count, not value)
    mask[rows] = value
    return mask
