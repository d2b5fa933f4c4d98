"""Which mask belongs to which image: folders that lie side by side, files of the same stem."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sslkit.errors import DataError, UnknownNameError
from sslkit_detection.sources.image_files import images_below, stem

IMAGES = ("images", "image", "imgs", "img", "jpegimages", "leftimg8bit")
MASKS = ("masks", "mask", "labels", "label", "annotations", "segmentationclass", "segmentations", "gtfine")
_TRAIN = "train"


@dataclass(frozen=True)
class Pair:
    """An image and the masks of its stem, of which there should be one; paths inside the root."""

    image: str
    masks: tuple[str, ...]


@dataclass(frozen=True)
class Pairing:
    """pairs: those of a split, by the image's path. lonely: masks of the split that have no image.

    splits: all there are, that of training first; none where no folder is for training. every: all masks of
    all splits. looked: the folders of masks.
    """

    pairs: tuple[Pair, ...]
    lonely: tuple[str, ...]
    splits: tuple[str, ...]
    every: tuple[str, ...]
    looked: str


def paired(root: Path, *, split: str | None, images: str | None, masks: str | None) -> Pairing:
    """Look below a folder; raises DataError where there are no images or no folder of masks.

    Splits are folders inside those of images and masks, or folders that hold both.
    """
    if not root.is_dir():
        raise DataError(f"{root}: is no folder; give the one that holds images and masks")
    inside = _folders(root, images, IMAGES, "images")
    beside = _folders(root, masks, MASKS, "masks")
    pictures, maps = list(_keyed(root, inside)), list(_keyed(root, beside))
    if not pictures:
        raise DataError(f"{root}: holds no images in {', '.join(inside)}")
    splits = _splits([key for key, _ in pictures])
    if split is not None and split not in splits:
        raise UnknownNameError("split", split, splits, f"(splits are folders of {root} or of its images)")
    chosen = split or (splits[0] if splits else None)
    by_key: dict[str, list[str]] = {}
    for key, name in maps:
        by_key.setdefault(key, []).append(name)
    wanted = sorted((name, key) for key, name in pictures if chosen in (None, _first(key)))
    known = {key for key, _ in pictures}
    lonely = [name for key, name in maps if key not in known and chosen in (None, _first(key))]
    return Pairing(
        pairs=tuple(Pair(name, tuple(sorted(by_key.get(key, ())))) for name, key in wanted),
        lonely=tuple(sorted(lonely)),
        splits=splits,
        every=tuple(sorted(name for _, name in maps)),
        looked=", ".join(beside),
    )


def leaves(root: Path, name: str) -> bool:
    """Whether a file is a link to somewhere outside the root, or a part of its way is."""
    return not (root / name).resolve().is_relative_to(root.resolve())


def _folders(root: Path, given: str | None, known: Sequence[str], what: str) -> list[str]:
    """Paths inside the root of the folder of that kind, or of one in each folder of the root."""
    below = sorted(one.name for one in root.iterdir() if one.is_dir() and not one.name.startswith("."))
    if given is not None:
        found = [given] if (root / given).is_dir() else []
        found = found or [f"{one}/{given}" for one in below if (root / one / given).is_dir()]
        if not found:
            raise DataError(f"{what}={given}: no such folder in {root}, nor in a folder of it")
    else:
        found = _first_known(root, known) or [
            f"{one}/{name}" for one in below for name in _first_known(root / one, known)
        ]
        if not found:
            raise DataError(
                f"{root}: has no folder of {what}, such as '{known[0]}'; say which it is with {what}=FOLDER"
            )
    for name in found:
        if leaves(root, name):
            raise DataError(f"{root / name}: leaves the folder {root}; give a folder that holds both")
    return found


def _first_known(folder: Path, known: Sequence[str]) -> list[str]:
    """The folder of the first known name, one that holds images before one of boxes in text or XML."""
    there = {one.name.casefold(): one.name for one in sorted(folder.iterdir()) if one.is_dir()}
    found = [there[name] for name in known if name in there]
    return sorted(found, key=lambda name: not images_below(folder / name))[:1]


def _keyed(root: Path, folders: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What an image and its mask share, such as train/0001, and the path inside the root."""
    for folder in folders:
        above = "" if len(folders) == 1 else PurePosixPath(folder).parts[0]
        for name in images_below(root / folder):
            yield (PurePosixPath(above) / stem(name)).as_posix(), f"{folder}/{name}"


def _first(key: str) -> str | None:
    """The folder a key begins with, which may be a split."""
    first, *rest = PurePosixPath(key).parts
    return first if rest else None


def _splits(keys: Sequence[str]) -> tuple[str, ...]:
    found = {first for first in map(_first, keys) if first is not None}
    training = sorted(split for split in found if split.startswith(_TRAIN))
    return (*training, *sorted(found.difference(training))) if training else ()
