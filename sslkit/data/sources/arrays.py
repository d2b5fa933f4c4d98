"""Images in one .npz archive, held in memory once."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sslkit.contracts import Item
from sslkit.errors import DataError, UnknownNameError

_LAYOUT = "uint8 (N, H, W), (N, H, W, 1 or 3) or (N, 1 or 3, H, W)"


class ArraysSource:
    """The arrays `images` and optionally `labels` and `groups` of an .npz file, or `x_`, `y_` and `g_NAME`.

    The latter are those of the split NAME, by default train, or the only one there is. Images are uint8
    (N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1 or 3; labels are integers from 0; an array `classes`
    of strings names them; groups are integers from 0 or strings, one for every image. Raises DataError for
    an archive that is missing, damaged or holds anything else; nothing is unpickled.
    """

    def __init__(self, path: str | os.PathLike[str], *, split: str | None = None) -> None:
        self.path = Path(path).absolute()
        splits = available_splits(self.path)
        if split is not None and split not in splits:
            raise UnknownNameError("split", split, splits, f"(the arrays x_NAME of {self.path})")
        self.split = split or ("train" if "train" in splits else next(iter(splits), None))
        with _opened(self.path) as archive:
            images_name, labels_name, groups_name = _names(self.split)
            if images_name not in archive.files:
                raise DataError(
                    f"{self.path} holds {_listed(archive.files)}; expected images, or x_train, x_test"
                )
            self._images = _channels_last(
                _read(self.path, archive, images_name), f"{self.path}: {images_name}"
            )
            self.labels = self._read_labels(archive, labels_name)
            self.classes: Sequence[str] = self._read_classes(archive, splits)
            self.groups = self._read_groups(archive, groups_name)
            checksums = _checksums(archive, images_name, labels_name, "classes", groups_name)
        self.fingerprint = hashlib.sha256(checksums.encode()).hexdigest()[:32]
        self.native_side: int | None = max(self._images.shape[1:3])
        self.splits: Sequence[str] = splits

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, id: int) -> Item:
        if not 0 <= id < len(self):
            raise IndexError(f"id {id} is outside 0..{len(self) - 1}")
        name = f"{self.split}/{id}" if self.split else str(id)
        return Item(self._images[id], name, None if self.labels is None else int(self.labels[id]))

    def read_many(self, ids: np.ndarray) -> np.ndarray:
        """Pixels of many items at once, uint8 (N, H, W, C)."""
        many: np.ndarray = self._images[ids]
        return many

    def _read_labels(self, archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray | None:
        if name not in archive.files:
            return None
        labels, shown = self._read_column(archive, name, "label")
        if labels.dtype.kind not in "iu":
            raise DataError(f"{shown}; labels are integers from 0, with their names in an array `classes`")
        if labels.min() < 0:
            raise DataError(f"{shown} and holds {labels.min()}; labels are integers from 0")
        return labels.astype(np.int64)

    def _read_groups(self, archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray | None:
        if name not in archive.files:
            return None
        groups, shown = self._read_column(archive, name, "group")
        if groups.dtype.kind not in "iuU":
            raise DataError(f"{shown}; groups are integers from 0 or strings")
        missing = groups == "" if groups.dtype.kind == "U" else groups < 0
        if missing.any():
            raise DataError(
                f"{shown} and image {int(missing.argmax())} has no group, {groups[missing][0].item()!r} "
                "being none; give every image a group, one of its own where it is alone, or give no array"
            )
        return np.unique(groups, return_inverse=True)[1].astype(np.int64)

    def _read_column(self, archive: np.lib.npyio.NpzFile, name: str, what: str) -> tuple[np.ndarray, str]:
        """An array with one value for each image, and what messages call it."""
        values = _read(self.path, archive, name)
        shown = f"{self.path}: {name} is {values.dtype} {values.shape}"
        if values.shape not in ((len(self),), (len(self), 1)):
            raise DataError(f"{shown}, but there are {len(self)} images; give one {what} for each")
        return values.reshape(-1), shown

    def _read_classes(self, archive: np.lib.npyio.NpzFile, splits: tuple[str, ...]) -> tuple[str, ...]:
        if self.labels is None:
            return ()
        # Without names, every split counts, so that all splits of an archive have the same classes.
        others = [_names(split)[1] for split in splits if split != self.split]
        highest = [int(_read(self.path, archive, name).max()) for name in others if name in archive.files]
        count = max(int(self.labels.max()), *highest) + 1 if highest else int(self.labels.max()) + 1
        if "classes" not in archive.files:
            return tuple(str(label) for label in range(count))
        classes = _read(self.path, archive, "classes")
        if classes.ndim != 1 or classes.dtype.kind != "U" or len(classes) < count:
            given = f"`classes` is {classes.dtype} {classes.shape}"
            raise DataError(
                f"{self.path}: {given}; labels up to {count - 1} need {count} strings, one for each class"
            )
        return tuple(str(name) for name in classes)


def available_splits(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The NAMEs of the arrays `x_NAME` in an archive, in its order; empty when it holds one undivided set."""
    with _opened(Path(path)) as archive:
        if "images" in archive.files:
            return ()
        return tuple(name.removeprefix("x_") for name in archive.files if name.startswith("x_"))


def _names(split: str | None) -> tuple[str, str, str]:
    return ("images", "labels", "groups") if split is None else (f"x_{split}", f"y_{split}", f"g_{split}")


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "no arrays"


def _opened(path: Path) -> np.lib.npyio.NpzFile:
    try:
        archive = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"archive {path} not found") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} is not a readable .npz archive (write one with numpy.savez): {error}"
        ) from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError(f"{path} is a single .npy array; write numpy.savez(path, images=...)")
    return archive


def _read(path: Path, archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    try:
        array: np.ndarray = archive[name]
    except ValueError as error:
        mend = "it holds Python objects, which are never unpickled, or is damaged; store plain numbers"
        raise DataError(f"{path}: cannot read {name}: {mend}") from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: {name} is damaged ({error}); write the archive again") from error
    return array


def _channels_last(images: np.ndarray, shown: str) -> np.ndarray:
    """A view (N, H, W, C) of images in any accepted layout."""
    given = f"{shown} is {images.dtype} {images.shape}"
    if images.dtype != np.uint8:
        raise DataError(f"{given}; expected {_LAYOUT}: convert floats with (255 * x).round().astype('uint8')")
    if images.size == 0 or images.ndim not in (3, 4):
        raise DataError(f"{given}; expected {_LAYOUT} with at least one image")
    if images.ndim == 3:
        return images[..., None]
    first, last = images.shape[1] in (1, 3), images.shape[3] in (1, 3)
    if first == last:
        found = (
            "both the second and the last side could be channels" if first else "no side has 1 or 3 channels"
        )
        raise DataError(f"{given}: {found}; expected {_LAYOUT}")
    return images.transpose(0, 2, 3, 1) if first else images


def _checksums(archive: np.lib.npyio.NpzFile, *names: str) -> str:
    """The archive already carries a CRC-32 of each array: no need to read gigabytes again."""
    assert archive.zip is not None
    members = {info.filename: info for info in archive.zip.infolist()}
    present = [(name, members[f"{name}.npy"]) for name in names if f"{name}.npy" in members]
    return "\n".join(f"{name} {info.file_size} {info.CRC:08x}" for name, info in present)
