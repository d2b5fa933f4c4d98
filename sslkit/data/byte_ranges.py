"""Parts of files, many at once: on a disk by their position, elsewhere through fsspec."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import fsspec

from sslkit.contracts import Refused
from sslkit.data.shard_files import ShardFile

_GAP = 2**16  # bytes between two parts that are read along, since another read costs more
_LONGEST = 2**24  # bytes of several parts read at one go
_MOST_OPEN = 64  # a shuffled epoch is inside a few shards at a time


class Part(NamedTuple):
    """`size` bytes from `offset` on, of the file with this number."""

    file: int
    offset: int
    size: int


class ByteRanges:
    """Reads parts of files, or says why where a file is gone or no longer as it was found.

    Files on a disk stay open, in each process its own: they are left out when pickled, and a fork may share
    them, since every read names its position.
    """

    def __init__(self, files: Sequence[ShardFile]) -> None:
        self.files = tuple(files)
        self._open: dict[int, int] = {}  # file number to descriptor, the one used last at the end

    def __getstate__(self) -> dict[str, object]:
        return {"files": self.files, "_open": {}}

    def __del__(self) -> None:
        for number in list(getattr(self, "_open", ())):
            self._close(number)

    def read(self, parts: Sequence[Part]) -> list[bytes | Refused]:
        """The bytes of each part, in the order given; neighbours are read together."""
        runs = list(_runs(sorted(set(parts))))
        remote = [run for run in runs if self.files[run[0].file].remote]
        blocks = iter(self._fetched(remote))
        found: dict[Part, bytes | Refused] = {}
        for run in runs:
            file, start = run[0].file, run[0].offset
            block = next(blocks) if self.files[file].remote else self._block(file, start, _end(run))
            for part in run:
                found[part] = self._cut(block, part, start)
        return [found[part] for part in parts]

    def _cut(self, block: bytes | Refused, part: Part, start: int) -> bytes | Refused:
        if isinstance(block, Refused):
            return block
        first = part.offset - start
        content = block[first : first + part.size]
        return content if len(content) == part.size else self._refused(part.file, "is shorter than it was")

    def _block(self, number: int, start: int, end: int) -> bytes | Refused:
        file = self.files[number]
        try:
            handle = self._open.pop(number, None)
            if handle is None:
                handle = os.open(file.place, os.O_RDONLY)
            self._open[number] = handle
            while len(self._open) > _MOST_OPEN:
                self._close(next(iter(self._open)))
            status = os.fstat(handle)
            if (status.st_size, str(status.st_mtime_ns)) != (file.size, file.stamp):
                self._close(number)  # the right file may come back
                return self._refused(number, "has changed")
            return _pread(handle, start, end)
        except OSError as error:
            return self._refused(number, f"cannot be read ({error.strerror})")

    def _close(self, number: int) -> None:
        os.close(self._open.pop(number))

    def _fetched(self, runs: Sequence[list[Part]]) -> list[bytes | Refused]:
        """Runs of files elsewhere, asked for at once; a file system may fetch them side by side."""
        if not runs:
            return []
        try:
            # Found anew each time: fsspec keeps one for each process, and its threads do not survive a fork.
            found = [fsspec.core.url_to_fs(self.files[run[0].file].place) for run in runs]
            blocks = found[0][0].cat_ranges(
                [path for _, path in found],
                [run[0].offset for run in runs],
                [_end(run) for run in runs],
                on_error="return",
            )
        except (
            Exception
        ) as error:  # each file system has errors of its own; the run goes on without the samples
            blocks = [error] * len(runs)
        return [
            block if isinstance(block, bytes) else self._refused(run[0].file, f"cannot be read ({block})")
            for run, block in zip(runs, blocks, strict=True)
        ]

    def _refused(self, number: int, what: str) -> Refused:
        return Refused(f"the shard {self.files[number].place} {what} since it was listed")


def _runs(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Sorted parts in groups that lie close together in one file."""
    run: list[Part] = []
    end = 0
    for part in parts:
        new_end = max(end, part.offset + part.size)
        near = run and part.file == run[0].file and part.offset <= end + _GAP
        if run and not (near and new_end - run[0].offset <= _LONGEST):
            yield run
            run, new_end = [], part.offset + part.size
        run.append(part)
        end = new_end
    if run:
        yield run


def _end(run: Sequence[Part]) -> int:
    return max(part.offset + part.size for part in run)


def _pread(handle: int, start: int, end: int) -> bytes:
    """Bytes start..end, fewer where the file ends before; a read may give less than was asked for."""
    blocks = []
    while start < end and (block := os.pread(handle, end - start, start)):
        blocks.append(block)
        start += len(block)
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)
