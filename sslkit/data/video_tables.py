"""Tables of videos: a .csv with a header, such as those of Kinetics (Kay et al. 2017) or one's own."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from sslkit.data.decode.suffixes import VIDEO_EXTENSIONS
from sslkit.data.listed_videos import SPLITS, Listed, VideoList, found_group, group_pattern, is_video, lines
from sslkit.errors import DataError

_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_LABEL_NAMES = ("action", "class", "class_name", "label_name", "name")
_GROUPS = ("group", "subject")


def is_table(file: Path) -> bool:
    """Whether the first line of a file is the header of a table of videos."""
    text = file.suffix.lower() in (".csv", ".txt") and next(lines(file), (1, ""))[1]
    return bool({"path", "youtube_id"} & set(_header((text or "").split(","))))


def read_tables(files: Sequence[Path], group: str | None) -> VideoList:
    """All rows of tables of one kind; a file called as a split is one, where it has no column for it.

    Columns: `path`, or `youtube_id`, `time_start` and `time_end`; and any of `label`, `split`, `group`,
    `subject` and, where labels are numbers, `action` or `class`. group: another column or a pattern. Raises
    DataError with file and line.
    """
    videos: list[Listed] = []
    classes = _Classes()
    kinds = set()
    for file in files:
        try:
            with file.open(encoding="utf-8-sig", newline="") as opened:
                reader = csv.reader(opened, strict=True)
                columns = _Columns(file, _header(next(row for row in reader if row)), group)
                kinds.add(columns.of_kinetics)
                videos.extend(columns.video(row, reader.line_num, classes) for row in reader if row)
        except csv.Error as error:
            raise DataError(f"{file}, line {reader.line_num}: {error}; it is no sound .csv") from error
    if len(kinds) > 1:
        raise DataError(f"{files[0].parent} holds tables of Kinetics and others; name one file")
    bare = next((video for video in videos if video.label is None and video.split != "test"), None)
    if bare is not None and any(video.label is not None for video in videos):
        raise DataError(f"{bare.at}: no label though others have one; only those of the test may lack it")
    return VideoList(tuple(videos), classes.sorted(), gaps=kinds == {True})


def _header(row: Sequence[str]) -> list[str]:
    return [name.strip().lower() for name in row]


class _Classes:
    """The classes seen so far; those that have numbers keep one each."""

    def __init__(self) -> None:
        self._number: dict[str, str] = {}
        self._name: dict[str, str] = {}

    def add(self, label: str, name: str, at: str) -> str | None:
        """The class of a row, by its name where the label is a number; None where it has none."""
        label = label or name
        name = name if label.isdecimal() and name else label
        if not name:
            return None
        if self._number.setdefault(name, label) != label:
            raise DataError(f"{at}: the class '{name}' is number {label}, and {self._number[name]} before")
        if self._name.setdefault(label, name) != name:
            raise DataError(f"{at}: number {label} is the class '{name}', and '{self._name[label]}' before")
        return name

    def sorted(self) -> tuple[str, ...]:
        """By number where all have one, else by name."""
        counted = all(number.isdecimal() for number in self._number.values())
        order = {name: int(number) if counted else 0 for name, number in self._number.items()}
        return tuple(sorted(order, key=lambda name: (order[name], name)))


class _Columns:
    """The columns of one table, and how its rows are read."""

    def __init__(self, file: Path, header: Sequence[str], group: str | None) -> None:
        self._file, self._header = file, header
        if twice := {name for name in header if header.count(name) > 1}:
            raise DataError(f"{file}, line 1: the column '{min(twice)}' is there twice")
        self.of_kinetics = "youtube_id" in header
        self._split = _SPLIT_WORDS.get(file.stem.lower())
        own = next((name for name in _GROUPS if name in header), None)
        self._group = own if group is None else group if group in header else None
        self._pattern = None if group is None or group in header else group_pattern(group)

    def video(self, row: Sequence[str], line: int, classes: _Classes) -> Listed:
        """The video of a row."""
        at = f"{self._file}, line {line}"
        if len(row) != len(self._header):
            raise DataError(f"{at}: {len(row)} values for the {len(self._header)} columns of the first line")
        of = {name: value.strip() for name, value in zip(self._header, row, strict=True)}
        split = of.get("split", "").lower()
        if split and split not in _SPLIT_WORDS:
            raise DataError(f"{at}: split '{of['split']}'; use {', '.join(SPLITS)}")
        named = next((of[name] for name in _LABEL_NAMES if of.get(name)), "")
        label = classes.add(of.get("label", ""), named, at)
        names, seconds = _youtube(of, label, at) if self.of_kinetics else ((_path(of["path"], at),), None)
        group = of.get(self._group or "youtube_id") or None
        video = Listed(names, at, label, _SPLIT_WORDS.get(split, self._split), group, seconds)
        if self._pattern is not None:
            return video._replace(group=found_group(self._pattern, video))
        if self._group is not None and group is None:
            raise DataError(f"{at}: no {self._group} though the table has a column for it")
        return video


def _path(path: str, at: str) -> str:
    if not is_video(path):
        known = " ".join(sorted(VIDEO_EXTENSIONS))
        raise DataError(f"{at}: '{path}' is no path of a video; they end in {known}")
    return path


def _youtube(of: dict[str, str], label: str | None, at: str) -> tuple[tuple[str, ...], tuple[float, float]]:
    """The names a video of Kinetics goes by, without endings, and the seconds that are meant."""
    try:
        start, end = float(of["time_start"]), float(of["time_end"])
    except (KeyError, ValueError):
        start = end = -1.0
    if not 0 <= start < end or not re.fullmatch(r"[\w-]+", of["youtube_id"]):
        raise DataError(f"{at}: expected youtube_id, time_start and time_end in seconds; got {of}")
    names = (f"{of['youtube_id']}_{start:06.0f}_{end:06.0f}", of["youtube_id"])
    folders = () if label is None else (f"{label}/", f"{label.replace(' ', '_')}/")
    return tuple(f"{folder}{name}" for name in names for folder in (*folders, "")), (start, end)
