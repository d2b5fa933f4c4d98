"""Pascal VOC: an XML file for each image (Everingham et al. 2010; devkit 2012, section 7)."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from sslkit.errors import DataError, UnknownNameError
from sslkit_detection.sources.annotations import AnnotatedImages, Table, TableBuilder
from sslkit_detection.sources.image_files import files_below, images_below, stem, why_refused
from sslkit_detection.sources.xml_text import number_of, parsed, text_of

_ANNOTATIONS, _IMAGES = ("Annotations", "annotations"), ("JPEGImages", "images")
_FOLDERS = ("train", "val", "valid", "validation", "test")
_OF_ONE_CLASS = re.compile(r".+_(train|val|trainval|test)$")  # ImageSets/Main/aeroplane_train.txt
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocSource(AnnotatedImages):
    """The images of a Pascal VOC folder, or of a folder of images with XML files beside them, with boxes.

    A VOC folder holds Annotations, JPEGImages and, as splits, lists of names in ImageSets/Main. Another
    folder is one set, or has a folder for each split, such as train and val. `split` is by default train
    where there is one. Corners count pixels from 1 and belong to the object: boxes begin at xmin - 1.
    Difficult objects are crowds. Classes are sorted, those of all splits together. An image without XML file
    is a problem, one without objects is not. Raises DataError for a folder without XML files.
    """

    def __init__(self, folder: str | os.PathLike[str], *, split: str | None = None) -> None:
        layout = _Layout(Path(folder).absolute())
        keys = layout.keys(split)
        read = {key: _read(path) for key, path in layout.notes.items()}
        classes = sorted({one.name for notes in read.values() for one in notes.objects})
        each = [read.get(key, _Notes(faults=["has no XML file"])) for key in keys]
        names = [layout.image(key, notes) for key, notes in zip(keys, each, strict=True)]
        digest = hashlib.sha256(repr((names, classes)).encode())
        for notes in each:
            digest.update(notes.digest)
        super().__init__(
            folder=layout.images,
            names=names,
            sizes=np.array([notes.size for notes in each], np.int64).reshape(-1, 2),
            table=_table(each, {name: label for label, name in enumerate(classes)}),
            classes=classes,
            files=[layout.notes.get(key, layout.annotations / f"{key}.xml") for key in keys],
            counted="object",
            fingerprint=digest.hexdigest()[:32],
            splits=layout.splits,
            faults={id: notes.faults for id, notes in enumerate(each) if notes.faults},
        )


@dataclass(frozen=True)
class _Object:
    name: str
    box: tuple[float, ...]
    difficult: bool
    number: int


@dataclass
class _Notes:
    """What an XML file says; size: (width, height), zeros where it does not say."""

    digest: bytes = b""
    filename: str = ""
    size: tuple[int, int] = (0, 0)
    objects: list[_Object] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class _Layout:
    """Where XML files, images and lists lie. A key is a path without suffix, the same for image and XML.

    notes: the XML file of each key. splits: names of lists or folders.
    """

    def __init__(self, root: Path) -> None:
        self.annotations = next((root / name for name in _ANNOTATIONS if (root / name).is_dir()), root)
        apart = self.annotations != root
        self.images = next((root / name for name in _IMAGES if apart and (root / name).is_dir()), root)
        self.notes = {stem(name): self.annotations / name for name in files_below(self.annotations, ".xml")}
        if not self.notes:
            raise DataError(
                f"{root}: holds no XML files, neither in itself nor in Annotations; is it a VOC folder?"
            )
        self._names = {stem(name): name for name in images_below(self.images)}
        lists = [] if not apart else sorted((root / "ImageSets" / "Main").glob("*.txt"))
        self._lists = {path.stem: path for path in lists if not _OF_ONE_CLASS.match(path.stem)}
        folders = {key.partition("/")[0] for key in self.notes if "/" in key}
        self.splits: tuple[str, ...] = tuple(self._lists) or tuple(
            name for name in _FOLDERS if name in folders
        )
        self._root = root

    def keys(self, split: str | None) -> list[str]:
        """The images of a split, or of the whole."""
        if split is None:
            split = "train" if "train" in self.splits else None
        if split is not None and split not in self.splits:
            hint = f"(splits are lists in ImageSets/Main, or folders, of {self._root})"
            raise UnknownNameError("split", split, self.splits, hint)
        if split in self._lists:
            lines = self._lists[split].read_text(encoding="utf-8", errors="replace").splitlines()
            return [line.split()[0] for line in lines if line.strip()]
        keys = sorted(self.notes.keys() | self._names.keys())
        return keys if split is None else [key for key in keys if key.startswith(f"{split}/")]

    def image(self, key: str, notes: _Notes) -> str:
        """The image of a key: that of the same name, else what the XML file calls it."""
        if key in self._names:
            return self._names[key]
        named = notes.filename
        return named if named and (why_refused(named) or (self.images / named).is_file()) else f"{key}.jpg"


def _read(path: Path) -> _Notes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        return _Notes(faults=[f"cannot be read: {error.strerror}"])
    notes = _Notes(hashlib.sha256(raw).digest())
    try:
        root = parsed(raw)
    except DataError as error:
        notes.faults.append(str(error))
        return notes
    notes.filename = text_of(root, "filename") or ""
    size = root.find("size")
    if size is not None:
        sides = [number_of(size, side) or 0 for side in ("width", "height")]
        if all(math.isfinite(side) and side >= 1 for side in sides):
            notes.size = (int(sides[0]), int(sides[1]))
    for number, element in enumerate(root.iter("object"), start=1):
        try:
            notes.objects.append(_object(element, number))
        except DataError as error:
            notes.faults.append(f"object {number}: {error}")
    return notes


def _object(element: Element, number: int) -> _Object:
    name, corners = text_of(element, "name"), element.find("bndbox")
    if name is None:
        raise DataError("has no name, so no class")
    values = [None if corners is None else number_of(corners, corner) for corner in _CORNERS]
    missing = [corner for corner, value in zip(_CORNERS, values, strict=True) if value is None]
    if missing:
        raise DataError(f"its bndbox has no number {', '.join(missing)}")
    left, top, right, bottom = (value for value in values if value is not None)
    return _Object(name, (left - 1, top - 1, right, bottom), text_of(element, "difficult") == "1", number)


def _table(each: Sequence[_Notes], labels: Mapping[str, int]) -> Table:
    builder = TableBuilder()
    for image, notes in enumerate(each):
        for one in notes.objects:
            builder.add(image, one.box, labels[one.name], one.number, crowd=one.difficult)
    return builder.table(len(each), masks=False)
