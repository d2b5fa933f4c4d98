"""Ten million names in a few arrays, cheap to hold, to hash and to share with worker processes."""

from __future__ import annotations

import copy
import hashlib
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import groupby, islice

import numpy as np

_BLOCK = 1 << 20  # names, or bytes of names, looked at in one go


class PackedNames:
    """A read-only list of file names; any name a file system allows, undecodable ones included.

    Names that follow each other and lie in one folder share its name, so sorted names of ImageNet take 26
    bytes each. Raises ValueError for a name with a NUL in it, which no file has.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._pack(_grouped(names))

    @classmethod
    def from_runs(cls, runs: Iterable[tuple[bytes, bytes]]) -> PackedNames:
        """Of pairs: a folder's name with the "/" at its end, and names in it, each followed by a NUL."""
        packed = cls.__new__(cls)
        packed._pack(runs)
        return packed

    def _pack(self, runs: Iterable[tuple[bytes, bytes]]) -> None:
        self._text = bytearray()  # names inside their folders, each followed by a NUL
        self._folder_text = bytearray()  # in the same manner the folder of each run
        self._firsts = array("q")  # id of the first name of each run
        count = 0
        for folder, names in runs:
            if names:
                self._text += names
                self._folder_text += folder + b"\0"
                self._firsts.append(count)
                count += names.count(b"\0")
        self._ends = _ends(self._text)
        self._folder_ends = _ends(self._folder_text)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, id: int) -> str:
        if not 0 <= id < len(self):
            raise IndexError(f"id {id} is outside 0..{len(self) - 1}")
        folder = self._folder(bisect_right(self._firsts, id) - 1)
        return os.fsdecode(folder + self._text[self._start(id) : int(self._ends[id])])

    def __iter__(self) -> Iterator[str]:
        return (self[id] for id in range(len(self)))

    def folders(self) -> Iterator[tuple[str, int]]:
        """The folder of each run, "" or with a "/" at its end, and how many names the run has, in order."""
        for run, (first, last) in enumerate(self._spans()):
            yield os.fsdecode(self._folder(run)), last - first

    def under(self, folder: str) -> PackedNames:
        """The same names seen from outside `folder`: "cat/1.jpg" under "train" is "train/cat/1.jpg"."""
        moved = copy.copy(self)  # shares the names
        above = os.fsencode(folder) + b"/"
        moved._folder_text = bytearray()
        for run in range(len(self._firsts)):
            moved._folder_text += above + self._folder(run) + b"\0"
        moved._folder_ends = _ends(moved._folder_text)
        return moved

    def fingerprint(self, labels: np.ndarray | None, classes: Iterable[str]) -> str:
        """Hash of the names in order, their labels and the class names."""
        digest = hashlib.sha256()
        for run, (first, last) in enumerate(self._spans()):
            folder = self._folder(run)
            for start in range(first, last, _BLOCK):
                stop = min(start + _BLOCK, last)
                names = self._text[self._start(start) : int(self._ends[stop - 1])]
                digest.update(folder + names.replace(b"\0", folder))
        for block in self._whole_ends():
            digest.update(block.data)
        if labels is not None:
            digest.update(np.ascontiguousarray(labels, np.int64).data)
        digest.update("\0".join(classes).encode(errors="surrogateescape"))
        return digest.hexdigest()[:32]

    def _whole_ends(self) -> Iterator[np.ndarray]:
        """Where each name would end if whole names stood one after another: int64 blocks."""
        lengths = np.diff(self._folder_ends.astype(np.int64), prepend=-1) - 1
        firsts = np.frombuffer(self._firsts, np.int64) if self._firsts else np.empty(0, np.int64)
        before = 0
        for start in range(0, len(self), _BLOCK):
            ids = np.arange(start, min(start + _BLOCK, len(self)))
            folders = before + np.cumsum(lengths[np.searchsorted(firsts, ids, side="right") - 1])
            before = int(folders[-1])
            yield self._ends[ids[0] : ids[-1] + 1] - ids + folders

    def _spans(self) -> Iterator[tuple[int, int]]:
        """First id of each run and the id after its last."""
        for run, first in enumerate(self._firsts):
            yield first, self._firsts[run + 1] if run + 1 < len(self._firsts) else len(self)

    def _start(self, id: int) -> int:
        return int(self._ends[id - 1]) + 1 if id else 0

    def _folder(self, run: int) -> bytes:
        start = int(self._folder_ends[run - 1]) + 1 if run else 0
        return bytes(self._folder_text[start : int(self._folder_ends[run])])


def _ends(text: bytearray) -> np.ndarray:
    """Where the NULs are, as uint32 or, in four gigabytes of names and more, int64."""
    ends = np.empty(text.count(b"\0"), np.uint32 if len(text) < 2**32 else np.int64)
    done = 0
    for start in range(0, len(text), _BLOCK):
        found = np.flatnonzero(np.frombuffer(text, np.uint8, min(_BLOCK, len(text) - start), start) == 0)
        ends[done : done + len(found)] = found + start
        done += len(found)
    return ends


def _grouped(names: Iterable[str]) -> Iterator[tuple[bytes, bytes]]:
    for folder, inside in groupby(names, lambda name: name[: name.rfind("/") + 1]):
        while block := [name[len(folder) :] for name in islice(inside, _BLOCK)]:
            if any("\0" in name for name in block) or "\0" in folder:
                raise ValueError(f"a name in {folder!r} holds a NUL, which no file name does")
            yield os.fsencode(folder), os.fsencode("\0".join(block) + "\0")
