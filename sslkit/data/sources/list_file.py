"""A text file that lists images, with or without labels and groups."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sslkit.contracts import Item
from sslkit.data.packed import PackedNames
from sslkit.errors import DataError, UnknownNameError

_LOOKED_AT = 16  # paths tried at the start: one missing file is skipped later, all missing is a mistake


class ListFileSource:
    """One image a line: its path, then, where there are labels, a TAB and the name of its class.

    A third field, after another TAB, names the image's group, such as the video a frame is of; the class
    before it may be empty. Only a TAB separates, since paths may hold spaces and commas. Relative paths start
    at the list's own folder. Blank lines and lines that begin with # are left out; the text is UTF-8. Classes
    are sorted, as numbers if all are; groups are numbered as they come. `split` must be None: a list is one
    set. Raises DataError for a list that is missing, empty, half labelled or half grouped, or none of whose
    first 16 images exist.
    """

    def __init__(self, path: str | os.PathLike[str], *, split: str | None = None) -> None:
        self.path = Path(path).absolute()
        if split is not None:
            raise UnknownNameError(
                "split", split, (), "A list file is one set; write one list for each split."
            )
        lines = _entries(self.path)
        names = [line.name for line in lines]
        self._check_some_exist(names)
        found = {line.label for line in lines if line.label is not None}
        self.classes: Sequence[str] = tuple(sorted(found, key=_as_number))
        self.labels = self._numbered(lines) if self.classes else None
        self._names = PackedNames(names)
        self.fingerprint = self._names.fingerprint(self.labels, self.classes)
        self.groups = self._grouped(lines) if any(line.group is not None for line in lines) else None
        if self.groups is not None:
            both = self.fingerprint.encode() + self.groups.tobytes()
            self.fingerprint = hashlib.sha256(both).hexdigest()[:32]
        self.native_side: int | None = None
        self.splits: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, id: int) -> Item:
        name = self._names[id]
        return Item(self.path.parent / name, name, None if self.labels is None else int(self.labels[id]))

    def _numbered(self, lines: list[_Line]) -> np.ndarray:
        number = {name: label for label, name in enumerate(self.classes)}
        rule = "label every line (path, TAB, class) or none"
        labels = (number[self._given(line, line.label, "label", rule)] for line in lines)
        return np.fromiter(labels, np.int64, len(lines))

    def _grouped(self, lines: list[_Line]) -> np.ndarray:
        """Numbers in the order of coming: who is together with whom counts, not what a group is called."""
        number: dict[str, int] = {}
        rule = "give every line a group (path, TAB, class or nothing, TAB, group) or none"
        groups = (
            number.setdefault(self._given(line, line.group, "group", rule), len(number)) for line in lines
        )
        return np.fromiter(groups, np.int64, len(lines))

    def _given(self, line: _Line, value: str | None, what: str, rule: str) -> str:
        if value is None:
            shown = f"{self.path}, line {line.number}: {line.name!r}"
            raise DataError(f"{shown} has no {what} though others have; {rule}")
        return value

    def _check_some_exist(self, names: list[str]) -> None:
        tried = [self.path.parent / name for name in islice(names, _LOOKED_AT)]
        if not any(image.exists() for image in tried):
            raise DataError(
                f"{self.path}: none of the first {len(tried)} images exists, such as {tried[0]}; relative "
                f"paths start at {self.path.parent}, and a label follows a path after a TAB"
            )


class _Line(NamedTuple):
    number: int
    name: str
    label: str | None
    group: str | None


def _entries(path: Path) -> list[_Line]:
    """What every line says, in the order of the file."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise DataError(f"cannot read the list file {path}: {error.strerror}") from error
    entries: list[_Line] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, *fields = line.removesuffix("\r").split("\t")
        if len(fields) > 2 or not name or "\0" in name:
            raise DataError(
                f"{path}, line {number}: expected a path, or a path, one TAB and a class, and after another "
                f"TAB a group; got {line!r}"
            )
        label, group = ([field.strip() or None for field in fields] + [None, None])[:2]
        entries.append(_Line(number, name, label, group))
    if not entries:
        raise DataError(f"{path} lists no images: write one path a line")
    return entries


def _as_number(name: str) -> tuple[int, int, str]:
    """Sorts 2 before 10, and names after numbers."""
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)
