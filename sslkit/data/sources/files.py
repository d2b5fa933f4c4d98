"""Single image files named one by one, as queries are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sslkit.contracts import Item
from sslkit.errors import DataError


class FilesSource:
    """Images at the given paths, without labels; raises DataError for a path where no file is."""

    def __init__(self, paths: Sequence[str | Path]) -> None:
        self._paths = [Path(path).expanduser() for path in paths]
        missing = [path for path in self._paths if not path.is_file()]
        if missing or not self._paths:
            raise DataError(
                f"there is no image file '{missing[0]}'" if missing else "no image file was named"
            )
        self.classes: Sequence[str] = ()
        self.labels: np.ndarray | None = None
        self.fingerprint = hashlib.sha256("\0".join(map(str, self._paths)).encode()).hexdigest()[:32]
        self.native_side: int | None = None
        self.splits: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, id: int) -> Item:
        if not 0 <= id < len(self):
            raise IndexError(f"id {id} is outside 0..{len(self) - 1}")
        return Item(self._paths[id], str(self._paths[id]))
