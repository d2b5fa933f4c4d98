"""A folder of images, nested as it may be; subfolders are the classes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from sslkit.contracts import Item
from sslkit.data.class_folders import available_splits, chosen_split, classes_and_labels
from sslkit.data.decode.suffixes import EXTENSIONS
from sslkit.data.listing import list_files
from sslkit.errors import DataError


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
        self.splits: Sequence[str] = available_splits(self.path)
        self.split = chosen_split(split, self.splits, self.path)
        names = list_files(self.path / (self.split or ""), EXTENSIONS)
        if not len(names):
            raise DataError(_no_images(self.path / (self.split or "")))
        others = (list_files(self.path / other, EXTENSIONS) for other in self.splits if other != self.split)
        self.classes: Sequence[str]
        self.classes, self.labels = classes_and_labels(names, others)
        self._names = names.under(self.split) if self.split else names
        self.fingerprint = self._names.fingerprint(self.labels, self.classes)
        self.native_side: int | None = None

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, id: int) -> Item:
        name = self._names[id]
        return Item(self.path / name, name, None if self.labels is None else int(self.labels[id]))


def _no_images(root: Path) -> str:
    found = Counter(PurePosixPath(name).suffix.lower() or "(none)" for name in list_files(root))
    if not found:
        return f"{root} is empty: put images in it, or in one subfolder for each class"
    shown = ", ".join(f"{count} {suffix}" for suffix, count in found.most_common(6))
    known = " ".join(sorted(EXTENSIONS))
    return f"no images in {root}: found only files ending in {shown}; images end in {known}"
