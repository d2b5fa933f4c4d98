"""Which class the numbers or colours in masks stand for. Shapes: K classes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sslkit.contracts import IGNORE
from sslkit.errors import ConfigError, DataError
from sslkit_segmentation.sources.mask_files import read_colours, read_ids

UNLABELLED = frozenset({"unlabelled", "unlabeled", "void", "ignore"})
"""Classes of these names (in any case) are no classes: their pixels are ignored."""

_FOUND = ("classes.json", "classes.txt")
_SHOWN = 5
# CamVid's "r g b<tab>name", and "name,r,g,b" or "name:r,g,b::" as CVAT writes it.
_NUMBERS = r"(?P<r>\d+)[\s,;]+(?P<g>\d+)[\s,;]+(?P<b>\d+)"
_LINES = (
    re.compile(rf"\s*{_NUMBERS}[\s,;:]+(?P<name>\S.*?)[\s:;,]*$"),
    re.compile(rf"\s*(?P<name>\S.*?)[\s,;:]+{_NUMBERS}[\s:;,]*$"),
)
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassTable:
    """classes: label k is classes[k]. labels: int16 (256,), id to label, IGNORE, or -1 for ids of no class.

    colours: int64 codes r << 16 | g << 8 | b by id, or None where masks hold ids. file: where they are from.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    colours: np.ndarray | None = None
    file: Path | None = None

    @classmethod
    def of(cls, names: Mapping[int, str], ignore: int | None = None, **rest: Any) -> ClassTable:
        """From names by id: labels are 0..K-1 in the order of ids, without those ignored, which close up."""
        if ignore is not None and (type(ignore) is not int or not 0 <= ignore <= IGNORE):
            raise ConfigError(f"ignore={ignore!r} is no id in masks; ids are 0..{IGNORE}")
        labels = np.full(IGNORE + 1, -1, np.int16)
        classes: list[str] = []
        for id, name in sorted(names.items()):
            ignored = id in (ignore, IGNORE) or name.casefold() in UNLABELLED
            labels[id] = IGNORE if ignored else len(classes)
            classes += [] if ignored else [name]
        labels[[IGNORE] if ignore is None else [IGNORE, ignore]] = IGNORE
        if not classes:
            raise DataError("no class is left to learn: all are ignored")
        return cls(tuple(classes), labels, **rest)

    def read(self, path: Path) -> np.ndarray:
        """Ids of a mask, uint8 (H, W); raises DataError that says what is wrong in it."""
        if self.colours is None:
            return read_ids(path)
        codes = read_colours(path)
        order = np.argsort(self.colours)
        place = np.searchsorted(self.colours, codes, sorter=order).clip(max=len(order) - 1)
        ids: np.ndarray = order[place].astype(np.uint8)
        stray = np.unique(codes[self.colours[ids] != codes]).tolist()
        if stray:
            shown = ", ".join(f"({code >> 16}, {code >> 8 & 255}, {code & 255})" for code in stray[:_SHOWN])
            more = f" and {len(stray) - _SHOWN} more" if len(stray) > _SHOWN else ""
            raise DataError(f"holds colours {shown}{more} that {self.file} does not name")
        return ids

    def stray(self, histogram: np.ndarray) -> str | None:
        """What is wrong with pixels by id, int64 (256,), or None."""
        wrong = np.flatnonzero((histogram > 0) & (self.labels < 0)).tolist()
        if not wrong:
            return None
        shown = ", ".join(map(str, wrong[:_SHOWN])) + (", ..." if len(wrong) > _SHOWN else "")
        known = np.flatnonzero((self.labels >= 0) & (self.labels != IGNORE)).tolist()
        gapless = known == list(range(known[0], known[-1] + 1))
        allowed = f"{known[0]}..{known[-1]}" if gapless else ", ".join(map(str, known))
        mend = f"name the class, or say ignore={wrong[0]}"
        return f"holds ids {shown} that no class has; ids are {allowed}; {mend}"

    def counts(self, histogram: np.ndarray) -> np.ndarray:
        """Pixels by id, int64 (256,), to pixels by label, int64 (K,)."""
        learnt = (self.labels >= 0) & (self.labels != IGNORE)
        return np.bincount(self.labels[learnt], histogram[learnt], len(self.classes)).astype(np.int64)


