"""What changes an index: building, adding, removing, compacting; each one generation, whole or not at all."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.atomic import replace_text
from sslkit.errors import ArtifactError, SslkitError
from sslkit.neighbours.picker import Fill, Wanted, pick
from sslkit.neighbours.sharded import PREFIX, fill
from sslkit.retrieval import store
from sslkit.retrieval.arrivals import Arrivals, Metadata, check_metadata, ids_for
from sslkit.retrieval.embed import EmbeddingSet
from sslkit.retrieval.folder import written_aside
from sslkit.retrieval.generation import Generation, read_segments, sweep
from sslkit.retrieval.items import read_places
from sslkit.retrieval.segments import PATTERNS
from sslkit.version import __version__

FILES = (
    store.NAME,
    f"{store.NAME}-journal",
    "index.json",
    ".index.json.*.tmp",
    *PATTERNS,
    f"{PREFIX}*",
    "index.faiss",
)
"""What an INDEX folder may hold: also what a killed writer leaves, and the vectors of format 1."""


def build(
    out: Path,
    embeddings: EmbeddingSet,
    wanted: Wanted,
    *,
    metadata: Metadata | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] | None = None,
    filled: Fill = fill,
) -> None:
    """Write a new INDEX folder whose ids are those of the embedding set; errors as `Index.build`."""
    if len(embeddings) == 0:
        raise ArtifactError("an index of no embeddings; embed a data set with at least one sample first")
    check_metadata(metadata or {}, [])
    new = Arrivals(embeddings, embeddings.ids, metadata or {})
    with (
        _disk_errors(out),
        ExitStack() as held,
        written_aside(out, FILES, overwrite=overwrite) as folder,
    ):
        _keep_writers_out(out, held)
        store.create(folder / store.NAME)
        with store.writing(folder / store.NAME, spill=True) as connection:
            passport = {
                "model_hash": embeddings.model_hash,
                "metric": "cosine",
                "dim": int(embeddings.vectors.shape[1]),
                "preprocessing": dict(embeddings.preprocessing or {}),
                "wanted": asdict(wanted),
            }
            counts = {"generation": 0, "next_id": 0, "next_segment": 1, "count": 0}
            state = {"format": store.FORMAT, "built": uuid.uuid4().hex, "keys": [], "passport": passport}
            store.write_state(connection, **state, **counts)
            generation = Generation(folder, connection)
            generation.append(new, partial(pick, wanted=wanted, progress=progress, filled=filled))
            generation.finish()
        settle(folder)


def add(folder: Path, embeddings: EmbeddingSet, *, update: bool, metadata: Metadata) -> NDArray[np.int64]:
    """Add an embedding set; the id of each of its rows, int64 (N,). Errors as `Index.add`."""
    with changing(folder) as generation:
        state = generation.state
        refuse_foreign(embeddings.model_hash, state["passport"]["model_hash"], folder)
        if embeddings.vectors.shape[1:] != (state["passport"]["dim"],):
            raise ArtifactError(
                f"embeddings of shape {embeddings.vectors.shape} for an index of {state['passport']['dim']} "
                "dimensions; embed with the index's model"
            )
        check_metadata(metadata, state["keys"])
        if not len(embeddings):
            return np.zeros(0, np.int64)
        ids = ids_for(generation.connection, embeddings, state["next_id"], update=update)
        generation.append(Arrivals(embeddings, ids, metadata), None)
        return ids


def remove(folder: Path, ids: NDArray[np.int64]) -> int:
    """Remove items; their number. Raises ArtifactError naming the ids that are not there, removing none."""
    with changing(folder) as generation:
        wanted = np.unique(ids)
        places = read_places(generation.connection, wanted.tolist())
        missing = [id for id in wanted.tolist() if id not in places]
        if missing:
            shown = ", ".join(map(str, missing[:8])) + (" ..." if len(missing) > 8 else "")
            raise ArtifactError(
                f"{len(missing)} of {len(wanted)} ids are not in {folder}: {shown}; none was removed"
            )
        generation.entomb(places.values())
        rows = [(id,) for id in places]
        generation.connection.executemany("DELETE FROM items WHERE id = ?", rows)
        generation.state["count"] -= len(rows)
        return len(rows)


def compact(folder: Path, wanted: Wanted | None, progress: Callable[[str], None] | None) -> None:
    """Write all items into one segment with a new search structure, as first wanted or as `wanted`."""
    with changing(folder) as generation:
        passport = generation.state["passport"]
        if wanted is not None:
            passport["wanted"] = asdict(wanted)
        if generation.state["count"]:
            kept = Wanted(**passport["wanted"])
            generation.merge(list(generation.segments), partial(pick, wanted=kept, progress=progress))


def passport_of(connection: sqlite3.Connection, path: Path) -> dict[str, Any]:
    """What holds for a whole index, in JSON terms."""
    state = store.read_state(connection, path)
    segments = read_segments(connection)
    return {
        "format": state["format"],
        "generation": state["generation"],
        "count": state["count"],
        **state["passport"],
        "classes": list(store.read_classes(connection)),
        "sources": [
            address for (address,) in connection.execute("SELECT address FROM sources ORDER BY number")
        ],
        "metadata": state["keys"],
        "bytes": sum(file.bytes for segment in segments for file in segment.files.values()),
        "segments": [segment.to_dict() for segment in segments],
        "sslkit": __version__,
    }


def refuse_foreign(given: str, own: str, folder: Path) -> None:
    """Raise ArtifactError when vectors come from another model than those of the index."""
    if given != own:
        raise ArtifactError(
            f"the vectors come from model {given}, the index {folder} holds those of model {own}; embeddings "
            "of two models cannot be compared: embed with the index's model, or build an index with the other"
        )


@contextmanager
def changing(folder: Path) -> Iterator[Generation]:
    """One generation, committed when the block ends without error."""
    path = folder / store.NAME
    try:
        with _disk_errors(folder), store.writing(path) as connection:
            generation = Generation(folder, connection)
            yield generation
            generation.finish()
    finally:
        # The change is made or not: what comes now can fail without harm, and the next change does it again.
        with suppress(SslkitError, OSError):
            settle(folder)


def settle(folder: Path) -> None:
    """Remove files that are no part of the index, and write index.json, a copy for people and programs."""
    path = folder / store.NAME
    with store.writing(path, wait=0.0) as connection:  # who writes now will settle after it
        sweep(folder, connection)
        replace_text(folder / "index.json", json.dumps(passport_of(connection, path), indent=2) + "\n")


def _keep_writers_out(folder: Path, held: ExitStack) -> None:
    """Of an index that is about to be replaced, if it is one and sound: what they added would be lost."""
    path = folder / store.NAME
    if path.is_file():
        try:
            held.enter_context(store.writing(path))
        except store.BusyError:
            raise
        except ArtifactError:
            pass


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArtifactError(
            f"{folder} cannot be written: {error.strerror or error} ({error.filename or 'on writing'}); what "
            "was there before was kept: make room or correct the permissions, and try again"
        ) from error
