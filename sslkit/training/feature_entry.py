"""One entry of a feature store: columns of rows in files mapped into memory, and their description."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

DESCRIPTION, NOTES = "entry.json", "notes.json"
FORMAT = 1

_checked: set[tuple[str, int, int, int]] = set()  # files whose bytes this process found right


class NotKeptError(Exception):
    """Features cannot be kept: why, and what would help. They can be computed all the same."""


class DamagedEntryError(Exception):
    """An entry is not what was written."""


@dataclass(frozen=True)
class Entry:
    """Columns by name, each with one row for each row of the others, and notes in JSON terms.

    Columns are files mapped into memory: the system keeps there what fits. Each row has the strides it was
    computed with. The files may be deleted while a column is read.
    """

    columns: Mapping[str, Tensor]
    notes: Mapping[str, Any]


@dataclass
class _Column:
    """A file that grows row by row. order: its dimensions from the slowest in memory to the fastest."""

    file: BinaryIO
    dtype: torch.dtype
    order: tuple[int, ...]
    shape: tuple[int, ...]
    rows: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, values: Tensor) -> None:
        rows = values.detach().cpu().permute(self.order).contiguous()
        raw = rows.reshape(-1).view(torch.uint8).numpy().data
        self.file.write(raw)
        self.digest.update(raw)
        self.rows += len(values)


class EntryWriter:
    """Writes an entry into a folder that nobody knows yet; room: refuses what does not fit.

    All of its methods raise NotKeptError where the disk is full or the folder cannot be written to.
    """

    def __init__(self, folder: Path, room: Callable[[int], None]) -> None:
        self.notes: dict[str, Any] = {}
        self._folder, self._room = folder, room
        self._columns: dict[str, _Column] = {}
        with _said(folder):
            folder.mkdir(mode=0o700)

    def append(self, columns: Mapping[str, Tensor], *, of: int) -> None:
        """The next rows, (N, ...) of each column; of: how many there will be in all, at most."""
        if not self._columns:
            rows = {name: math.prod(values.shape[1:]) * values.itemsize for name, values in columns.items()}
            self._room(of * sum(rows.values()))
        with _said(self._folder):
            for name, values in columns.items():
                if name not in self._columns:
                    self._columns[name] = self._column(name, values)
                self._columns[name].add(values)

    def finish(self, facts: Mapping[str, Any]) -> Entry:
        """Describe what was written and open it; facts: what shaped the numbers, in JSON terms."""
        described: dict[str, Any] = {}
        with _said(self._folder):
            for name, column in self._columns.items():
                with column.file as file:
                    file.flush()
                    os.fsync(file.fileno())
                described[name] = {
                    "file": Path(file.name).name,
                    "dtype": str(column.dtype).removeprefix("torch."),
                    "shape": [column.rows, *column.shape],
                    "order": list(column.order),
                    "bytes": column.rows * math.prod(column.shape) * column.dtype.itemsize,
                    "sha256": column.digest.hexdigest(),
                }
            text = json.dumps(self.notes).encode()
            _write(self._folder / NOTES, text)
            noted = {"file": NOTES, "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}
            whole = {"format": FORMAT, "facts": facts, "columns": described, "notes": noted}
            _write(self._folder / DESCRIPTION, json.dumps(whole, indent=1).encode())
            for one in described.values():
                _checked.add(_seen(self._folder / one["file"]))
            return open_entry(self._folder)

    def close(self) -> None:
        """Let go of the files, whatever has become of them."""
        for column in self._columns.values():
            with suppress(OSError):  # what is still to be written goes where the disk is full
                column.file.close()

    def _column(self, name: str, values: Tensor) -> _Column:
        inner = sorted(range(1, values.dim()), key=values.stride, reverse=True)
        shape = tuple(values.shape[one] for one in inner)
        file = (self._folder / f"{name}.bin").open("xb")
        return _Column(file, values.dtype, (0, *inner), shape)


def open_entry(folder: Path) -> Entry:
    """The entry in a folder; raises OSError where there is none, DamagedEntryError."""
    text = (folder / DESCRIPTION).read_bytes()
    try:
        described = json.loads(text)
        if described["format"] != FORMAT:
            raise DamagedEntryError(f"format {described['format']}, this sslkit reads {FORMAT}")
        notes = described["notes"]
        _check(folder, notes)
        columns = {name: _mapped(folder, one) for name, one in described["columns"].items()}
        return Entry(columns, json.loads((folder / NOTES).read_bytes()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedEntryError(f"{DESCRIPTION}: {error!r}") from error
    except (OSError, RuntimeError) as error:
        if not (folder / DESCRIPTION).exists():
            raise FileNotFoundError(folder) from error
        raise DamagedEntryError(str(error)) from error


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder; those that are deleted meanwhile count nothing."""
    total = 0
    for file in folder.iterdir():
        with suppress(OSError):
            total += file.stat().st_size
    return total


@contextmanager
def alone(lock: Path, *, wait: bool = True) -> Iterator[bool]:
    """Whether no other process is in here with the same lock; wait: until that is so.

    False where it is not waited for, and where files cannot be locked. A process that dies lets go.
    """
    try:
        file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            locked = True
        except OSError:
            locked = False
        try:
            yield locked
        finally:
            if locked:
                lock.unlink(missing_ok=True)  # who waits for it meanwhile looks again
    finally:
        os.close(file)


def _mapped(folder: Path, described: Mapping[str, Any]) -> Tensor:
    _check(folder, described)
    dtype = getattr(torch, described["dtype"])
    shape, order = described["shape"], described["order"]
    count = math.prod(shape)
    path = str(folder / described["file"])
    flat = torch.from_file(path, shared=False, size=count, dtype=dtype) if count else torch.empty(0).to(dtype)
    back = [order.index(dimension) for dimension in range(len(order))]
    return flat.view(shape).permute(back)


def _check(folder: Path, described: Mapping[str, Any]) -> None:
    path = folder / described["file"]
    seen = _seen(path)
    if seen[-1] != described["bytes"]:
        raise DamagedEntryError(f"{path.name} has {seen[-1]} bytes, {described['bytes']} were written")
    if seen in _checked:
        return
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != described["sha256"]:
            raise DamagedEntryError(f"{path.name} is not what was written")
    _checked.add(seen)


def _seen(path: Path) -> tuple[str, int, int, int]:
    """What tells whether a file is still the one that was checked."""
    status = path.stat()
    return path.name, status.st_ino, status.st_mtime_ns, status.st_size


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _said(folder: Path) -> Iterator[None]:
    """What the disk refuses as NotKeptError."""
    try:
        yield
    except OSError as error:
        raise NotKeptError(
            f"{folder.parent} cannot be written to ({error.strerror or error}); make room there"
        ) from error
