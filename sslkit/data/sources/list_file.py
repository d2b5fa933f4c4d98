"""A text file that lists images, with or without labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from sslkit.contracts import Item
from sslkit.data.packed import PackedNames
from sslkit.errors import DataError, UnknownNameError

_LOOKED_AT = 16  # paths tried at the start: one missing file is skipped later, all missing is a mistake


class ListFileSource:
    """One image a line: its path, then, where there are labels, a TAB and the name of its class.

    Only a TAB separates, since paths may hold spaces and commas. Relative paths start at the list's own
    folder. Blank lines and lines that begin with # are left out; the text is UTF-8. Classes are sorted, as
    numbers if all are. `split` must be None: a list is one set. Raises DataError for a list that is missing,
    empty, half labelled, or none of whose first 16 images exist.
    """

    def __init__(self, path: str | os.PathLike[str], *, split: str | None = None) -> None:
        self.path = Path(path).absolute()
        if split is not None:
            raise UnknownNameError(
                "split", split, (), "A list file is one set; write one list for each split."
            )
        lines = _entries(self.path)
        names = [name for _, name, _ in lines]
        self._check_some_exist(names)
        found = {label for _, _, label in lines if label is not None}
        self.classes: Sequence[str] = tuple(sorted(found, key=_as_number))
        self.labels = self._numbered(lines) if self.classes else None
        self._names = PackedNames(names)
        self.fingerprint = self._names.fingerprint(self.labels, self.classes)
        self.native_side: int | None = None
        self.splits: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, id: int) -> Item:
        name = self._names[id]
        return Item(self.path.parent / name, name, None if self.labels is None else int(self.labels[id]))

    def _numbered(self, lines: list[tuple[int, str, str | None]]) -> np.ndarray:
        number = {name: label for label, name in enumerate(self.classes)}
        for line, name, label in lines:
            if label is None:
                rule = "label every line (path, TAB, class) or none"
                raise DataError(f"{self.path}, line {line}: {name!r} has no label though others have; {rule}")
        return np.fromiter(
            (number[label] for _, _, label in lines if label is not None), np.int64, len(lines)
        )

    def _check_some_exist(self, names: list[str]) -> None:
        tried = [self.path.parent / name for name in islice(names, _LOOKED_AT)]
        if not any(image.exists() for image in tried):
            raise DataError(
                f"{self.path}: none of the first {len(tried)} images exists, such as {tried[0]}; relative "
                f"paths start at {self.path.parent}, and a label follows a path after a TAB"
            )


def _entries(path: Path) -> list[tuple[int, str, str | None]]:
    """Line number, path and label or None, in the order of the file."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise DataError(f"cannot read the list file {path}: {error.strerror}") from error
    entries: list[tuple[int, str, str | None]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, *labels = line.removesuffix("\r").split("\t")
        if len(labels) > 1 or not name or "\0" in name:
            raise DataError(
                f"{path}, line {number}: expected a path, or a path, one TAB and a class; got {line!r}"
            )
        entries.append((number, name, labels[0].strip() or None if labels else None))
    if not entries:
        raise DataError(f"{path} lists no images: write one path a line")
    return entries


def _as_number(name: str) -> tuple[int, int, str]:
    """Sorts 2 before 10, and names after numbers."""
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)
