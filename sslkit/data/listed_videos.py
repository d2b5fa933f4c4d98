"""The videos that a list names, and what reading its lines takes, whatever its form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sslkit.data.decode.suffixes import VIDEO_EXTENSIONS
from sslkit.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")


class Listed(NamedTuple):
    """One video of a list.

    names: where it may lie inside the root, the first that is there counts; without an ending where the list
    gives none. at: "FILE, line 3". split: one of SPLITS. seconds: (start, end) of the part that is meant.
    """

    names: tuple[str, ...]
    at: str
    label: str | None = None
    split: str | None = None
    group: str | None = None
    seconds: tuple[float, float] | None = None


@dataclass(frozen=True)
class VideoList:
    """What a list holds. classes: in the order of the list's own numbers, else sorted.

    gaps: whether videos are expected to be missing, as those of Kinetics that left the web.
    """

    videos: tuple[Listed, ...]
    classes: tuple[str, ...]
    gaps: bool = False


def lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that hold something, stripped, and their numbers from 1; raises DataError."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DataError(f"cannot read the list {file}: {said}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def broken(file: Path, line: int, text: str, expected: str) -> DataError:
    """The error for a line that is not of its form."""
    return DataError(f"{file}, line {line}: expected {expected}; got {text!r}")


def is_video(name: str) -> bool:
    """Whether a name ends as one of a video."""
    return Path(name).suffix.lower() in VIDEO_EXTENSIONS


def group_pattern(group: str) -> re.Pattern[str]:
    """What finds the group in a name; raises ConfigError."""
    try:
        return re.compile(group)
    except re.error as error:
        raise ConfigError(f"group={group!r} is neither a column nor a pattern: {error}") from error


def found_group(pattern: re.Pattern[str], video: Listed) -> str:
    """What the first bracket of the pattern, else all of it, finds in a video's name; raises DataError."""
    match = pattern.search(video.names[0])
    if match is None:
        mend = "write a pattern that finds something in every name, or the name of a column"
        raise DataError(f"{video.at}: group={pattern.pattern!r} is not in '{video.names[0]}'; {mend}")
    return match[1] if pattern.groups else match[0]
