"""An embedding set on its way into an index: checked whole, its ids and class numbers those of the index."""

from __future__ import annotations

import math
import mmap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from sqlite3 import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ArtifactError, ConfigError
from sslkit.retrieval import store
from sslkit.retrieval.embed import EmbeddingSet, refuse_repeated
from sslkit.retrieval.filters import COLUMNS
from sslkit.retrieval.items import IndexedItem, raw

Metadata = Mapping[str, Mapping[str, Any]]
"""Of items by name: values that JSON has."""

_ROWS = 16384  # vectors looked at together
_MOST = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Arrivals:
    """Items to be written: `ids` int64 (N,), one for each row of the embedding set."""

    embeddings: EmbeddingSet
    ids: NDArray[np.int64]
    metadata: Metadata

    def __post_init__(self) -> None:
        refuse_repeated(self.ids)
        if self.ids.min() < 0 or self.ids.max() == _MOST:
            raise ArtifactError(
                f"ids from {self.ids.min()} to {self.ids.max()}; those of an index run from 0 to {_MOST - 1}"
            )
        _check_vectors(self.embeddings)

    @property
    def keys(self) -> set[str]:
        """Keys of the metadata."""
        return {key for name in self.embeddings.names for key in self.metadata.get(name, ())}

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of some rows, float32 (n, D), as long as they came."""
        taken = _float32(self.embeddings.vectors[rows])
        _release(self.embeddings.vectors)
        return taken

    def items(self, connection: Connection) -> Iterator[tuple[IndexedItem, int]]:
        """Each item with the number of its source; classes and source are noted in the database."""
        given = self.embeddings
        source = store.note_source(connection, given.address, given.source_fingerprint)
        numbers = self._classes(connection)
        times: Iterable[Sequence[float]] = repeat((math.nan, math.nan), len(given))
        if given.times is not None:
            times = (np.asarray(given.times, np.float64) + 0.0).tolist()  # SQLite does not keep -0.0
        rows = zip(
            self.ids.tolist(), given.names, given.labels.tolist(), times, given.ids.tolist(), strict=True
        )
        for id, name, label, (start, stop), sample in rows:
            item = IndexedItem(
                id,
                name,
                None if label < 0 else numbers[label] if numbers else label,
                None if math.isnan(start) else start,
                None if math.isnan(stop) else stop,
                given.address,
                sample,
                self.metadata.get(name, {}),
            )
            yield item, source

    def _classes(self, connection: Connection) -> list[int]:
        """The index's number of each class; none where classes have no names, here and in the index."""
        given = self.embeddings
        if (given.labels >= 0).any():
            if given.classes and given.labels.max() >= len(given.classes):
                raise ArtifactError(
                    f"label {given.labels.max()} among embeddings of {len(given.classes)} classes; embed"
                    " again"
                )
            named = bool(store.read_classes(connection))
            if named != bool(given.classes) and (named or _labelled(connection)):
                raise ArtifactError(
                    f"labels {'without' if named else 'with'} class names for an index of labels "
                    f"{'with' if named else 'without'}: nobody could tell them apart; embed a data set that "
                    "has names for all of them"
                )
        return store.class_numbers(connection, given.classes)


def check_metadata(metadata: Metadata, known: list[str]) -> None:
    """Raise ConfigError for a key that a condition could not name without doubt; known: keys so far."""
    folded = {key.lower(): key for key in known}
    for name, own in metadata.items():
        for key in own:
            if not isinstance(key, str) or not key.strip() or '"' in key or "\0" in key:
                raise ConfigError(
                    f'the metadata of {name!r} have the key {key!r}; a key is some text without "'
                )
            if key.lower() in COLUMNS:
                raise ConfigError(
                    f"the metadata of {name!r} have the key '{key}', which conditions use for what an index "
                    f"knows itself ({', '.join(COLUMNS)}); rename it, for example to 'own_{key}'"
                )
            if folded.setdefault(key.lower(), key) != key:
                raise ConfigError(
                    f"metadata with the keys '{folded[key.lower()]}' and '{key}', which SQL takes for one"
                )


