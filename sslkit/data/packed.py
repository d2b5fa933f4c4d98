"""A million names in two arrays, cheap to hold, to hash and to send to worker processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

import numpy as np


class PackedNames:
    """A read-only list of file names; any name a file system allows, undecodable ones included."""

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._bytes = b"".join(encoded)
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, id: int) -> str:
        if not 0 <= id < len(self):
            raise IndexError(f"id {id} is outside 0..{len(self) - 1}")
        start = int(self._ends[id - 1]) if id else 0
        return os.fsdecode(self._bytes[start : self._ends[id]])

    def fingerprint(self, labels: np.ndarray | None, classes: Iterable[str]) -> str:
        """Hash of the names in order, their labels and the class names."""
        digest = hashlib.sha256(self._bytes)
        digest.update(self._ends.tobytes())
        digest.update(b"" if labels is None else labels.astype(np.int64).tobytes())
        digest.update("\0".join(classes).encode(errors="surrogateescape"))
        return digest.hexdigest()[:32]
