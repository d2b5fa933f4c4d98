"""What frozen networks made of data, kept on disk: computed once, and read by every task, seed and command.

    FOLDER/KEY/entry.json    what shaped the numbers, and size and SHA-256 of every other file
    FOLDER/KEY/notes.json    what goes with the numbers
    FOLDER/KEY/NAME.bin      one column: the rows of all samples

KEY is the SHA-256 of the facts, so what was made of anything else is never found. An entry is written aside
and renamed: it is there whole or not at all. Sizes are compared whenever an entry is opened, its bytes once
in each process. All in the folder can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from sslkit.contracts import Features, Skipped
from sslkit.data.cache_folder import cache_folder
from sslkit.errors import ConfigError
from sslkit.training.feature_entry import (
    DESCRIPTION,
    DamagedEntryError,
    Entry,
    EntryWriter,
    NotKeptError,
    alone,
    open_entry,
    size_of,
)

LIMIT_VARIABLE = "SSLKIT_FEATURES_LIMIT_GB"
LIMIT = 10 * 10**9
DISK_SHARE = 0.2
"""Of the disk that is free or the store's: what it may take unless told otherwise, where LIMIT is more."""

_STALE = 24 * 3600.0  # seconds; by then nobody writes an entry any more, even where nothing can be locked

_in_use: WeakValueDictionary[Path, Entry] = WeakValueDictionary()  # entries that this process reads


class FeatureStore:
    """Entries in a folder, by default `features` in sslkit's cache folder; any number of processes share it.

    limit: bytes of all entries, by default `default_limit`; what was used longest ago is deleted first, and
    never what this process reads. say: is given each line for people, by default as a warning.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        limit: int | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.folder = (folder if folder is not None else cache_folder() / "features").absolute()
        self.limit = default_limit(self.folder) if limit is None else limit
        self._say = say
        self._said: set[str] = set()

    @property
    def nbytes(self) -> int:
        """Bytes of all entries."""
        return sum(size for _, size, _ in self._entries())

    def say(self, line: str) -> None:
        """Tell people something, each line once."""
        if line in self._said:
            return
        self._said.add(line)
        if self._say is not None:
            self._say(line)
        else:
            warnings.warn(line, stacklevel=3)

    def say_not_kept(self, error: NotKeptError) -> None:
        """Tell why features are computed and not kept, unless nothing is to be kept at all."""
        if self.limit:
            self.say(f"features are computed and not kept: {error}")

    def features(self, facts: Mapping[str, Any], compute: Callable[[], Features]) -> Features:
        """Embeddings by the facts that shape them, bit for bit as computed; raises what `compute` raises.

        Where they cannot be kept a line says so, and they are computed all the same.
        """
        made: list[Features] = []

        def fill(writer: EntryWriter) -> None:
            made.append(compute())
            ids, embeddings, labels = made[0].ids, made[0].embeddings, made[0].labels
            writer.append({"ids": ids, "embeddings": embeddings, "labels": labels}, of=len(made[0]))
            writer.notes["skipped"] = [[one.id, one.name, one.reason] for one in made[0].skipped]

        try:
            entry = self.entry(facts, fill)
        except NotKeptError as error:
            self.say_not_kept(error)
            return made[0] if made else compute()
        if made:
            return made[0]
        ids, embeddings, labels = (entry.columns[name].clone() for name in ("ids", "embeddings", "labels"))
        return Features(ids, embeddings, labels, tuple(Skipped(*one) for one in entry.notes["skipped"]))

    def entry(self, facts: Mapping[str, Any], fill: Callable[[EntryWriter], None]) -> Entry:
        """The entry of these facts, in JSON terms; `fill` writes it where it is missing or damaged.

        Of several processes that want the same entry one makes it, and the others wait. Raises NotKeptError
        where there is no room or the folder cannot be written to, and what `fill` raises; then there is no
        entry.
        """
        key = key_of(facts)
        found = self._found(key)
        if found is not None:
            return found
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise NotKeptError(f"{self.folder} cannot be written to ({error.strerror})") from error
        with alone(self._lock(key)) as locked:
            if locked:
                self._sweep(key)
            return self._found(key) or self._made(key, facts, fill)

    def delete(self) -> None:
        """Remove the folder with all entries; what is being read stays readable."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _found(self, key: str) -> Entry | None:
        folder = self.folder / key
        try:
            entry = _in_use.get(folder) if folder.is_dir() else None
            entry = entry or open_entry(folder)
        except OSError:
            return None  # there is none, or another process is deleting it
        except DamagedEntryError as error:
            self.say(f"kept features in {folder} are damaged ({error}), so they are computed again")
            _remove(folder)
            return None
        with suppress(OSError):  # a folder that can only be read
            os.utime(folder / DESCRIPTION)
        _in_use[folder] = entry
        return entry

    def _made(self, key: str, facts: Mapping[str, Any], fill: Callable[[EntryWriter], None]) -> Entry:
        aside = self.folder / f".{key}.{uuid.uuid4().hex[:8]}.partial"
        writer = EntryWriter(aside, self._make_room)
        try:
            fill(writer)
            entry = writer.finish(facts)
            with suppress(OSError):  # there already: made by a process that could not be waited for
                aside.rename(self.folder / key)
        finally:
            writer.close()
            shutil.rmtree(aside, ignore_errors=True)
        _in_use[self.folder / key] = entry
        self._shrink(self.limit)
        return entry

    def _make_room(self, needed: int) -> None:
        """Delete what was used longest ago until so many bytes fit; raises NotKeptError where they cannot."""
        if needed > self.limit:
            raise NotKeptError(
                f"they take {needed / 1e9:.2f} GB and {self.folder} may take {self.limit / 1e9:.2f} GB; set "
                f"{LIMIT_VARIABLE} to allow more"
            )
        self._shrink(self.limit - needed)
        lacking = needed - _free(self.folder)
        if lacking > 0:
            self._shrink(self.nbytes - lacking)
            if needed > _free(self.folder):
                raise NotKeptError(
                    f"they take {needed / 1e9:.2f} GB and the disk of {self.folder} has "
                    f"{_free(self.folder) / 1e9:.2f} GB free; make room"
                )

    def _shrink(self, limit: int) -> None:
        self._sweep()
        entries = sorted(self._entries(), key=lambda entry: entry[2])
        taken = sum(size for _, size, _ in entries)
        for folder, size, _ in entries:
            if taken <= limit:
                return
            if folder not in _in_use:
                _remove(folder)
                taken -= size

    def _entries(self) -> Iterator[tuple[Path, int, float]]:
        """Folder of each entry, its bytes, and when it was last used."""
        for folder in _listed(self.folder):
            if not folder.name.startswith("."):
                with suppress(OSError):  # deleted meanwhile
                    yield folder, size_of(folder), (folder / DESCRIPTION).stat().st_mtime

    def _sweep(self, locked: str = "") -> None:
        """Delete what processes left that were killed; locked: a key that nobody else writes now."""
        for folder in _listed(self.folder):
            key = folder.name.split(".")[1] if folder.suffix in (".partial", ".gone") else ""
            if folder.suffix == ".gone" or (key and key == locked):
                shutil.rmtree(folder, ignore_errors=True)
            elif folder.suffix == ".partial":
                with suppress(OSError), alone(self._lock(key), wait=False) as free:
                    if free or time.time() - folder.stat().st_mtime > _STALE:
                        shutil.rmtree(folder, ignore_errors=True)

    def _lock(self, key: str) -> Path:
        return self.folder / f".{key}.lock"


