"""Reading an index that others change meanwhile: what is done on one generation is done on it alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from sqlite3 import Connection
from typing import TypeVar

from sslkit.errors import ArtifactError
from sslkit.retrieval import store
from sslkit.retrieval.filters import Where
from sslkit.retrieval.snapshot import Masks, Snapshot, snapshot_of

Answer = TypeVar("Answer")

_TRIES = 3  # of a search during which the index changes; the last one makes writers wait


class ChangedError(Exception):
    """The index changed while it was read in two steps."""


class Reader:
    """An open index as its generations come; for any number of threads."""

    def __init__(self, path: Path) -> None:
        """Open the folder `path`; ArtifactError when it is no index or damaged."""
        self.path = path
        self._store = store.Store(path / store.NAME)
        self._snapshot: Snapshot | None = None
        try:
            self.now()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the database."""
        self._store.close()

    @contextmanager
    def reading(self) -> Iterator[tuple[Connection, Snapshot]]:
        """The database in one state, and the generation it is at."""
        with self._store.reading() as connection:
            yield connection, self.now()

    def now(self) -> Snapshot:
        """The present generation; within `reading` the one that is read."""
        for _ in range(_TRIES):
            with self._store.reading() as connection:
                try:
                    snapshot = snapshot_of(self.path, connection, self._snapshot)
                except ArtifactError:
                    if not self._store.replaced:
                        raise
                    continue
                # Files are opened by name: were they those of a folder that took this one's place?
                if snapshot is self._snapshot or not self._store.replaced:
                    self._snapshot = snapshot
                    return snapshot
        raise ArtifactError(f"the index {self.path} was built anew while it was opened; try again")

    def on_one_generation(
        self, answer: Callable[[Snapshot, Masks], Answer], where: Where | None = None
    ) -> Answer:
        """The answer, begun again when the index changed under it."""
        for attempt in range(1, _TRIES + 1):
            with self._store.reading() if attempt == _TRIES else nullcontext():
                with self.reading() as (connection, snapshot):
                    masks = snapshot.masks(connection, where)
                try:
                    return answer(snapshot, masks)
                except ChangedError:
                    continue
                except ArtifactError:  # perhaps of a file that is no longer part of the index
                    if self.now() is snapshot:
                        raise
        raise ArtifactError(f"the index {self.path} changes faster than it can be read; try again")
