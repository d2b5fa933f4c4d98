"""A text file that lists images, with or without labels and groups."""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from sslkit.contracts import Item
from sslkit.data.class_sets import SetTable
from sslkit.data.packed import PackedNames
from sslkit.errors import DataError, UnknownNameError

_GROUP_FORM = "(path, TAB, class or nothing, TAB, group)"
_LOOKED_AT = 16  # paths tried at the start: one missing file is skipped later, all missing is a mistake


class ListFileSource:
    """One image a line: its path, then, where there are labels, a TAB and the name of its class.

    A third field, after another TAB, names the image's group, such as the video a frame is of; the class
    before it may be empty. Only a TAB separates, since paths may hold spaces and commas. Where a class field
    holds a "|", those of all lines are sets: cat|dog is of both, cat of one, and | of none; samples then have
    targets of the kind "labels" and no label. Relative paths start
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
        classes, groups = _Field("label", "(path, TAB, class)"), _Field("group", _GROUP_FORM)
        self._names = PackedNames(_paths(self.path, classes, groups))
        self._check_some_exist()
        sets = (
            [_parts(word) for word in classes.number] if any("|" in word for word in classes.number) else []
        )
        names = {name for parts in sets for name in parts} if sets else classes.number
        self.classes: Sequence[str] = tuple(sorted(names, key=_as_number))
        self.labels = None if sets else self._sorted(classes)
        self.fingerprint = self._names.fingerprint(self.labels, self.classes)
        if sets:
            self._offer_sets(sets, classes)
        # Numbered in the order of coming: who is together with whom counts, not what a group is called.
        self.groups = groups.values(self.path)
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

    def _offer_sets(self, sets: Sequence[Sequence[str]], classes: _Field) -> None:
        """Become a source with targets; sets: of each word that stands for a class in some line."""
        number = {name: place for place, name in enumerate(self.classes)}
        of = classes.values(self.path)
        assert of is not None
        table = SetTable([[number[name] for name in parts] for parts in sets], of, len(self.classes))
        self.target_kind = "labels"
        self.target, self.class_counts = table.target, table.class_counts
        self.problems: Callable[[], list[str]] = list  # what is wrong with a line was said when it was read
        self.fingerprint = hashlib.sha256(self.fingerprint.encode() + table.content()).hexdigest()[:32]

    def _sorted(self, classes: _Field) -> np.ndarray | None:
        """Labels as places in `classes` of the source; they come numbered in the order of coming."""
        values = classes.values(self.path)
        if values is None:
            return None
        places = np.empty(len(self.classes), np.int64)
        places[[classes.number[name] for name in self.classes]] = np.arange(len(self.classes))
        labels: np.ndarray = places[values]
        return labels

    def _check_some_exist(self) -> None:
        tried = [self.path.parent / name for name in islice(self._names, _LOOKED_AT)]
        if not tried:
            raise DataError(f"{self.path} lists no images: write one path a line")
        if not any(image.exists() for image in tried):
            raise DataError(
                f"{self.path}: none of the first {len(tried)} images exists, such as {tried[0]}; relative "
                f"paths start at {self.path.parent}, and a label follows a path after a TAB"
            )


class _Field:
    """What follows the paths after a TAB, a number for each word; every line has it or none."""

    def __init__(self, what: str, form: str) -> None:
        self.what, self.form = what, form
        self.number: dict[str, int] = {}
        self._given = array("q")
        self._bare: tuple[int, str] | None = None  # the first line without, and its path

    def add(self, word: str | None, line: int, name: str) -> None:
        if word is not None:
            self._given.append(self.number.setdefault(word, len(self.number)))
        elif self._bare is None:
            self._bare = line, name

    def values(self, path: Path) -> np.ndarray | None:
        """Int64, a number a line in the order of coming; None where no line has one."""
        if self._given and self._bare:
            line, name = self._bare
            shown = f"{path}, line {line}: {name!r} has no {self.what} though others have"
            sets = self.what == "label" and any("|" in word for word in self.number)
            none = "; | alone where it is of no class" if sets else " or none"
            raise DataError(f"{shown}; give every line a {self.what} {self.form}{none}")
        return np.array(self._given, np.int64) if self._given else None


def _paths(path: Path, classes: _Field, groups: _Field) -> Iterator[str]:
    """The path in every line, in the order of the file; what follows it goes to the fields."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
            for number, ended in enumerate(file, start=1):
                line = ended.removesuffix("\n")
                if not line.strip() or line.startswith("#"):
                    continue
                name, *words = line.removesuffix("\r").split("\t")
                if len(words) > 2 or not name or "\0" in name:
                    raise DataError(
                        f"{path}, line {number}: expected a path, or a path, one TAB and a class, and after "
                        f"another TAB a group; got {line!r}"
                    )
                label, group = ([word.strip() or None for word in words] + [None, None])[:2]
                classes.add(label, number, name)
                groups.add(group, number, name)
                yield name
    except OSError as error:
        raise DataError(f"cannot read the list file {path}: {error.strerror}") from error


def _parts(word: str) -> list[str]:
    """The classes of a field that names several."""
    return [part.strip() for part in word.split("|") if part.strip()]


def _as_number(name: str) -> tuple[int, int, str]:
    """Sorts 2 before 10, and names after numbers."""
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)
