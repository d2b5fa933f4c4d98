"""YOLO text: a file of lines for each image, as Darknet and Ultralytics read it."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from sslkit.errors import ConfigError, DataError, UnknownNameError
from sslkit_detection.sources.annotations import AnnotatedImages, TableBuilder
from sslkit_detection.sources.image_files import images_below, stem
from sslkit_detection.sources.outlines import polygon_box

_IMAGES, _LABELS, _TRAIN = "images", "labels", "train"
_YAML = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_LISTS = ("classes.txt", "obj.names")
_MOST_CLASSES = 100_000


class YoloSource(AnnotatedImages):
    """Images with a text file each, with boxes, or with masks too.

    The folder holds `images` and `labels`, and in both a folder for each split, or a folder for each split
    that holds both; or text files beside images. `split` is by default train where there is one. A line is
    `class cx cy width height` or, of an outline, `class x y x y x y ...`, in shares of the sides of the
    upright image. classes: the names; by default those of data.yaml or classes.txt in the folder, else the
    numbers; paths in data.yaml are not followed. masks: every line must be an outline. An image without text
    file has no objects. Raises DataError for a folder without images or with a broken data.yaml.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        split: str | None = None,
        classes: Sequence[str] | None = None,
        masks: bool = False,
    ) -> None:
        root = Path(folder).absolute()
        if isinstance(classes, str):
            raise ConfigError(f"classes={classes!r} is one text; give a list of names, such as [cat, dog]")
        every = _images(root)
        splits = _splits(every)
        if split is not None and split not in splits:
            raise UnknownNameError("split", split, splits, f"(splits are folders of {root} or of its images)")
        chosen = split or (splits[0] if splits else None)
        names = [name for name in every if chosen is None or _split_of(name) == chosen]
        known = list(classes) if classes is not None else _class_names(root)
        if known is None:  # numbers; those of all splits, so that each has the same
            whole = _Lines(masks=False)
            for image, name in enumerate(every):
                whole.read(image, root / _label_file(name))
            known = [str(number) for number in range(whole.highest + 1)]
        files = [root / _label_file(name) for name in names]
        lines = _Lines(masks=masks)
        digest = hashlib.sha256(repr((names, known, masks)).encode())
        for image, file in enumerate(files):
            digest.update(hashlib.sha256(lines.read(image, file)).digest())
        lines.refuse_from(len(known))
        super().__init__(
            folder=root,
            names=names,
            sizes=np.zeros((len(names), 2), np.int64),
            table=lines.builder.table(len(names), masks=masks),
            classes=known,
            files=files,
            counted="line",
            fingerprint=digest.hexdigest()[:32],
            splits=splits,
            faults=lines.faults,
            shares=True,
        )


class _Lines:
    """Reads text files; faults: what is wrong in them, by image, with the number of the line."""

    def __init__(self, *, masks: bool) -> None:
        self.builder, self.highest = TableBuilder(), -1
        self.faults: dict[int, list[str]] = defaultdict(list)
        self._masks = masks
        self._read: list[tuple[int, int, int]] = []  # image, line, label

    def read(self, image: int, file: Path) -> bytes:
        """Take in a file; gives its bytes, none where there is no file."""
        try:
            raw = file.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            self.faults[image].append(f"cannot be read: {error.strerror}")
            return b""
        for number, line in enumerate(raw.decode(errors="replace").splitlines(), start=1):
            if line.strip():
                try:
                    self._line(image, number, line.split())
                except DataError as error:
                    self.faults[image].append(f"line {number}: {error}")
        return raw

    def refuse_from(self, classes: int) -> None:
        """Note the lines whose class number is none of `classes`."""
        for image, number, label in self._read:
            if label >= classes:
                allowed = f"with {classes} classes they are 0..{classes - 1}"
                self.faults[image].append(f"line {number}: class {label}; {allowed}")

    def _line(self, image: int, number: int, words: list[str]) -> None:
        try:
            label, values = float(words[0]), [float(word) for word in words[1:]]
        except ValueError as error:
            raise DataError(f"something else than numbers: {' '.join(words)[:60]!r}") from error
        if not label.is_integer() or not 0 <= label < _MOST_CLASSES:
            raise DataError(f"class {words[0]}; classes are whole numbers from 0")
        outline: list[list[float]] | None = None
        if len(values) == 4:
            x, y, width, height = values
            box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            if self._masks:
                raise DataError("is a box, not an outline, so it has no mask; use masks=false for boxes")
        elif len(values) >= 6 and len(values) % 2 == 0:
            box, outline = polygon_box(values), [values]
        else:
            expected = "4 (a box) or x, y of at least three points"
            raise DataError(f"{len(values)} numbers after the class; expected {expected}")
        self.highest = max(self.highest, int(label))
        self._read.append((image, number, int(label)))
        self.builder.add(image, box, int(label), number, outline=outline)


def _images(root: Path) -> list[str]:
    """Paths below the root: those in folders called images, or all where there is no such folder."""
    if not root.is_dir():
        raise DataError(f"{root}: is no folder; give the one that holds images and labels")
    found = images_below(root)
    if not found:
        raise DataError(f"{root}: holds no images; give the folder that holds images and labels")
    return [name for name in found if _IMAGES in PurePosixPath(name).parts[:-1]] or found


def _split_of(name: str) -> str | None:
    """images/train/1.jpg and train/images/1.jpg are of the split train."""
    first, *rest = PurePosixPath(name).parts[:-1] or ("",)
    if first == _IMAGES:
        return rest[0] if rest else None
    return first if rest and rest[0] == _IMAGES else None


def _splits(names: Sequence[str]) -> tuple[str, ...]:
    """The folders of images, that of training first; none where no folder is for training."""
    found = {split for split in map(_split_of, names) if split is not None}
    training = sorted(split for split in found if split.startswith(_TRAIN))
    return (*training, *sorted(found.difference(training))) if training else ()


def _label_file(name: str) -> str:
    parts = list(PurePosixPath(f"{stem(name)}.txt").parts)
    if _IMAGES in parts[:-1]:
        parts[len(parts) - 2 - parts[-2::-1].index(_IMAGES)] = _LABELS
    return "/".join(parts)


def _class_names(root: Path) -> list[str] | None:
    """Those of data.yaml or classes.txt; None where there is neither."""
    for path in (root / name for name in _YAML):
        if path.is_file():
            return _yaml_names(path)
    for path in (root / name for name in _LISTS):
        if path.is_file():
            lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
            return [line.strip() for line in lines if line.strip()]
    return None


def _yaml_names(path: Path) -> list[str]:
    try:
        document: Any = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: broken YAML: {error}") from error
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, dict) and sorted(names, key=str) == sorted(range(len(names)), key=str):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: its 'names' must be a list, or a mapping of 0, 1, 2, ... to names")
    return [str(name) for name in names]
