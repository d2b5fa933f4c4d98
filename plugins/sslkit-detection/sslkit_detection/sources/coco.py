"""COCO JSON: one file of images, categories and annotations (cocodataset.org, "Data format")."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sslkit.errors import DataError, UnknownNameError
from sslkit_detection.sources.annotations import SET, AnnotatedImages, TableBuilder
from sslkit_detection.sources.image_files import why_refused

_LOOKED_AT = 16  # file names tried in a folder before it is taken for the folder of images
_INSTANCES = "instances_"  # before the split in the names of COCO's own files


class CocoSource(AnnotatedImages):
    """The images of an annotation file, with boxes, or with masks too.

    path: the JSON; or a folder that holds several, in itself or in `annotations`, of which `split` names one
    ("train2017" is instances_train2017.json), by default train. images: the folder of images, by default the
    one where they are found: beside the JSON, or in a folder near it. Categories are sorted by their ids,
    which may have gaps: label k is the k-th. Images without annotations stay. Raises DataError for a file
    that is missing or no JSON (with line and column) or holds no images, or whose images are nowhere.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        images: str | None = None,
        masks: bool = False,
        split: str | None = None,
    ) -> None:
        self.path, splits = _annotation_file(Path(path).absolute(), split)
        raw = _read(self.path)
        document = _parsed(raw, self.path)
        self._noted: dict[int, list[str]] = defaultdict(list)
        labels, classes = self._categories(document)
        entries = self._images(document)
        names = [str(entry["file_name"]) for entry in entries.values()]
        super().__init__(
            folder=_folder_of_images(self.path, names, images),
            names=names,
            sizes=np.array([_size(entry) for entry in entries.values()], np.int64).reshape(-1, 2),
            table=self._objects(document, {id: place for place, id in enumerate(entries)}, labels).table(
                len(entries), masks=masks
            ),
            classes=classes,
            files=self.path,
            counted="annotation",
            fingerprint=hashlib.sha256(raw + (b"masks" if masks else b"boxes")).hexdigest()[:32],
            splits=splits,
            faults=self._noted,
        )

    def _categories(self, document: Mapping[str, Any]) -> tuple[dict[int, int], list[str]]:
        """Category id to label, and the names; a name given twice gets its id behind it."""
        found: dict[int, str] = {}
        for place, entry in self._entries(document, "categories"):
            id = entry.get("id")
            if type(id) is not int or not isinstance(entry.get("name"), str):
                self._noted[SET].append(f"category {place}: needs a whole number 'id' and a text 'name'")
            elif id in found:
                self._noted[SET].append(f"category {id}: its id is given twice")
            else:
                found[id] = entry["name"]
        names = [found[id] for id in sorted(found)]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self._noted[SET].append(f"categories: the name '{name}' is given twice")
        shown = [name if names.count(name) == 1 else f"{name} ({id})" for id, name in sorted(found.items())]
        return {id: label for label, id in enumerate(sorted(found))}, shown

    def _images(self, document: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
        """Entries of images by id, in the order of the file."""
        if not isinstance(document.get("images"), list):
            raise DataError(f"{self.path}: has no list 'images', so it is no COCO annotation file")
        found: dict[int, Mapping[str, Any]] = {}
        names: set[str] = set()
        for place, entry in self._entries(document, "images"):
            id, name = entry.get("id"), entry.get("file_name")
            if type(id) is not int or not isinstance(name, str):
                self._noted[SET].append(f"image {place}: needs a whole number 'id' and a text 'file_name'")
            elif id in found:
                self._noted[SET].append(
                    f"image '{name}': its id {id} is that of '{found[id]['file_name']}' too"
                )
            else:
                if name in names:
                    self._noted[SET].append(f"image '{name}': is listed twice, the second time with id {id}")
                found[id] = entry
                names.add(name)
        return found

    def _objects(
        self, document: Mapping[str, Any], places: Mapping[int, int], labels: Mapping[int, int]
    ) -> TableBuilder:
        builder, seen = TableBuilder(), set()
        for number, entry in self._entries(document, "annotations"):
            id = entry.get("id")
            mark = id if type(id) is int else number
            if mark in seen:
                self._noted[SET].append(f"annotation {mark}: its id is given twice")
            seen.add(mark)
            owner = _whole(entry.get("image_id"))
            image = None if owner is None else places.get(owner)
            if image is None:
                unknown = entry.get("image_id")
                self._noted[SET].append(f"annotation {mark}: its image_id {unknown!r} is that of no image")
                continue
            category = _whole(entry.get("category_id"))
            label = None if category is None else labels.get(category)
            box = _box(entry.get("bbox"))
            if label is None:
                unknown = entry.get("category_id")
                self._noted[image].append(f"annotation {mark}: its category_id {unknown!r} is no category")
            elif box is None:
                self._noted[image].append(
                    f"annotation {mark}: its bbox is not four numbers x, y, width, height"
                )
            else:
                builder.add(
                    image,
                    box,
                    label,
                    mark,
                    crowd=bool(entry.get("iscrowd", 0)),
                    area=_number(entry.get("area")),
                    outline=entry.get("segmentation"),
                )
        return builder

    def _entries(self, document: Mapping[str, Any], key: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """The mappings of a list with their numbers from 1; others are noted."""
        listed = document.get(key, [])
        if not isinstance(listed, list):
            raise DataError(f"{self.path}: '{key}' is no list")
        for number, entry in enumerate(listed, start=1):
            if isinstance(entry, dict):
                yield number, entry
            else:
                self._noted[SET].append(f"entry {number} of '{key}' is no mapping")


def _annotation_file(path: Path, split: str | None) -> tuple[Path, tuple[str, ...]]:
    """The JSON meant, and the splits there are to choose from."""
    if not path.is_dir():
        if split is not None:
            raise UnknownNameError(
                "split", split, (), "An annotation file is one set; give the folder above."
            )
        return path, ()
    found = {
        file.stem.removeprefix(_INSTANCES): file
        for folder in (path / "annotations", path)
        for file in sorted(folder.glob("*.json"))
    }
    found |= {file.parent.name: file for file in sorted(path.glob("*/_annotations.coco.json"))}
    if not found:
        raise DataError(
            f"{path}: holds no JSON, neither in itself nor in 'annotations'; give the annotation file"
        )
    wanted = split or ("train" if "train" in found or len(found) > 1 else next(iter(found)))
    if wanted not in found:
        raise UnknownNameError("split", wanted, found, f"(splits are the JSON files in {path})")
    return found[wanted], tuple(found) if len(found) > 1 else ()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the annotation file {path}: {error.strerror}") from error


def _parsed(raw: bytes, path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(raw)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{path}, {where}: broken JSON ({error.msg}); was it copied to its end?") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON text ({type(error).__name__})") from error
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise DataError(f"{path}: is a {kind}, not a mapping of images, categories and annotations")
    return document


def _folder_of_images(path: Path, names: list[str], given: str | None) -> Path:
    """Where the first images are, tried in a few places; the folder given needs no proof."""
    if given is not None:
        folder = next((one for one in (Path(given).absolute(), path.parent / given) if one.is_dir()), None)
        if folder is None:
            raise DataError(f"images={given}: no such folder, neither here nor beside {path}")
        return folder
    here, above = path.parent, path.parent.parent
    split = path.stem.rpartition("_")[2]
    places = [here, above / "images", here / "images", above]
    places += [root / split for root in (here, above, above / "images")]
    tried = [name for name in names[:_LOOKED_AT] if not why_refused(name)]
    if not tried:
        return here
    counts = [sum((place / name).is_file() for name in tried) for place in places]
    if not any(counts):
        shown = ", ".join(str(place) for place in places)
        raise DataError(
            f"{path}: none of its first {len(tried)} images, such as '{tried[0]}', is in {shown}; "
            "say where with images=FOLDER"
        )
    return places[counts.index(max(counts))]


def _size(entry: Mapping[str, Any]) -> tuple[int, int]:
    """(width, height), zeros where they are not said."""
    width, height = (_whole(entry.get(side)) or 0 for side in ("width", "height"))
    return (width, height) if 0 < width < 2**31 and 0 < height < 2**31 else (0, 0)


def _box(value: Any) -> tuple[float, float, float, float] | None:
    """x, y, width, height to xyxy."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in value):
        return None
    x, y, width, height = map(_number, value)
    return x, y, x + width, y + height


def _whole(value: Any) -> int | None:
    """A whole number, also where it is written as 7.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan
