"""Lists of videos that divide a set in several ways: those of UCF101 and HMDB51.

UCF101 (Soomro et al. 2012) has `trainlist01.txt` and `testlist01.txt` of each fold, and `classInd.txt`.
HMDB51 (Kuehne et al. 2011) has `CLASS_test_split1.txt` of each class and fold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path

from sslkit.data.listed_videos import Listed, VideoList, broken, is_video, lines
from sslkit.errors import ConfigError, DataError

_OF_UCF = re.compile(r"(train|test)list(\d+)\.txt")
_OF_HMDB = re.compile(r"(.+)_test_split(\d+)\.txt")
_NUMBERED = re.compile(r"(\S.*?)(?:\s+(\d+))?")  # a name, which may have spaces in it, and a number


def read_folds(path: Path, fold: int | None) -> VideoList | None:
    """One fold, the first unless said, of a folder of lists; a file stands for its folder and its fold.

    None where no file is called as such lists are. Raises DataError with file and line, ConfigError for a
    fold that is not there.
    """
    files = [path] if path.is_file() else sorted(path.iterdir())
    known = [form for form in (_OF_UCF, _OF_HMDB) if any(form.fullmatch(file.name) for file in files)]
    if len(known) > 1:
        raise DataError(f"{path} holds lists of UCF101 and of HMDB51; give a folder that has one of them")
    if not known:
        return None
    (form,) = known
    folder = path
    if path.is_file():
        folder, meant = path.parent, int(_matched(form, path.name)[2])
        if fold not in (None, meant):
            raise ConfigError(f"{path} is of fold {meant}, not {fold}; leave fold out, or name the folder")
        fold = meant
    found = [(file, match) for file in sorted(folder.iterdir()) if (match := form.fullmatch(file.name))]
    folds = sorted({int(match[2]) for _, match in found})
    chosen = folds[0] if fold is None else fold
    if chosen not in folds:
        raise ConfigError(f"fold={chosen}: {folder} has the folds {', '.join(map(str, folds))}")
    of_fold = [(file, match[1]) for file, match in found if int(match[2]) == chosen]
    return _hmdb(of_fold) if form is _OF_HMDB else numbered_list(of_fold, folder / "classInd.txt")


def numbered_list(files: Iterable[tuple[Path, str | None]], classes: Path) -> VideoList:
    """Lists with a line CLASS/NAME.avi for each video, followed by the number of its class or nothing.

    files: each with its split. classes: the file that has a line NUMBER CLASS for each, if there is one.
    """
    videos: list[Listed] = []
    known = _class_numbers(classes)
    numbers = dict(known)
    owners = {number: label for label, number in known.items()}
    for file, split in files:
        bare: bool | None = None
        for line, text in lines(file):
            name, number = _matched(_NUMBERED, text).groups()
            folder, _, last = name.rpartition("/")
            label = folder.rpartition("/")[2]
            if not label or not is_video(name):
                raise broken(file, line, text, "CLASS/NAME.avi, and the number of the class or nothing")
            bare = number is None if bare is None else bare
            if bare != (number is None):
                raise broken(file, line, text, "the number of its class behind every name or behind none")
            if known and label not in known:
                raise broken(file, line, text, f"a class of {classes.name}, which has no '{label}'")
            if number is not None and numbers.setdefault(label, int(number)) != int(number):
                raise broken(file, line, text, f"{numbers[label]}, the number of '{label}' elsewhere")
            if number is not None and owners.setdefault(int(number), label) != label:
                raise broken(file, line, text, f"a number that is not that of '{owners[int(number)]}'")
            group = re.match(r"(.+_g\d+)_c\d+\.", last)  # clips of one scene: v_Archery_g08_c01.avi
            videos.append(Listed((name, last), f"{file}, line {line}", label, split, group and group[1]))
    labels = known or {video.label for video in videos if video.label is not None}
    return VideoList(tuple(videos), tuple(sorted(labels, key=lambda one: (numbers.get(one, math.inf), one))))


def _class_numbers(file: Path) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for line, text in lines(file) if file.is_file() else ():
        number, _, label = text.partition(" ")
        label = label.strip()
        if not number.isdecimal() or not label or label in numbers or int(number) in numbers.values():
            raise broken(file, line, text, "NUMBER CLASS, each number and class once")
        numbers[label] = int(number)
    return numbers


def _hmdb(files: Iterable[tuple[Path, str]]) -> VideoList:
    videos, classes = [], set()
    for file, label in files:
        classes.add(label)
        for line, text in lines(file):
            name, _, number = text.rpartition(" ")
            name = name.strip()
            if number not in ("0", "1", "2") or not is_video(name) or "/" in name:
                raise broken(file, line, text, "NAME.avi and 0, 1 or 2 (unused, train, test)")
            if number == "0":
                continue
            # Within a class the clips of one film are on one side; of two classes nobody promises it.
            film, found, _ = name.rpartition(f"_{label}_")
            group = f"{label}/{film}" if found else None
            split = "train" if number == "1" else "test"
            videos.append(Listed((f"{label}/{name}", name), f"{file}, line {line}", label, split, group))
    return VideoList(tuple(videos), tuple(sorted(classes)))


def _matched(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    assert match is not None, text
    return match
