"""Tells by names alone what labelled images a folder holds: folders of classes, or lists with labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sslkit.data.class_folders import available_splits
from sslkit.data.decode.suffixes import EXTENSIONS
from sslkit.errors import DataError

MOST = 200
"""Images of a class that are counted; whether there are more changes nothing."""

_HELD_OUT = ("test", "val", "valid", "validation")  # the first that is there is judged
_LISTS = (".csv", ".txt", ".lst")
_LINES = 100_000  # of a list that are looked at
_LINE = 4096  # characters of a line; a longer one is no path
# What folders of images are called that are not of one class.
_IMAGES = "images image imgs img jpegimages leftimg8bit frames flow"
_MASKS = "masks mask labels label annotations segmentationclass segmentationobject segmentations gtfine"
_SPLITS = "train val valid validation test"
_NOT_CLASSES = frozenset(f"{_IMAGES} {_MASKS} {_SPLITS}".split())
SEPARATOR = "|"
"""Between the classes of one image in a list."""

# Files that say what is in the image beside them, or how its pixels move.
_SIDECARS = frozenset((".xml", ".txt", ".json", ".flo", ".pfm"))
_FLOW = frozenset((".flo", ".pfm"))


@dataclass(frozen=True)
class Labelled:
    """Images with a class each.

    data, test: as DATA arguments. counts: images of each class of those to learn from, before any are held
    out, `MOST` at most. judged: the images on which a test of unseen classes looks; judged_counts: how many
    of each.
    """

    data: str
    test: str | None
    counts: Mapping[str, int]
    judged: str
    judged_counts: Mapping[str, int]

    @property
    def whole(self) -> bool:
        """Whether no part of it is a test already, so that a fifth is held out."""
        return self.judged == self.data

    @property
    def closed(self) -> bool:
        """Whether all classes that are judged are there to learn from."""
        return self.judged_counts.keys() <= self.counts.keys()

    @property
    def least(self) -> int:
        """Images to learn from of the smallest class, about."""
        fewest = min(self.counts.values())
        return fewest - (fewest + 4) // 5 if self.whole else fewest

    @property
    def usual(self) -> int:
        """Images of a class that is in the middle of all, those of training and test together."""
        both = [
            count + (0 if self.whole else self.counts.get(name, 0))
            for name, count in self.judged_counts.items()
        ]
        return sorted(both)[len(both) // 2]


def labelled(folder: Path) -> Labelled | None:
    """Folders of classes or lists with labels in a folder; None for anything else. Raises nothing."""
    try:
        return class_folders(folder) or label_lists(folder)
    except (OSError, DataError, ValueError):
        return None


def class_folders(folder: Path) -> Labelled | None:
    """A folder for each class that itself holds images, in `folder` or in its train and test (val).

    None where images lie beside the folders, where they are called images, masks, ... and where files such
    as x.xml lie beside x.jpg. Raises OSError or DataError for a folder that cannot be read.
    """
    splits = available_splits(folder)
    if not splits:
        counts = _classes(folder)
        return None if counts is None else Labelled(str(folder), None, counts, str(folder), counts)
    held_out = folder / next(name for name in _HELD_OUT if name in splits)
    train, test = _classes(folder / "train"), _classes(held_out)
    if train is None or test is None:
        return None
    return Labelled(str(folder), None, train, str(held_out), test)


def label_lists(folder: Path) -> Labelled | None:
    """A list of path, TAB, class; or two of them, whose names begin with train and with test (val)."""
    read = {str(one): _listed(one) for one in _lists(folder)}
    counts = {one: counted for one, counted in read.items() if counted is not None}
    found = _train_and_test([Path(one) for one in counts])
    if found is None:
        return None
    data, test = found
    judged = test or data
    return Labelled(data, test, counts[data], judged, counts[judged])


def label_sets(folder: Path) -> tuple[str, str | None] | None:
    """(DATA, test) of lists with several classes on some lines; None for anything else. Raises nothing."""
    try:
        several = [one for one in _lists(folder) if any(SEPARATOR in label for label in _labels(one))]
        return _train_and_test(several)
    except (OSError, ValueError):
        return None


def _lists(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.suffix.lower() in _LISTS and one.is_file())


def _train_and_test(lists: Sequence[Path]) -> tuple[str, str | None] | None:
    """Of lists the one whose name begins with train, and that of test (val); or the only one."""
    train = [one for one in lists if one.stem.lower().startswith("train")]
    tests = [one for prefix in ("test", "val") for one in lists if one.stem.lower().startswith(prefix)]
    if len(train) == 1 and tests:
        return str(train[0]), str(tests[0])
    return (str(lists[0]), None) if len(lists) == 1 else None


def _classes(root: Path) -> dict[str, int] | None:
    """Images of each class, at most `MOST`, or None where the folders are none of classes."""
    counts: dict[str, int] = {}
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not entry.is_dir():
                if _suffix(entry.name) in EXTENSIONS:
                    return None
                continue
            if entry.name.casefold() in _NOT_CLASSES:
                return None
            found = _images(Path(entry.path))
            if found is None:
                return None
            if found:
                counts[entry.name] = found
    return counts if len(counts) > 1 else None


def _images(folder: Path) -> int | None:
    """Images that lie in a folder, at most `MOST`; None where they are annotated, or lie only deeper."""
    images: set[str] = set()
    beside: set[str] = set()
    deeper = False
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = entry.name.rpartition(".")[0], _suffix(entry.name)
            if suffix in EXTENSIONS and not entry.name.startswith("."):
                images.add(stem)
            elif suffix in _FLOW:
                return None
            elif suffix in _SIDECARS:
                beside.add(stem)
            elif entry.is_dir() and not entry.name.startswith("."):
                deeper = True
            if len(images) == MOST:
                break
    if images & beside or (deeper and not images and _any_images(folder)):
        return None
    return len(images)


def _any_images(folder: Path) -> bool:
    """Whether any image lies below a folder, among the first files there."""
    files = (name for _, _, names in os.walk(folder) for name in names)
    return any(_suffix(name) in EXTENSIONS for name in islice(files, 1000))


def _listed(file: Path) -> dict[str, int] | None:
    """Images of each class in a list; None where it is none, or some have no class or several."""
    labels = _labels(file)
    if not labels or not all(labels) or any(SEPARATOR in label for label in labels):
        return None
    counts = Counter(labels)
    return dict(counts) if len(counts) > 1 else None


def _labels(file: Path) -> list[str]:
    """What stands behind the images of a list, "" for nothing; none at all where it lists something else."""
    found: list[str] = []
    for name, label in _lines(file):
        if _suffix(name) not in EXTENSIONS or (not found and not (file.parent / name).is_file()):
            return []
        found.append(label)
    return found


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """(Path, class or nothing) of the first lines."""
    with file.open(encoding="utf-8-sig", errors="surrogateescape") as text:
        for _ in range(_LINES):
            line = text.readline(_LINE)
            if not line:
                return
            if line.strip() and not line.startswith("#"):
                name, _, rest = line.rstrip("\r\n").partition("\t")
                yield name, rest.partition("\t")[0].strip()


def _suffix(name: str) -> str:
    return f".{name.rpartition('.')[2].lower()}"
