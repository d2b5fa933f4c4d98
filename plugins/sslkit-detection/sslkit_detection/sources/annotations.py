"""What all sources of annotated images share: targets, problems and counts from one table of objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sslkit.contracts import Item, Objects, Refused
from sslkit.errors import DataError
from sslkit_detection.sources.image_files import read_stored, why_refused
from sslkit_detection.sources.outlines import TOLERANCE, check_outline, decoded_mask

SET = -1
"""Stands for the id where a fault is one of the whole set."""

_MOST_PIXELS = 178_956_970  # Pillow's own bound; a forged size must not become a mask of gigabytes


@dataclass(frozen=True)
class Table:
    """All objects of a set, those of image i in rows starts[i]:starts[i + 1]. N images, A objects.

    starts: int64 (N + 1,). boxes: float64 (A, 4) xyxy, pixels or shares of the image's sides. labels: int64
    (A,). crowd: bool (A,). areas: float64 (A,), NaN where none is given. marks: int64 (A,), the number by
    which the file knows the object. outlines: polygons (of the unit of boxes) or run lengths, or None.
    """

    starts: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    marks: np.ndarray
    outlines: Sequence[Any] | None = None

    def owners(self) -> np.ndarray:
        """The image of each object, int64 (A,)."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


class TableBuilder:
    """Takes in objects in any order of their images."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, Sequence[float], int, bool, float, int]] = []
        self._outlines: list[Any] = []

    def add(
        self,
        image: int,
        box: Sequence[float],
        label: int,
        mark: int,
        *,
        crowd: bool = False,
        area: float = float("nan"),
        outline: Any = None,
    ) -> None:
        """One object of an image; mark is its number in the file."""
        self._rows.append((image, box, label, crowd, area, mark))
        self._outlines.append(outline)

    def table(self, images: int, *, masks: bool) -> Table:
        """All of them by image, in the order they came."""
        owners = np.array([row[0] for row in self._rows], np.int64)
        order = np.argsort(owners, kind="stable")
        _, boxes, labels, crowd, areas, marks = zip(*self._rows, strict=True) if self._rows else [()] * 6
        return Table(
            starts=np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=images))]).astype(np.int64),
            boxes=np.array(boxes, np.float64).reshape(-1, 4)[order],
            labels=np.array(labels, np.int64)[order],
            crowd=np.array(crowd, bool)[order],
            areas=np.array(areas, np.float64)[order],
            marks=np.array(marks, np.int64)[order],
            outlines=[self._outlines[place] for place in order.tolist()] if masks else None,
        )


class AnnotatedImages:
    """Images with objects, a `LabelledSource`; formats fill it by its constructor.

    folder, names: the images are folder / name. sizes: int64 (N, 2), (width, height) as annotated, 0 where
    the annotations do not say. files: what the annotations were read from, one for all or one each. counted:
    what the format calls an object, such as "line". shares: boxes and polygons are shares of the sides.
    faults: what reading found, by id, or by SET. An image with a fault has no target.
    """

    labels: np.ndarray | None = None  # of whole images; objects have theirs in the targets
    native_side: int | None = None

    def __init__(
        self,
        *,
        folder: Path,
        names: Sequence[str],
        sizes: np.ndarray,
        table: Table,
        classes: Sequence[str],
        files: Path | Sequence[Path],
        counted: str,
        fingerprint: str,
        splits: Sequence[str] = (),
        faults: Mapping[int, Sequence[str]] | None = None,
        shares: bool = False,
    ) -> None:
        if not names:
            raise DataError(f"{files if isinstance(files, Path) else folder} lists no images")
        self.classes: Sequence[str] = tuple(classes)
        self.splits: Sequence[str] = tuple(splits)
        self.fingerprint = fingerprint
        self.target_kind = "boxes" if table.outlines is None else "masks"
        self._folder, self._names, self._sizes, self._table = folder, names, sizes, table
        self._files, self._counted, self._shares = files, counted, shares
        self._faults = dict(faults or {})

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, id: int) -> Item:
        name = self._name(id)
        refused = why_refused(name)
        if refused:
            return Item(Refused(f"{self._where(id)}: {refused}"), name or "(no name)")
        return Item(self._folder / name, name)

    def target(self, id: int) -> Objects:
        """The objects of an image in its pixels, boxes float32; raises DataError for faulty annotations.

        What leaves the image by no more than a pixel, as in real sets, is clipped.
        """
        self._name(id)
        if id in self._faults:
            raise DataError(f"{self._where(id)}: {self._faults[id][0]}")
        table, rows = self._table, slice(*self._table.starts[id : id + 2].tolist())
        width, height = self._size(id)
        boxes = self._pixels(table.boxes[rows], np.array([[width, height]]))
        for row, fault in _box_faults(boxes, np.array([[width, height]])):
            raise DataError(f"{self._where(id)}, {self._counted} {table.marks[rows][row]}: {fault}")
        given = table.areas[rows]
        return Objects(
            boxes=torch.from_numpy(np.clip(boxes, 0, [width, height, width, height]).astype(np.float32)),
            labels=torch.from_numpy(table.labels[rows].copy()),
            masks=self._masks(id, rows, width, height),
            crowd=torch.from_numpy(table.crowd[rows].copy()),
            areas=None if np.isnan(given).all() else torch.from_numpy(_areas(given, boxes)),
        )

    def problems(self) -> list[str]:
        """All faults of annotations and image files, one line each; reads every image's header."""
        lines = [f"{self._where(SET)}: {fault}" for fault in self._faults.get(SET, ())]
        sizes = self._sizes.copy()
        for id in range(len(self)):
            lines += [f"{self._where(id)}: {fault}" for fault in self._faults.get(id, ())]
            fault = self._file_fault(id, sizes)
            if fault:
                lines.append(f"{self._where(id)}: {fault}")
        return lines + list(self._object_faults(sizes))

    def class_counts(self) -> np.ndarray:
        """Objects of each class in each image, int64 (N, K); those of no known class are not counted."""
        known = self._table.labels < len(self.classes)
        owners, count = self._table.owners()[known], len(self.classes)
        cells = owners * count + self._table.labels[known]
        return np.bincount(cells, minlength=len(self) * count).reshape(len(self), count).astype(np.int64)

    def _name(self, id: int) -> str:
        if not 0 <= id < len(self):
            raise IndexError(f"id {id} is outside 0..{len(self) - 1}")
        return self._names[id]

    def _where(self, id: int) -> str:
        file = (
            self._files if isinstance(self._files, Path) else self._files[id] if id != SET else self._folder
        )
        return f"{file}" if id == SET else f"{file}, image '{self._names[id]}'"

    def _size(self, id: int) -> tuple[int, int]:
        """(width, height) as annotated, else as the upright image has them."""
        width, height = self._sizes[id].tolist()
        if width * height > _MOST_PIXELS:
            raise DataError(
                f"{self._where(id)}: is annotated as {width} x {height}, larger than any image read"
            )
        if width > 0 and height > 0:
            return width, height
        try:
            if why_refused(self._names[id]):
                raise DataError("its file must not be read")
            return read_stored(self._folder / self._names[id]).upright
        except DataError as error:
            raise DataError(f"{self._where(id)}: has no size, and {error}") from error

    def _pixels(self, boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        return boxes * np.tile(sizes, 2) if self._shares else boxes

    def _outline(self, row: int, width: int, height: int) -> Any:
        assert self._table.outlines is not None
        outline = self._table.outlines[row]
        if not self._shares or not isinstance(outline, list):
            return outline
        return [(np.reshape(one, (-1, 2)) * (width, height)).ravel().tolist() for one in outline]

    def _masks(self, id: int, rows: slice, width: int, height: int) -> torch.Tensor | None:
        if self._table.outlines is None:
            return None
        masks = np.zeros((rows.stop - rows.start, height, width), bool)
        for place, row in enumerate(range(rows.start, rows.stop)):
            try:
                masks[place] = decoded_mask(self._outline(row, width, height), width, height)
            except DataError as error:
                mark = self._table.marks[row]
                raise DataError(f"{self._where(id)}, {self._counted} {mark}: {error}") from error
        return torch.from_numpy(masks)

    def _file_fault(self, id: int, sizes: np.ndarray) -> str | None:
        """What is wrong with the image's file; fills in its size where the annotations have none."""
        refused = why_refused(self._names[id])
        if refused:
            return refused
        try:
            stored = read_stored(self._folder / self._names[id])
        except DataError as error:
            return f"{error}: {self._folder / self._names[id]}"
        width, height = sizes[id].tolist()
        if width <= 0 or height <= 0:
            sizes[id] = stored.upright
        elif (width, height) == (stored.width, stored.height) and stored.upright != (width, height):
            return (
                f"is annotated as {width} x {height}, but EXIF turns it to {height} x {width} when it is "
                "shown; store it upright, or annotate it so"
            )
        elif (width, height) != stored.upright:
            shown = f"{stored.upright[0]} x {stored.upright[1]}"
            return f"is annotated as {width} x {height}, the file has {shown} pixels"
        return None

    def _object_faults(self, sizes: np.ndarray) -> Iterator[str]:
        table, owners = self._table, self._table.owners()
        known = np.flatnonzero((sizes[owners] > 0).all(axis=1))
        each = sizes[owners[known]]
        found = {}
        for place, fault in _box_faults(self._pixels(table.boxes[known], each), each):
            found[int(known[place])] = fault
        for row in known.tolist() if table.outlines is not None else ():
            if row not in found:
                width, height = sizes[owners[row]].tolist()
                try:
                    check_outline(self._outline(row, width, height), width, height)
                except DataError as error:
                    found[row] = str(error)
        for row, fault in sorted(found.items()):
            yield f"{self._where(int(owners[row]))}, {self._counted} {table.marks[row]}: {fault}"


def _areas(given: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """float32 (K,), the box's where none is given."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.where(np.isnan(given), sides.prod(axis=1), given).astype(np.float32)


def _box_faults(boxes: np.ndarray, sizes: np.ndarray) -> Iterator[tuple[int, str]]:
    """Rows of boxes (A, 4) xyxy that cannot be used in images of sizes (A or 1, 2), and why."""
    sides = boxes[:, 2:] - boxes[:, :2]
    finite = np.isfinite(boxes).all(axis=1)
    beyond = np.maximum(-boxes[:, :2], boxes[:, 2:] - sizes).max(axis=1)
    clipped = np.minimum(boxes[:, 2:], sizes) - np.maximum(boxes[:, :2], 0)
    sound = finite & (sides > 0).all(axis=1) & (beyond <= TOLERANCE) & (clipped > 0).all(axis=1)
    for row in np.flatnonzero(~sound).tolist():
        box = f"box ({', '.join(f'{value:g}' for value in boxes[row])})"
        width, height = sizes[row if len(sizes) > 1 else 0].tolist()
        if not finite[row]:
            fault = "holds a number that is not finite"
        elif (sides[row] < 0).any():
            fault = "ends before it begins: its right is left of its left, or its bottom above its top"
        elif (sides[row] == 0).any():
            fault = "has no area"
        else:
            fault = f"leaves the image of {width} x {height} by {max(beyond[row], 0):.1f} pixels"
        yield row, f"{box} {fault}"
