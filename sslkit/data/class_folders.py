"""What folders say about the files in them: splits, classes and labels."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from sslkit.data.packed import PackedNames
from sslkit.errors import DataError, UnknownNameError

_TRAIN = "train"
_HELD_OUT = ("val", "valid", "validation", "test")


def available_splits(path: str | os.PathLike[str], *, what: str = "image folder") -> tuple[str, ...]:
    """The splits a folder is divided into, train first; empty when it is one undivided set.

    It is divided where it holds a folder train and one of val, valid, validation or test. Raises DataError,
    which calls the folder `what`, when it is missing or a file.
    """
    path = Path(path)
    if not path.is_dir():
        found = (
            "is a file; a list of files or an .npz archive is another source"
            if path.exists()
            else "not found"
        )
        raise DataError(f"{what} {path}: {found}")
    held_out = tuple(name for name in _HELD_OUT if (path / name).is_dir())
    return (_TRAIN, *held_out) if held_out and (path / _TRAIN).is_dir() else ()


def chosen_split(split: str | None, splits: Sequence[str], path: Path) -> str | None:
    """The split asked for, else train where there are splits; UnknownNameError for one that is not there."""
    if split is not None and split not in splits:
        hint = f"(splits are folders train and {', '.join(_HELD_OUT)} in {path})"
        raise UnknownNameError("split", split, splits, hint)
    return split or (_TRAIN if splits else None)


def class_names(names: PackedNames) -> set[str] | None:
    """The first folders that tell sorted `names` apart, or None when a file lies beside such folders.

    PHOTOS/images/cat/1.jpg and PHOTOS/images/dog/2.jpg are of the classes cat and dog, not of a class images.
    """
    return _first_folders(names, _above_classes(names))


def classes_and_labels(
    names: PackedNames, others: Iterable[PackedNames] = ()
) -> tuple[tuple[str, ...], np.ndarray | None]:
    """Sorted class names and the label of each of the sorted `names`, int64; () and None without classes.

    `others` are the names in the other splits: their classes count too, so that label k means the same in
    each. Two classes are needed, and no file may lie beside the class folders.
    """
    own = class_names(names)
    if own is None:
        return (), None
    found = own.union(*(class_names(other) or () for other in others))
    if len(found) < 2:
        return (), None
    classes = tuple(sorted(found))
    number = {name: label for label, name in enumerate(classes)}
    above = _above_classes(names)
    labels, counts = [], []
    for folder, count in names.folders():
        labels.append(number[folder[above:].partition("/")[0]])
        counts.append(count)
    return classes, np.repeat(np.array(labels, np.int64), counts)


def _above_classes(names: PackedNames) -> int:
    """Length of the folder that holds all of the sorted names, where several folders lie in it, else 0."""
    if not len(names):
        return 0
    shared = posixpath.commonpath([name.rpartition("/")[0] for name in (names[0], names[len(names) - 1])])
    length = len(shared) + 1 if shared else 0
    return length if len(_first_folders(names, length) or ()) > 1 else 0


def _first_folders(names: PackedNames, above: int) -> set[str] | None:
    """The first folders after `above` characters, or None when a file lies beside them."""
    found = set()
    for folder, _ in names.folders():
        first, slash, _ = folder[above:].partition("/")
        if not slash:
            return None
        found.add(first)
    return found
