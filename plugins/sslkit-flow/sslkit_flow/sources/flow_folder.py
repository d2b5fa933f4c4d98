"""A folder of pairs of frames with flow, in the layout of a known data set."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from sslkit.contracts import FlowField, Item
from sslkit.errors import DataError
from sslkit_flow.sources.layouts import Asked, find_pairs
from sslkit_flow.sources.pairs import Pair

READ_WHOLE = 256
"""So many files of flow are read whole before training, evenly spread; of the others only headers are."""

_THREADS = min(8, os.cpu_count() or 1)


class FlowFolderSource:
    """Pairs of frames; the target is where the pixels of the first went.

    layout: chairs, things, sintel, kitti, middlebury or npz; by default what the folder looks like. split: of
    chairs (train, val; by its list file), things (train, test) and npz (folders); by default that of
    training. rendering: clean (the default) or final, of things and sintel. Raises DataError for a folder
    without pairs, UnknownNameError for a layout or split that is not there, ConfigError for a rendering
    where there is none.
    """

    target_kind = "flow"
    classes: Sequence[str] = ()
    labels: np.ndarray | None = None
    native_side: int | None = None

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        layout: str | None = None,
        split: str | None = None,
        rendering: str | None = None,
    ) -> None:
        self.path = Path(path).expanduser().absolute()
        self.layout, found = find_pairs(self.path, layout, Asked(split, rendering))
        self.splits: Sequence[str] = found.splits
        self._pairs = found.pairs
        self._problems: tuple[str, ...] | None = None
        self.fingerprint = self._hashed()

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, id: int) -> Item:
        pair = self._pair(id)
        return Item(pair.frames(self.path), pair.name)

    def target(self, id: int) -> FlowField:
        """The flow of a pair; raises DataError that names the file at fault."""
        return self._pair(id).flow(self.path)

    def problems(self) -> list[str]:
        """Faults of frames and flow, one line each: headers of all, vectors of `READ_WHOLE` files."""
        if self._problems is None:
            count = len(self)
            whole = {count * place // READ_WHOLE for place in range(READ_WHOLE)}
            with ThreadPoolExecutor(_THREADS) as pool:
                lines = pool.map(lambda id: self._fault(id, whole=id in whole), range(count))
                self._problems = tuple(line for line in lines if line is not None)
        return list(self._problems)

    def class_counts(self) -> np.ndarray:
        """Flow has no classes: int64 (len, 0)."""
        return np.zeros((len(self), 0), np.int64)

    def _pair(self, id: int) -> Pair:
        if not 0 <= id < len(self):
            raise IndexError(f"id {id} is outside 0..{len(self) - 1}")
        return self._pairs[id]

    def _fault(self, id: int, *, whole: bool) -> str | None:
        pair = self._pairs[id]
        try:
            if whole:
                pair.flow(self.path)
            else:
                pair.check(self.path)
        except DataError as error:
            return str(error)
        return None

    def _hashed(self) -> str:
        """Of names, sizes and, for flow, times of the files."""
        digest = hashlib.sha256(self.layout.encode())
        for pair in self._pairs:
            *_, field = pair.files
            for name in pair.files:
                try:
                    status = (self.path / name).stat()
                    told = f"{status.st_size}\0{status.st_mtime_ns if name == field else 0}"
                except OSError:  # missing; `problems` tells
                    told = ""
                digest.update(f"{name}\0{told}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()[:32]
