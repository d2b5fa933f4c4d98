"""A folder of images, nested as it may be; subfolders are the classes."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from sslkit.contracts import Item
from sslkit.data.decode.image import EXTENSIONS
from sslkit.data.packed import PackedNames
from sslkit.errors import DataError, UnknownNameError

_TRAIN = "train"
_HELD_OUT = ("val", "valid", "validation", "test")


class ImageFolderSource:
    """All images under `path`, sorted by their path inside it. Hidden files and folders are left out.

    Images in subfolders are labelled with the first folder on their way, if there are at least two such
    folders and no image lies beside them. When `path` holds a folder `train` and one of val, valid,
    validation or test, the source is one of these splits (`split`, by default train) and the classes are
    those of all splits together, so that label k means the same in each. Raises DataError for a folder that
    is missing, unreadable or without images, UnknownNameError for a split that is not there.
    """

    def __init__(self, path: str | os.PathLike[str], *, split: str | None = None) -> None:
        self.path = Path(path).absolute()
        splits = available_splits(self.path)
        if split is not None and split not in splits:
            hint = f"(splits are folders train and {', '.join(_HELD_OUT)} in {self.path})"
            raise UnknownNameError("split", split, splits, hint)
        self.split = split or (_TRAIN if splits else None)
        others: set[str] = set()
        for other in splits:
            if other != self.split:
                listed = sorted(_images(self.path / other))
                others |= _class_names(listed, _above_classes(listed)) or set()
        prefix = self.split or ""
        names = sorted(_images(self.path / prefix))
        if not names:
            raise DataError(_no_images(self.path / prefix))
        above = _above_classes(names)
        own = _class_names(names, above)
        labelled = own is not None and len(own | others) > 1
        self.classes: Sequence[str] = tuple(sorted((own or set()) | others)) if labelled else ()
        self.labels = _labels(names, above, self.classes) if labelled else None
        self._names = PackedNames(f"{prefix}/{name}" if prefix else name for name in names)
        self.fingerprint = self._names.fingerprint(self.labels, self.classes)
        self.native_side: int | None = None
        self.splits: Sequence[str] = splits

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, id: int) -> Item:
        name = self._names[id]
        return Item(self.path / name, name, None if self.labels is None else int(self.labels[id]))


def available_splits(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The splits an image folder is divided into, train first; empty when it is one undivided set."""
    path = Path(path)
    if not path.is_dir():
        what = (
            "is a file; a list of files or an .npz archive is another source"
            if path.exists()
            else "not found"
        )
        raise DataError(f"image folder {path}: {what}")
    held_out = tuple(name for name in _HELD_OUT if (path / name).is_dir())
    return (_TRAIN, *held_out) if held_out and (path / _TRAIN).is_dir() else ()


def _images(root: Path) -> Iterator[str]:
    """Paths of images inside `root`, with forward slashes, in no order."""
    return (name for name in _files(str(root), "", ()) if _extension(name) in EXTENSIONS)


def _files(folder: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    try:
        status = Path(folder).stat()
        here = (status.st_dev, status.st_ino)
        if here in above:  # a link back to a folder we are inside of
            return
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        mend = "make it readable or move it out of the data set"
        raise DataError(f"cannot list the folder {folder}: {error.strerror}; {mend}") from error
    for entry in visible:
        if entry.is_dir():
            yield from _files(entry.path, f"{prefix}{entry.name}/", (*above, here))
        elif entry.is_file() or entry.is_symlink():  # a broken link is listed, and reported when it is read
            yield prefix + entry.name


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path for each of a million files costs seconds


def _above_classes(names: Sequence[str]) -> int:
    """Length of the folder that holds all of the sorted names, where several folders lie in it, else 0.

    PHOTOS/images/cat/1.jpg and PHOTOS/images/dog/2.jpg are of the classes cat and dog, not of a class images.
    """
    if not names:
        return 0
    shared = posixpath.commonpath([name.rpartition("/")[0] for name in (names[0], names[-1])])
    length = len(shared) + 1 if shared else 0
    return length if len(_class_names(names, length) or ()) > 1 else 0


def _class_names(names: Iterable[str], above: int) -> set[str] | None:
    """The first folders after `above` characters, or None when an image lies beside them."""
    classes = set()
    for name in names:
        first, slash, _ = name[above:].partition("/")
        if not slash:
            return None
        classes.add(first)
    return classes


def _labels(names: list[str], above: int, classes: Sequence[str]) -> np.ndarray:
    number = {name: label for label, name in enumerate(classes)}
    return np.fromiter((number[name[above:].partition("/")[0]] for name in names), np.int64, len(names))


def _no_images(root: Path) -> str:
    found = Counter(PurePosixPath(name).suffix.lower() or "(none)" for name in _files(str(root), "", ()))
    if not found:
        return f"{root} is empty: put images in it, or in one subfolder for each class"
    shown = ", ".join(f"{count} {suffix}" for suffix, count in found.most_common(6))
    known = " ".join(sorted(EXTENSIONS))
    return f"no images in {root}: found only files ending in {shown}; images end in {known}"
