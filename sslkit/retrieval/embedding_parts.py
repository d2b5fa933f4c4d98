"""What is done of an embedding that is under way, kept so that it can be stopped at any instant.

It lies in a hidden folder beside the target, .NAME.parts:

parts.json       which model, data and settings the parts belong to
FIRST-STOP.npz   ids, vectors and labels of batches FIRST to STOP - 1, and what could not be decoded
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.atomic import replace_text
from sslkit.contracts import Features, Skipped
from sslkit.errors import ArtifactError, ConfigError
from sslkit.retrieval.embed import FILES, Dtype, as_stored
from sslkit.retrieval.folder import flush

_FORMAT = 1
_SECONDS = 10.0  # of work that a kill may lose
_BYTES = 32 * 2**20  # vectors of a part, which is held in memory
_DESCRIPTION = "parts.json"
_PART = re.compile(r"(\d+)-(\d+)\.npz")
_OWN = re.compile(r"\d+-\d+\.npz|\.(\d+-\d+\.npz|parts\.json)\.[0-9a-f]{8}\.tmp")


class Part(NamedTuple):
    """Batches first to stop - 1, and their file."""

    first: int
    stop: int
    path: Path


@dataclass(frozen=True)
class StoredRows:
    """Rows of a part: ids int64 (N,), embeddings (N, D) as they are written, labels int64 (N,) or -1."""

    ids: Tensor
    embeddings: Tensor
    labels: Tensor
    skipped: tuple[Skipped, ...]


class EmbeddingParts:
    """The parts of the embeddings that will become `out`.

    described: everything that shapes them, in JSON terms. batches: how many there are in all; the same batch
    is the same samples in every run of one description. Processes may write parts at the same time.
    """

    def __init__(self, out: Path, described: Mapping[str, Any], *, batches: int, dtype: Dtype) -> None:
        self._out, self.folder = out, out.with_name(f".{out.name}.parts")
        self.batches, self.dtype = batches, dtype
        shaping = {"format": _FORMAT, **described, "dtype": dtype, "batches": batches}
        self._described: dict[str, Any] = json.loads(json.dumps(shaping))

    def make_folder(self) -> None:
        """Raises ConfigError where nothing can be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            where = self.folder.parent
            raise ConfigError(f"cannot write in {where}: {error.strerror}; choose another folder") from error

    @property
    def own(self) -> bool:
        """Whether the folder is there and holds no parts of another description."""
        return self.folder.is_dir() and (self._found() == self._described or not self.kept())

    def begin(self, *, anew: bool = False) -> None:
        """Take over what an earlier run of the same description left in the folder.

        Raises ConfigError where it was another model, other data or settings, unless `anew`: then the old
        parts are removed, and nothing but them.
        """
        self._remove_torn("tmp")
        if self._found() == self._described:
            return
        if not anew and not self.own:
            raise ConfigError(
                f"{self.folder} keeps parts of another embedding: {self._difference()}; go on with that one, "
                "remove the folder, or ask to overwrite it"
            )
        self._empty()
        replace_text(self.folder / _DESCRIPTION, json.dumps(self._described, indent=2) + "\n")

    def kept(self) -> list[Part]:
        """The finished parts in the order of their batches, no batch twice; torn files are passed over."""
        named = [(match, path) for path in self._files() if (match := _PART.fullmatch(path.name))]
        parts = sorted(Part(int(match[1]), int(match[2]), path) for match, path in named)
        kept: list[Part] = []
        for part in parts:
            # Two launches at a time, of which one outlived its first process, may do a batch twice.
            if part.first >= (kept[-1].stop if kept else 0) and zipfile.is_zipfile(part.path):
                kept.append(part)
        return kept

    def missing(self) -> NDArray[np.int64]:
        """Numbers of the batches that no part holds, ascending."""
        todo = np.ones(self.batches, bool)
        for part in self.kept():
            todo[part.first : part.stop] = False
        return np.flatnonzero(todo)

    def write(self, first: int, chunks: list[Features]) -> None:
        """Write batches first, first + 1, ... as one part: whole, and on the disk, or not at all.

        Raises ArtifactError for values that are not finite as written.
        """
        filled = [chunk for chunk in chunks if len(chunk)]
        empty = np.empty((0, 0), self.dtype)
        skipped = [asdict(skip) for chunk in chunks for skip in chunk.skipped]
        path = self.folder / f"{first:09d}-{first + len(chunks):09d}.npz"
        aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        vectors = [as_stored(chunk, self.dtype) for chunk in filled]
        try:
            with aside.open("wb") as file:
                np.savez(
                    file,
                    ids=np.concatenate([np.empty(0, np.int64), *(chunk.ids.numpy() for chunk in filled)]),
                    vectors=np.concatenate(vectors) if vectors else empty,
                    labels=np.concatenate(
                        [np.empty(0, np.int64), *(chunk.labels.numpy() for chunk in filled)]
                    ),
                    skipped=np.frombuffer(json.dumps(skipped).encode("ascii"), np.uint8),
                )
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            flush(self.folder)
        finally:
            aside.unlink(missing_ok=True)

    def rows(self) -> Iterator[StoredRows]:
        """What the parts hold, one after another in the order of the batches.

        Raises ArtifactError where one is damaged; it is removed, so that the next run makes it again.
        """
        for part in self.kept():
            yield _read(part.path)

    def remove(self) -> None:
        """Remove the parts, and their folder unless it holds something else; `out` is there."""
        self._empty()
        (self.folder / ".lock").unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()
        self._remove_torn("tmp", "old")

    def _empty(self) -> None:
        for path in self._files():
            if _OWN.fullmatch(path.name):
                path.unlink(missing_ok=True)
        (self.folder / _DESCRIPTION).unlink(missing_ok=True)  # last: parts never stand without it

    def _remove_torn(self, *endings: str) -> None:
        """Folders beside the target in which an earlier run was killed while it made the target."""
        torn = re.compile(rf"\.{re.escape(self._out.name)}\.[0-9a-f]{{8}}\.({'|'.join(endings)})")
        for path in self._out.parent.iterdir():
            if (
                torn.fullmatch(path.name)
                and path.is_dir()
                and {file.name for file in path.iterdir()} <= set(FILES)
            ):
                shutil.rmtree(path, ignore_errors=True)

    def _files(self) -> list[Path]:
        return list(self.folder.iterdir()) if self.folder.is_dir() else []

    def _found(self) -> dict[str, Any]:
        try:
            found = json.loads((self.folder / _DESCRIPTION).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _difference(self) -> str:
        found = self._found()
        if not found:
            return f"its {_DESCRIPTION} is missing or damaged"
        keys = [*self._described, *(key for key in found if key not in self._described)]
        key = next(key for key in keys if found.get(key) != self._described.get(key))
        return f"{key} is {found.get(key)} there and {self._described.get(key)} here"


class PartWriter:
    """Gathers batches into parts and writes them in a thread of its own, while the next are computed.

    A part ends after some seconds or megabytes. Leaving the block writes what is left, also after an error.
    """

    def __init__(self, parts: EmbeddingParts) -> None:
        self._parts = parts
        self._first, self._chunks, self._bytes = 0, list[Features](), 0
        self._since = time.monotonic()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parts")
        self._writing: Future[None] | None = None

    def add(self, batch: int, chunk: Features) -> None:
        """Take the rows of a batch by its number; errors of the writing before come out here."""
        if self._chunks and batch != self._first + len(self._chunks):
            self._write()
        if not self._chunks:
            self._first, self._bytes = batch, 0
        self._chunks.append(chunk)
        self._bytes += chunk.embeddings.nbytes
        if self._bytes >= _BYTES or time.monotonic() - self._since >= _SECONDS:
            self._write()

    def _write(self) -> None:
        if self._writing is not None:
            self._writing.result()
        self._writing = self._thread.submit(self._parts.write, self._first, self._chunks)
        self._chunks, self._since = [], time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._chunks:
                self._write()
            if self._writing is not None:
                self._writing.result()
        except Exception:
            if error is None:  # else the first error says more
                raise
        finally:
            self._thread.shutdown()


def _read(path: Path) -> StoredRows:
    try:
        with np.load(path, allow_pickle=False) as stored:
            skipped = json.loads(stored["skipped"].tobytes())
            return StoredRows(
                torch.from_numpy(stored["ids"]),
                torch.from_numpy(stored["vectors"]),
                torch.from_numpy(stored["labels"]),
                tuple(Skipped(**skip) for skip in skipped),
            )
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        path.unlink(missing_ok=True)
        raise ArtifactError(
            f"{path} was damaged ({error}) and is removed; the same command embeds its samples again"
        ) from error
