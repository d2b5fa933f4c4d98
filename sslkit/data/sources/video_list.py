"""Videos named by the lists that come with a data set, one item each."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from sslkit.contracts import Item, Moment, Refused
from sslkit.data.decode.suffixes import VIDEO_EXTENSIONS
from sslkit.data.listed_videos import SPLITS, Listed, VideoList
from sslkit.data.listing import list_files
from sslkit.data.packed import PackedNames
from sslkit.data.video_headers import read_headers
from sslkit.data.video_lists import FORMS, read_list
from sslkit.errors import DataError, UnknownNameError

_SHOWN = 3  # of what is missing
_SLACK = 1.0  # seconds by which a file may be longer than the part that was cut out for it


class VideoListSource:
    """The videos below `path` that a list names: of UCF101, HMDB51, Kinetics, or a table of one's own.

    list: a file, or a folder of them, inside `path` or anywhere; the single .csv in `path` where it is left
    out. fold: of UCF101 and HMDB51. split: train, val or test; train unless said, where the list is divided.
    group: a column, or a pattern that finds the group in a path; else the scene of UCF101 ("v_Archery_g08"),
    the film of HMDB51, the column group or subject of a table, or the video of Kinetics.

    An id is a whole video, or the part of it that Kinetics means. Videos of one group, in `groups` and by
    name in `group_names`, must not be in train and test (`sslkit.data.split_leaks`). Of Kinetics, what is
    missing is left out with a warning and named in `missing`; elsewhere it is refused when it is read, as is
    what cannot be probed, and told by `problems`. Raises DataError for a list that is broken or of no known
    form, with file and line, and where no video is there; UnknownNameError for a split that is not there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        list: str | os.PathLike[str] | None = None,
        fold: int | None = None,
        split: str | None = None,
        group: str | None = None,
    ) -> None:
        self.path = Path(path).absolute()
        place = _place(self.path, list)
        found = read_list(place, fold=fold, group=group)
        known = {video.split for video in found.videos}
        divided = [name for name in SPLITS if name in known]
        # A test without labels, as that of Kinetics, is there to be asked for and not to judge by.
        labelled = {video.split for video in found.videos if video.label is not None} or known
        self.splits: Sequence[str] = tuple(name for name in divided if name in labelled)
        if split is not None and split not in divided:
            raise UnknownNameError("split", split, divided, f"(splits are what {place} says)")
        self.split = split or (divided[0] if divided else None)
        videos = [video for video in found.videos if self.split in (None, video.split)]
        videos, names, self.missing = _found(self.path, videos, found.gaps)
        if not videos or len(self.missing) == len(videos):
            raise DataError(_none_there(self.path, place, self.missing))
        _refuse_twins(videos, names)
        self._videos, self._names = videos, PackedNames(names)
        self._headers = read_headers(self.path, self._names)
        self._of_list(found)
        self.native_side: int | None = None
        self.video = True

    def _of_list(self, found: VideoList) -> None:
        """Labels and groups, and the fingerprint of all."""
        number = {name: label for label, name in enumerate(found.classes)}
        labels = [-1 if one.label is None else number[one.label] for one in self._videos]
        self.labels = np.array(labels, np.int64) if all(label >= 0 for label in labels) else None
        self.classes: Sequence[str] = found.classes if self.labels is not None else ()
        places: dict[str, int] = {}
        named = [one.group or name for one, name in zip(self._videos, self._names, strict=True)]
        self.groups = np.array([places.setdefault(name, len(places)) for name in named], np.int64)
        self.group_names: Sequence[str] = tuple(places)
        digest = hashlib.sha256(self._names.fingerprint(self.labels, self.classes).encode())
        headers = self._headers
        for array in (self.groups, headers.sizes, headers.seconds, headers.rates):
            digest.update(array.tobytes())
        digest.update(repr([one.seconds for one in self._videos if one.seconds]).encode())
        self.fingerprint = digest.hexdigest()[:32]

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, id: int) -> Item:
        if not 0 <= id < len(self):
            raise IndexError(f"id {id} is outside 0..{len(self) - 1}")
        name, label = self._names[id], None if self.labels is None else int(self.labels[id])
        if (reason := self._headers.reasons.get(id)) is not None:
            return Item(Refused(f"{reason} ({self._videos[id].at})"), name, label)
        duration, rate = float(self._headers.seconds[id]), float(self._headers.rates[id])
        start, end = 0.0, duration
        meant = self._videos[id].seconds
        if meant is not None and meant[1] - meant[0] + _SLACK < duration and meant[0] < duration:
            start, end = meant[0], min(meant[1], duration)
        return Item(Moment(self.path / name, start, end - start, duration, rate), name, label)

    def problems(self) -> list[str]:
        """What cannot be read, and classes without a video to learn from, one line each."""
        found = [f"{self._videos[id].at}: {reason}" for id, reason in self._headers.reasons.items()]
        if self.labels is not None and self.split in (None, "train"):
            counts = np.bincount(self.labels, minlength=len(self.classes))
            where = f"{self.path}: " + (f"split {self.split}: " if self.split else "")
            empty = (name for name, count in zip(self.classes, counts, strict=True) if not count)
            found += [f"{where}the class '{name}' has no video" for name in empty]
        return found


