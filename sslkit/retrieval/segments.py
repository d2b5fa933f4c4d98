"""A part of an index that never changes: exact vectors, the ids of their rows, and what finds them quickly.

vectors-N.faiss   unit vectors, a FAISS flat index that stays in the file
ids-N.npy         int64, the id of every row, ascending
search-N.faiss    an approximate search structure; small parts have none
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ArtifactError
from sslkit.neighbours.flat import FlatIndex
from sslkit.neighbours.picker import Picked
from sslkit.neighbours.structure import Effort, Structure
from sslkit.retrieval.folder import flush

Picker = Callable[[FlatIndex], Picked]
"""Chooses, builds and tunes what finds the vectors quickly."""

PATTERNS = ("vectors-*.faiss", "ids-*.npy", "search-*.faiss")


@dataclass(frozen=True)
class FilePrint:
    """What a file was when it was written."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FilePrint:
        """Read the whole file."""
        with path.open("rb") as file:
            return cls(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True)
class Described:
    """What the database says of a segment. effort: how hard its structure looks, None without one."""

    number: int
    count: int
    dim: int
    files: dict[str, FilePrint]
    factory: str = "Flat"
    effort: Effort | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, text: str) -> Described:
        """The inverse of `to_dict`, from its JSON; ArtifactError when it is none."""
        try:
            plain = json.loads(text)
            files = {name: FilePrint(**file) for name, file in plain["files"].items()}
            effort = Effort(**plain["effort"]) if plain["effort"] else None
            return cls(**{**plain, "files": files, "effort": effort})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArtifactError(
                f"a segment of the index is not described ({error!r}); build it again"
            ) from error


class Segment:
    """An open segment; vectors and ids are mapped, the structure is read when a search first needs it.

    FAISS trusts what it reads, and a wrong id is a wrong answer, so the bytes of the structure and of the ids
    are checked when they are first used; those of the vectors, which are the many, only by `verify`.
    """

    def __init__(self, folder: Path, described: Described) -> None:
        """Open its files; ArtifactError when one is missing or has not the size it was written with."""
        self.folder, self.described = folder, described
        for name, file in described.files.items():
            _check_size(folder / name, file)
        number = described.number
        self.vectors = FlatIndex.open(folder / f"vectors-{number}.faiss", mapped=True)
        self._file, self._ids = _mapped(folder / f"ids-{number}.npy", described.count)
        found = (len(self.vectors), self.vectors.dim, len(self._ids))
        if found != (described.count, described.dim, described.count):
            raise ArtifactError(
                f"segment {number} of {folder} holds {found[0]} vectors of {found[1]} dimensions and "
                f"{found[2]} ids; {described.count} of {described.dim} were written; build the index again"
            )
        self._structure: Structure | None = None
        self._checked = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.described.count

    @property
    def ids(self) -> NDArray[np.int64]:
        """The id of every row, int64 (N,), ascending; ArtifactError when they are not those written."""
        if not self._checked:
            # As they are mapped: the file may have gone since, when the segment was merged.
            path = self.folder / f"ids-{self.described.number}.npy"
            _compare(path, hashlib.sha256(self._file.data).hexdigest(), self.described.files[path.name])
            self._checked = True
        return self._ids

    def search(
        self, unit: NDArray[np.float32], k: int, *, allowed: NDArray[np.bool_] | None, exact: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows int64 (Q, k) and cosines (Q, k) of unit queries, most similar first, padded by -1 and -inf."""
        k = min(k, len(self))
        effort = self.described.effort
        if exact or effort is None:
            return self.vectors.search(unit, k, allowed=allowed)
        return self.structure().search(unit, k, effort=effort, allowed=allowed)

    def structure(self) -> Structure:
        """The search structure; ArtifactError when it is not the one written."""
        with self._lock:
            if self._structure is None:
                name = f"search-{self.described.number}.faiss"
                check_file(self.folder / name, self.described.files[name])
                self._structure = Structure.open(self.folder / name, self.vectors).placed()
            return self._structure

    def verify(self) -> None:
        """Check every byte; ArtifactError names the file that changed."""
        for name, file in self.described.files.items():
            check_file(self.folder / name, file)


def write_segment(
    folder: Path,
    number: int,
    parts: Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]],
    dim: int,
    picker: Picker | None = None,
) -> tuple[Described, Picked | None]:
    """Write the files of a new segment from parts (ids that ascend over all, unit vectors), and flush."""
    names = [f"vectors-{number}.faiss", f"ids-{number}.npy", f"search-{number}.faiss"]
    ids: list[NDArray[np.int64]] = []

    def blocks() -> Iterator[NDArray[np.float32]]:
        for part, vectors in parts:
            ids.append(part)
            yield vectors

    count = FlatIndex.write(folder / names[0], blocks(), dim, unit=True)
    np.save(folder / names[1], np.concatenate(ids))
    picked = None if picker is None else picker(FlatIndex.open(folder / names[0], mapped=True))
    structure = None if picked is None else picked.structure
    if structure is not None:
        structure.save(folder / names[2])
    written = names if structure is not None else names[:2]
    for name in written:
        flush(folder / name)
    described = Described(
        number,
        count,
        dim,
        {name: FilePrint.of(folder / name) for name in written},
        "Flat" if structure is None else structure.factory,
        None if picked is None or structure is None else picked.effort,
    )
    return described, picked


def check_file(path: Path, expected: FilePrint) -> None:
    """Raise ArtifactError unless a file is byte for byte what was written."""
    _check_size(path, expected)
    try:
        found = FilePrint.of(path)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}; correct its permissions") from error
    _compare(path, found.sha256, expected)


def _compare(path: Path, sha256: str, expected: FilePrint) -> None:
    if sha256 != expected.sha256:
        raise ArtifactError(
            f"{path} is not the file that was written: its sha256 is {sha256[:12]}, not "
            f"{expected.sha256[:12]}; copy the folder again or build the index again"
        )


def _check_size(path: Path, expected: FilePrint) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ArtifactError(
            f"{path} is missing ({error.strerror}); copy the whole folder or build the index again"
        ) from error
    if size != expected.bytes:
        raise ArtifactError(
            f"{path} has {size} bytes, {expected.bytes} were written; copy the folder again or build the "
            "index again"
        )


def _mapped(path: Path, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of a .npy file in one map, and the `count` numbers at its end.

    What stands before them is not read: it may be damaged, which a check of all bytes tells without guessing.
    """
    try:
        file = np.asarray(np.memmap(path, np.uint8, mode="r"))
        return file, file[len(file) - 8 * count :].view("<i8")
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged: {error}; build the index again") from error