def key_of(facts: Mapping[str, Any]) -> str:
    """SHA-256 of facts as canonical JSON: the order of names is nothing, any other value is another key."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def default_limit(folder: Path) -> int:
    """Bytes that a store may take: of SSLKIT_FEATURES_LIMIT_GB, else 10 GB or a fifth of the disk's room.

    Raises ConfigError where the variable is no number >= 0.
    """
    given = os.environ.get(LIMIT_VARIABLE)
    if given:
        try:
            gigabytes = float(given)
        except ValueError:
            gigabytes = math.nan
        if not 0 <= gigabytes < math.inf:
            raise ConfigError(
                f"{LIMIT_VARIABLE}={given}: use a number of gigabytes such as 10, 0 to keep no features, or "
                "unset it"
            )
        return int(gigabytes * 1e9)
    taken = sum(size_of(one) for one in _listed(folder))
    return int(min(LIMIT, DISK_SHARE * (_free(folder) + taken)))


def _free(folder: Path) -> int:
    """Bytes that are free on the disk of a folder that may not be there yet."""
    there = next(one for one in (folder, *folder.parents) if one.is_dir())
    return shutil.disk_usage(there).free


def _listed(folder: Path) -> list[Path]:
    try:
        return [one for one in folder.iterdir() if one.is_dir()]
    except OSError:
        return []


def _remove(folder: Path) -> None:
    """Delete an entry so that nobody opens a part of it."""
    gone = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.gone")
    with suppress(OSError):
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