def ids_for(
    connection: Connection, embeddings: EmbeddingSet, next_id: int, *, update: bool
) -> NDArray[np.int64]:
    """An id for each row: that of the item of the same name, moment and source, or `next_id` and so on.

    Raises ArtifactError naming the items that are there already, unless they are to be updated, and those
    that come twice.
    """
    starts: list[float | None] = [None] * len(embeddings)
    if embeddings.times is not None:
        starts = [None if math.isnan(start) else start + 0.0 for start in embeddings.times[:, 0].tolist()]
    twice = [key for key, count in Counter(zip(embeddings.names, starts, strict=True)).items() if count > 1]
    if twice:
        raise ArtifactError(
            f"{len(twice)} samples come more than once, such as {twice[0][0]!r}; an index tells those of one "
            "data set apart by name and moment: embed each once"
        )
    ids = np.full(len(embeddings), -1, np.int64)
    source = store.source_number(connection, embeddings.address)
    if source is not None:
        query = "SELECT id FROM items WHERE name = CAST(? AS TEXT) AND source = ? AND start IS ? LIMIT 2"
        for row, (name, start) in enumerate(zip(embeddings.names, starts, strict=True)):
            found = connection.execute(query, (raw(name), source, start)).fetchall()
            if len(found) > 1 and update:
                raise ArtifactError(f"the index has several items {name!r}; remove all but one to update it")
            ids[row] = found[0][0] if found else -1
    there = np.flatnonzero(ids >= 0)
    if len(there) and not update:
        shown = ", ".join(repr(embeddings.names[row]) for row in there[:3]) + (
            " ..." if len(there) > 3 else ""
        )
        raise ArtifactError(
            f"{len(there)} of {len(ids)} samples of '{embeddings.address}' are in the index already: "
            f"{shown}; ask to update them (--update), or add the others alone"
        )
    new = np.flatnonzero(ids < 0)
    if next_id > _MOST - len(new):
        raise ArtifactError(
            f"ids from {next_id} on for {len(new)} samples; the last there can be is {_MOST - 1}"
        )
    ids[new] = np.arange(next_id, next_id + len(new))
    return ids


def _float32(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # refused as infinite
        return np.asarray(vectors, np.float32)


def _labelled(connection: Connection) -> bool:
    query = "SELECT EXISTS (SELECT 1 FROM items WHERE label IS NOT NULL)"
    return bool(connection.execute(query).fetchone()[0])


def _release(vectors: NDArray[Any]) -> None:
    """Give back what reading a mapped file brought into memory, which may be more than there is."""
    mapped: Any = vectors
    while mapped is not None and not isinstance(mapped, mmap.mmap):
        mapped = getattr(mapped, "base", None)
    if mapped is not None and not vectors.flags.writeable and hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _check_vectors(embeddings: EmbeddingSet) -> None:
    vectors = embeddings.vectors
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or vectors.shape[1] == 0:
        raise ArtifactError(
            f"embeddings are {vectors.dtype} of shape {vectors.shape}; floats (N, D) are needed"
        )
    bad: list[int] = []
    for start in range(0, len(vectors), _ROWS):
        block = _float32(vectors[start : start + _ROWS])
        _release(vectors)
        bad += (np.flatnonzero(~np.isfinite(block).all(axis=1) | ~block.any(axis=1)) + start).tolist()
    if bad:
        shown = ", ".join(map(str, bad[:8])) + (" ..." if len(bad) > 8 else "")
        raise ArtifactError(
            f"{len(bad)} of {len(vectors)} vectors are not finite or all zero, so without a direction, at "
            f"rows {shown}, the first of {embeddings.names[bad[0]]!r}; embed those samples again (without "
            "float16 autocast) or leave them out"
        )