def class_table(
    root: Path,
    *,
    classes: str | None,
    colours: str | None,
    ignore: int | None,
    highest: Callable[[], int],
) -> ClassTable:
    """The table a folder or a user gives; `highest` tells the largest id in masks, where nobody names any.

    Raises ConfigError for options that contradict each other, DataError for files that cannot be used.
    """
    if classes is not None and colours is not None:
        raise ConfigError(
            f"classes={classes} and colours={colours}: colours name the classes too; leave one out"
        )
    if colours is not None:
        file = _file(root, colours, "colours")
        rows = _colours(file)
        codes = np.array([r << 16 | g << 8 | b for _, (r, g, b) in rows], np.int64)
        if len(set(codes.tolist())) < len(rows):
            raise DataError(f"{file}: gives one colour to two classes")
        names = dict(enumerate(name for name, _ in rows))
        return ClassTable.of(_checked(names, file), ignore, colours=codes, file=file)
    places = [_file(root, classes, "classes")] if classes is not None else [root / name for name in _FOUND]
    for file in places:
        if file.is_file():
            return ClassTable.of(_checked(_names(file), file), ignore, file=file)
    return ClassTable.of({id: str(id) for id in range(highest() + 1)}, ignore)


def _file(root: Path, given: str, option: str) -> Path:
    for file in (root / given, Path(given).absolute()):
        if file.is_file():
            return file
    raise DataError(f"{option}={given}: no such file, neither in {root} nor here")


def _names(file: Path) -> dict[int, str]:
    """Names by id, from a JSON list or mapping of ids, or from lines."""
    text = _text(file)
    if file.suffix.lower() != ".json":
        return dict(enumerate(line.strip() for line in text.rstrip().splitlines()))
    document = _json(text, file)
    if isinstance(document, list):
        return dict(enumerate(str(name) for name in document))
    if isinstance(document, dict) and all(re.fullmatch(r"\d{1,3}", id) for id in document):
        return {int(id): str(name) for id, name in document.items()}
    raise DataError(f'{file}: must be a list of names, or a mapping of ids to names, such as {{"0": "sky"}}')


def _colours(file: Path) -> list[tuple[str, Colour]]:
    """Names and colours, from a JSON mapping or from lines of name and r, g, b in either order."""
    text = _text(file)
    if file.suffix.lower() == ".json":
        document = _json(text, file)
        if not isinstance(document, dict):
            raise DataError(
                f'{file}: must be a mapping of names to [r, g, b], such as {{"sky": [0, 0, 255]}}'
            )
        return [(name, _colour(colour, f"{file}, '{name}'")) for name, colour in document.items()]
    rows: list[tuple[str, Colour]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        found = next((match for match in (pattern.match(line) for pattern in _LINES) if match), None)
        if found:
            where = f"{file}, line {number}"
            rows.append((found["name"], _colour([int(found[band]) for band in "rgb"], where)))
        elif line.strip() and not line.startswith("#") and (rows or re.search(r"\d", line)):
            said = repr(line.strip()[:60])
            raise DataError(f"{file}, line {number}: {said} is no name with three numbers r, g, b")
    return rows


def _colour(value: Any, where: str) -> Colour:
    sound = isinstance(value, list) and len(value) == 3 and all(type(one) is int for one in value)
    if not sound or not all(0 <= one <= 255 for one in value):
        raise DataError(f"{where}: its colour is {str(value)[:60]}; it must be r, g, b of 0..255")
    return value[0], value[1], value[2]


def _checked(names: Mapping[int, str], file: Path) -> Mapping[int, str]:
    """Names that can be those of classes; raises DataError."""
    given = list(names.values())
    if not given or not all(given):
        raise DataError(f"{file}: names no class, or has an empty line where a name should be")
    if max(names) > IGNORE or len(given) > IGNORE:
        raise DataError(f"{file}: names {len(given)} classes up to id {max(names)}; ids are 0..{IGNORE - 1}")
    twice = sorted({name for name in given if given.count(name) > 1})
    if twice:
        raise DataError(f"{file}: gives the name '{twice[0]}' to two classes")
    return names


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as text ({error})") from error


def _json(text: str, file: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: broken JSON: {error}") from error
