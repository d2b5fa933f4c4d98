"""The items of an index and what it consists of, in SQLite: one transaction commits a change.

A change is a generation. Files of vectors are written and flushed before the transaction that names them, and
removed after the one that no longer does, so at any instant the database names whole files only.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sslkit.errors import ArtifactError, ConfigError
from sslkit.retrieval.items import IndexedItem as IndexedItem
from sslkit.retrieval.items import raw

NAME = "items.sqlite"
FORMAT = 2

WAIT = 60.0
"""Seconds a writer waits for another one."""

_TABLES = """
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE sources (number INTEGER PRIMARY KEY, address TEXT NOT NULL UNIQUE, fingerprint TEXT NOT NULL);
CREATE TABLE classes (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE segments (number INTEGER PRIMARY KEY, described TEXT NOT NULL);
CREATE TABLE removed (segment INTEGER, row INTEGER, PRIMARY KEY (segment, row)) WITHOUT ROWID;
CREATE TABLE items (
    id INTEGER PRIMARY KEY, segment INTEGER NOT NULL, row INTEGER NOT NULL,
    source INTEGER NOT NULL, sample INTEGER NOT NULL, name TEXT NOT NULL,
    label INTEGER, start REAL, stop REAL, metadata TEXT, checksum INTEGER NOT NULL
);
CREATE INDEX items_by_name ON items (name, source);
"""

_STATE = {
    "format": int,
    "built": str,
    "generation": int,
    "next_id": int,
    "next_segment": int,
    "count": int,
    "keys": list,
    "passport": dict,
}
"""What holds for the whole index. built: tells two builds in the same place apart."""


class BusyError(ArtifactError):
    """Another process changes the index."""


class Store:
    """One connection to the database of an index, for all threads of a process.

    Where another database takes its place (a build with `overwrite`), the next reading is of that one.
    """

    def __init__(self, path: Path) -> None:
        """Open the database `path` for reading; ArtifactError when it is missing, damaged or another's."""
        self.path = path
        self._lock = threading.RLock()
        self._open()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    @property
    def replaced(self) -> bool:
        """Whether another database has taken this one's place."""
        try:
            return _identity(self.path) != self._file
        except OSError:
            return False

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One state of the database, whatever is written meanwhile; threads take turns."""
        with self._lock, _named(self.path):
            outermost = not self._connection.in_transaction
            if outermost:
                if self.replaced:
                    self._connection.close()
                    self._open()
                self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                if outermost:
                    self._connection.rollback()

    def _open(self) -> None:
        # Looked at before it is opened: one that comes between is then taken for a newer one, never for this.
        self._file = _identity(_there(self.path))
        self._connection = _connected(self.path)
        try:
            with _named(self.path):
                self._connection.execute("PRAGMA query_only = ON")
                read_state(self._connection, self.path)
        except BaseException:
            self._connection.close()
            raise


@contextmanager
def writing(path: Path, *, wait: float = WAIT, spill: bool = False) -> Iterator[sqlite3.Connection]:
    """The only transaction that writes; committed when the block ends without error.

    spill: what is written need not stay in memory until the commit, as nobody reads meanwhile. Raises
    BusyError when another one writes for longer than `wait` seconds, ArtifactError when the disk refuses.
    """
    with _named(path):
        connection = _begun(path, wait, spill)
        try:
            yield connection
            connection.commit()
        finally:
            connection.close()


def create(path: Path) -> None:
    """A new, empty database."""
    with _named(path):
        connection = sqlite3.connect(path)
        try:
            connection.executescript(_TABLES)
        finally:
            connection.close()


def read_state(connection: sqlite3.Connection, path: Path) -> dict[str, Any]:
    """What holds for the whole index; ArtifactError when it is not there or of another form."""
    try:
        rows = connection.execute("SELECT key, value FROM state").fetchall()
        state = {key: json.loads(value) for key, value in rows}
    except (sqlite3.OperationalError, ValueError, TypeError) as error:
        if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
            raise
        raise ArtifactError(
            f"{path} is no item database of this sslkit, or of an older one ({error}); build the index again "
            "from its embeddings"
        ) from error
    if isinstance(state.get("format"), int) and state["format"] != FORMAT:
        raise ArtifactError(
            f"{path.parent} is an index of format {state['format']}, this sslkit reads format {FORMAT}; "
            "build it again, or update sslkit"
        )
    if state.get("seal") != _seal(connection):
        raise ArtifactError(f"{path} is not as it was written, so it is damaged; build the index again")
    for key, kind in _STATE.items():
        if not isinstance(state.get(key), kind):
            raise ArtifactError(f"{path} has no valid '{key}', so it is damaged; build the index again")
    return state


def write_state(connection: sqlite3.Connection, **values: Any) -> None:
    """Set some of what holds for the whole index, and seal it with the sources, classes and segments."""
    put = "INSERT OR REPLACE INTO state VALUES (?, CAST(? AS TEXT))"
    connection.executemany(put, [(key, raw(json.dumps(value))) for key, value in values.items()])
    connection.execute(put, ("seal", json.dumps(_seal(connection))))


def source_number(connection: sqlite3.Connection, address: str) -> int | None:
    """The number of a data set that is known."""
    query = "SELECT number FROM sources WHERE address = CAST(? AS TEXT)"
    row = connection.execute(query, (raw(address),)).fetchone()
    return None if row is None else int(row[0])


def note_source(connection: sqlite3.Connection, address: str, fingerprint: str) -> int:
    """The number of a data set, noted when it is new."""
    number = source_number(connection, address)
    if number is not None:
        connection.execute("UPDATE sources SET fingerprint = ? WHERE number = ?", (fingerprint, number))
        return number
    made = connection.execute(
        "INSERT INTO sources (address, fingerprint) VALUES (CAST(? AS TEXT), ?)", (raw(address), fingerprint)
    )
    return int(made.lastrowid or 0)


def class_numbers(connection: sqlite3.Connection, names: Sequence[str]) -> list[int]:
    """The index's own number of each class, by name; new ones follow."""
    known = {name: number for number, name in enumerate(read_classes(connection))}
    for name in names:
        if name not in known:
            known[name] = len(known)
            connection.execute("INSERT INTO classes VALUES (?, CAST(? AS TEXT))", (known[name], raw(name)))
    return [known[name] for name in names]


def read_classes(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Names of the classes by number."""
    return tuple(name for (name,) in connection.execute("SELECT name FROM classes ORDER BY number"))


def _seal(connection: sqlite3.Connection) -> int:
    """A checksum of what is small; each item has its own."""
    state = "SELECT key, value FROM state WHERE key != 'seal' ORDER BY key"
    others = [f"SELECT * FROM {table} ORDER BY number" for table in ("sources", "classes", "segments")]
    return zlib.crc32(repr([connection.execute(query).fetchall() for query in (state, *others)]).encode())


def _there(path: Path) -> Path:
    if not path.is_file():
        raise ArtifactError(
            f"{path.parent} is no index folder: it has no {path.name}; build the index or correct the path"
        )
    return path


def _identity(path: Path) -> tuple[int, int]:
    there = path.stat()
    return there.st_dev, there.st_ino


def _connected(path: Path, wait: float = WAIT) -> sqlite3.Connection:
    # "rw", which becomes read-only where nothing may be written: a reader must be able to roll back what a
    # killed writer left half done.
    with _named(path):
        uri = f"{path.resolve().as_uri()}?mode=rw"
        connection = sqlite3.connect(
            uri, uri=True, timeout=wait, isolation_level=None, check_same_thread=False
        )
    connection.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
    return connection


def _begun(path: Path, wait: float, spill: bool) -> sqlite3.Connection:
    while True:
        file = _identity(_there(path))
        connection = _connected(path, wait)
        try:
            # What is written stays in memory until the commit, so that readers can go on until then, and the
            # folder's entry is flushed too.
            connection.execute(f"PRAGMA cache_spill = {'ON' if spill else 'OFF'}")
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("BEGIN IMMEDIATE")
            if _identity(_there(path)) == file:
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()  # another database took its place while this one was waited for


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """SQLite's errors in this project's words."""
    try:
        yield
    except sqlite3.ProgrammingError as error:
        raise ConfigError(f"the index {path.parent} was closed ({error}); load it again") from error
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorname", "")  # those of Python's own have none
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise BusyError(f"another process writes to {path.parent}; wait for it and try again") from error
        if code in ("SQLITE_READONLY_ROLLBACK", "SQLITE_READONLY_RECOVERY"):
            raise ArtifactError(
                f"a change of {path.parent} was stopped half way and has to be undone, but nothing can be "
                "written there; load it once where it can, or copy the whole folder to such a place"
            ) from error
        if code.startswith("SQLITE_READONLY"):
            raise ArtifactError(
                f"{path.parent} cannot be written to; copy the whole folder to where it can, or correct its "
                "permissions"
            ) from error
        raise ArtifactError(
            f"{path} cannot be used: {error}; the last good state was kept: make room or correct the "
            "permissions, and try again"
        ) from error
    except (
        sqlite3.DatabaseError,
        UnicodeDecodeError,
    ) as error:  # names of columns are decoded by sqlite3 itself
        raise ArtifactError(f"{path} is damaged: {error}; build the index again") from error