def _place(root: Path, given: str | os.PathLike[str] | None) -> Path:
    if not root.is_dir():
        raise DataError(f"video folder {root}: {'is a file' if root.exists() else 'not found'}")
    if given is not None:
        inside = root / Path(given).expanduser()
        return inside if inside.exists() else Path(given).expanduser().absolute()
    tables = sorted(root.glob("*.csv"))
    if len(tables) != 1:
        held = f"holds {', '.join(file.name for file in tables)}" if tables else "holds no .csv"
        raise DataError(f"{root} {held}; say which list counts with list=FILE, which is {FORMS}")
    return tables[0]


def _found(
    root: Path, videos: Sequence[Listed], gaps: bool
) -> tuple[list[Listed], list[str], tuple[str, ...]]:
    """The videos to keep, their names inside the root, and the names of those that are not there."""
    names = _by_stem(root, videos) if gaps else [_first_there(root, video) for video in videos]
    pairs = list(zip(videos, names, strict=True))
    missing = tuple(video.names[0] for video, name in pairs if name is None)
    if not gaps:
        return list(videos), [name or video.names[0] for video, name in pairs], missing
    kept = [(video, name) for video, name in pairs if name is not None]
    if missing and kept:
        lost = f"{len(missing)} of {len(videos)} listed videos are not there"
        warnings.warn(f"{root}: {lost} and left out, such as {', '.join(missing[:_SHOWN])}", stacklevel=3)
    return [video for video, _ in kept], [name for _, name in kept], missing


def _first_there(root: Path, video: Listed) -> str | None:
    return next((name for name in video.names if (root / name).is_file()), None)


def _by_stem(root: Path, videos: Sequence[Listed]) -> list[str | None]:
    """Names without an ending, looked up among all files; wherever it lies, where no folder is named."""
    whole: dict[str, str] = {}
    alone: dict[str, str] = {}
    for name in list_files(root, VIDEO_EXTENSIONS):
        path = PurePosixPath(name)
        whole.setdefault(str(path.with_suffix("")), name)
        alone.setdefault(path.stem, name)
    return [
        next((found for name in video.names if (found := whole.get(name) or alone.get(name))), None)
        for video in videos
    ]


def _refuse_twins(videos: Sequence[Listed], names: Sequence[str]) -> None:
    seen: dict[tuple[str, object], str] = {}
    for video, name in zip(videos, names, strict=True):
        before = seen.setdefault((name, video.seconds), video.at)
        if before != video.at:
            raise DataError(f"{video.at}: '{name}' is listed a second time, first in {before}; delete one")


def _none_there(root: Path, place: Path, missing: Sequence[str]) -> str:
    if not missing:
        return f"{place} lists no video of this split"
    shown = ", ".join(missing[:_SHOWN])
    return f"none of the {len(missing)} videos that {place} lists is in {root}, such as {shown}"
