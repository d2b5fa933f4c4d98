"""Which videos of a set are for training, and of which class, whatever form the list has that says it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sslkit.data.listed_videos import VideoList, broken, found_group, group_pattern, is_video, lines
from sslkit.data.video_folds import numbered_list, read_folds
from sslkit.data.video_tables import is_table, read_tables
from sslkit.errors import ConfigError, DataError

FORMS = (
    "a folder with trainlist01.txt, testlist01.txt and classInd.txt (UCF101) or with CLASS_test_split1.txt "
    "of each class (HMDB51), or a .csv whose header has youtube_id (Kinetics) or path, and label, split and "
    "subject or group where they are known"
)


def read_list(path: Path, *, fold: int | None = None, group: str | None = None) -> VideoList:
    """Read a file, or all lists of a folder, in the form that names and first lines show.

    fold: which of several divisions, the first unless said. group: the column of a table that tells what
    belongs together, or a pattern that finds it in a name. Raises DataError with file and line for what is
    broken or of no known form, ConfigError for options that do not fit it.
    """
    if not path.exists():
        raise DataError(f"there is no list {path}; it is {FORMS}")
    found = read_folds(path, fold)
    if found is None:
        if fold is not None:
            raise ConfigError(f"fold={fold}: {path} has no folds; lists of UCF101 and HMDB51 have")
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        tables = [file for file in files if file.is_file() and is_table(file)]
        if tables:
            found = read_tables(tables, group)
            group = None  # taken from there
        else:
            found = _of_lines(path)
    if not found.videos:
        raise DataError(f"{path} lists no video; it is {FORMS}")
    if group is None:
        return found
    pattern = group_pattern(group)
    return replace(found, videos=tuple(one._replace(group=found_group(pattern, one)) for one in found.videos))


def _of_lines(path: Path) -> VideoList:
    """One file that is no table and has no telling name: every line is a path, whose folder is the class."""
    if path.is_dir():
        raise DataError(f"{path} holds no list of videos; a list is {FORMS}")
    line, text = next(lines(path), (1, ""))
    name = text.rpartition(" ")[0] if text.rpartition(" ")[2].isdecimal() else text
    if not is_video(name):
        raise broken(path, line, text, FORMS)
    if "/" not in name:
        raise broken(path, line, text, "CLASS/NAME.avi; lists of HMDB51 are called CLASS_test_split1.txt")
    return numbered_list([(path, None)], path.parent / "classInd.txt")
