"""All files below a folder, in order; a large folder is listed once and remembered."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sslkit.data.cache_folder import VARIABLE, cache_folder
from sslkit.data.packed import PackedNames
from sslkit.errors import ConfigError, DataError

_VERSION = 1
_LARGE = 10_000  # files; smaller listings are remembered only if they took long
_LONG = 1.0  # seconds
_SETTLED = 2 * 10**9  # ns; FAT keeps times to two seconds, most others to milliseconds
_UNSETTLED = (0, 0, 0)
_FOLDERS = 1_000_000  # kept of one listing; the rest is listed every time, to spare memory


class _Folder(NamedTuple):
    """A folder as it was found.

    stamp: its times of modification and change in ns, and its inode; _UNSETTLED: list it again next time.
    entries: sorted, each followed by a NUL, names of folders by "/" and a NUL.
    """

    stamp: tuple[int, int, int]
    entries: bytes


def list_files(root: str | os.PathLike[str], extensions: frozenset[str] | None = None) -> PackedNames:
    """Paths inside `root` of the files that end in one of `extensions` (".jpg", lower case), or of all files.

    They have forward slashes and the order of `sorted()`. Hidden files and folders are left out, links are
    followed, broken ones listed, and a link back to a folder above is left. Raises DataError for a folder
    that cannot be read.

    A listing of more than 10,000 files, or of more than a second, is kept in the cache folder: the next one
    looks at the times of all folders, and lists those again that have changed. SSLKIT_NO_LISTING_CACHE=1
    turns this off, for file systems that keep no such times.
    """
    place = str(Path(root).absolute())
    kept_in = _kept_in(place, extensions)
    known = _read(kept_in) if kept_in else {}
    start = time.perf_counter()
    walk = _Walk(place, extensions, known)
    try:
        names = PackedNames.from_runs(walk.runs())
    except DataError:
        if not known:
            raise
        walk = _Walk(place, extensions, {})  # a folder link has lost its folder: it is a broken link now
        names = PackedNames.from_runs(walk.runs())
    large = len(names) > _LARGE or time.perf_counter() - start > _LONG
    if kept_in and large and walk.found != known:
        _write(kept_in, walk.found)
    return names


class _Walk:
    """One way down all folders of `root`; `known` are folders as they were, `found` as they are."""

    def __init__(self, root: str, extensions: frozenset[str] | None, known: dict[bytes, _Folder]) -> None:
        self._root, self._extensions, self._known = root, extensions, known
        self.found: dict[bytes, _Folder] = {}

    def runs(
        self, folder: bytes = b"", above: tuple[tuple[int, int], ...] = ()
    ) -> Iterator[tuple[bytes, bytes]]:
        """Folder by folder, the names of its files; a subfolder comes where its name and "/" belong."""
        path = os.path.join(self._root, os.fsdecode(folder[:-1])) if folder else self._root  # noqa: PTH118
        try:
            now = time.time_ns()  # before anything is looked at
            status = os.stat(path)  # noqa: PTH116
            here = (status.st_dev, status.st_ino)
            if here in above:  # a link back to a folder we are inside of
                return
            listed = self._listed(folder, path, status, now)
        except OSError as error:
            mend = "make it readable or move it out of the data set"
            raise DataError(f"cannot list the folder {path}: {error.strerror}; {mend}") from error
        if len(self.found) < _FOLDERS:
            self.found[folder] = listed
        *pieces, last = listed.entries.split(b"/\0")
        for piece in pieces:
            files, border, name = piece.rpartition(b"\0")
            yield folder, files + border
            yield from self.runs(folder + name + b"/", (*above, here))
        yield folder, last

    def _listed(self, folder: bytes, path: str, status: os.stat_result, now: int) -> _Folder:
        stamp = _stamp(status)
        known = self._known.get(folder)
        if known is not None and known.stamp == stamp:
            return known
        names, lasting = self._names(path)
        # A folder changed just now can change again without a new time.
        settled = lasting and max(stamp[:2]) < now - _SETTLED
        return _Folder(stamp if settled else _UNSETTLED, os.fsencode("\0".join([*names, ""])))

    def _names(self, path: str) -> tuple[list[str], bool]:
        """Sorted names in a folder, subfolders with "/", and whether these change only with its times."""
        names, lasting = [], True
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if name[0] == ".":
                    continue
                kind = _kind(entry)
                lasting = lasting and kind != "broken"  # its target may come back as a folder
                if kind == "folder":
                    names.append(name + "/")
                elif kind != "other" and self._wanted(name):
                    names.append(name)
        names.sort()
        return names, lasting

    def _wanted(self, name: str) -> bool:
        return self._extensions is None or name[name.rfind(".") :].lower() in self._extensions


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    # The time of change cannot be set back, as rsync and tar do with that of modification.
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino & (2**63 - 1)


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
    except OSError:  # a link to itself, or through a folder that is closed
        pass
    return "broken" if entry.is_symlink() else "other"


def _kept_in(root: str, extensions: frozenset[str] | None) -> Path | None:
    """The file that keeps the listing, whether it is there or not; None where none is to be kept."""
    if os.environ.get("SSLKIT_NO_LISTING_CACHE", "0") not in ("", "0"):
        return None
    try:
        folder = cache_folder()
    except ConfigError:
        if os.environ.get(VARIABLE):
            raise
        return None  # no place anywhere: data are listed every time
    key = "\0".join([root, *sorted(extensions or ())]).encode(errors="surrogateescape")
    return folder / "listings" / f"{hashlib.sha256(key).hexdigest()[:32]}.npz"


def _read(path: Path) -> dict[bytes, _Folder]:
    """The folders kept in a file; none if it is missing, damaged or of another version."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            if kept["version"] != _VERSION:
                return {}
            folders = kept["folders"].tobytes().split(b"\0")[:-1]
            entries, ends, stamps = (
                memoryview(kept["entries"]),
                kept["ends"].tolist(),
                kept["stamps"].tolist(),
            )
    except Exception:  # whatever a damaged file makes numpy and zipfile raise: it is written anew
        return {}
    known = {}
    start = 0
    for folder, end, stamp in zip(folders, ends, stamps, strict=True):
        known[folder] = _Folder(tuple(stamp), bytes(entries[start:end]))
        start = end
    return known


def _write(path: Path, found: dict[bytes, _Folder]) -> None:
    """Replace the file in one step, so that a reader or a second writer never meets a part of it."""
    entries = [folder.entries for folder in found.values()]
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(exist_ok=True)
        with aside.open("xb") as file:
            np.savez(
                file,
                version=np.array(_VERSION),
                folders=np.frombuffer(b"".join(name + b"\0" for name in found), np.uint8),
                entries=np.frombuffer(b"".join(entries), np.uint8),
                ends=np.cumsum([len(one) for one in entries], dtype=np.int64),
                stamps=np.array([folder.stamp for folder in found.values()], np.int64),
            )
        aside.replace(path)
    except OSError:  # a full disk: the next listing takes as long as this one
        pass
    finally:
        aside.unlink(missing_ok=True)
