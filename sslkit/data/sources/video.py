"""Videos, as files or as folders of frames, cut into moments that are seen as often as each other."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from sslkit.contracts import Item, Moment, Refused
from sslkit.data.class_folders import available_splits, chosen_split, classes_and_labels
from sslkit.data.decode.suffixes import EXTENSIONS, VIDEO_EXTENSIONS
from sslkit.data.listing import list_files
from sslkit.data.packed import PackedNames
from sslkit.data.video_headers import VideoHeaders, read_headers
from sslkit.errors import ConfigError, DataError

_SHORTEST = 0.001  # seconds of a moment; no camera takes more than a thousand frames a second
_ROUNDING = 1e-9  # of a moment: 0.3 seconds in moments of 0.1 are three


class VideoSource:
    """All videos under `path`, sorted by their path inside it, or the single one that `path` is.

    A video of d seconds is cut into ceil(d / every) moments of equal length. An id is a moment, named
    "walk/1.avi @ 2.0 s"; its group is its video. With every=None, written every=video in an address, an id is
    a whole video, named "walk/1.avi". Hidden files and folders are left out.

    With frames=True a video is a folder that itself holds images, in the natural order of their names and
    `rate` of them a second.

    Classes and splits come from folders as they do for images: videos in subfolders are labelled with the
    first folder on their way, if there are at least two such folders and no video lies beside them, and
    `path` is divided where it holds a folder `train` and one of val, valid, validation or test.

    A file that cannot be probed, such as one that was cut off, keeps its place as one item that is refused,
    so that a run counts it; `problems` tells all of them, and folders of classes without a video. Raises
    DataError for a folder that is missing, unreadable or without a single video that can be probed,
    UnknownNameError for a split that is not there, ConfigError for numbers out of range.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        split: str | None = None,
        every: float | Literal["video"] | None = 1.0,
        frames: bool = False,
        rate: float = 25.0,
    ) -> None:
        whole = every is None or every == "video"
        seconds = every if isinstance(every, float | int) else math.inf
        if not (whole or _SHORTEST <= seconds < math.inf) or not 0 < rate < math.inf:
            raise ConfigError(
                f"every={every}, rate={rate}: use seconds of at least {_SHORTEST}, or every=video for whole "
                "ones, and frames a second above 0"
            )
        self.path = Path(path).absolute()
        single = self.path.is_file() and not frames
        self.splits: Sequence[str] = () if single else available_splits(self.path, what="video folder")
        self.split = chosen_split(split, self.splits, self.path)
        root = self.path.parent if single else self.path / (self.split or "")
        if frames:
            names, headers = _frame_folders(root, rate)
        else:
            names = PackedNames([self.path.name]) if single else list_files(root, VIDEO_EXTENSIONS)
            headers = read_headers(root, names)
        if len(headers.reasons) == len(names):
            raise DataError(_none_usable(root, headers, frames))
        others = (_listed(self.path / other, frames) for other in self.splits if other != self.split)
        self.classes: Sequence[str]
        self.classes, of_videos = classes_and_labels(names, others)
        self._root, self._headers = (root if single else self.path), headers
        self._names = names.under(self.split) if self.split else names
        with np.errstate(invalid="ignore"):  # refused videos last NaN seconds
            moments = np.fmax(1, np.ceil(headers.seconds / seconds - _ROUNDING)).astype(np.int64)
        self._ends = np.cumsum(moments)  # the first id behind each video
        self.groups = np.repeat(np.arange(len(names), dtype=np.int64), moments)
        self.labels = None if of_videos is None else of_videos[self.groups]
        listed = self._names.fingerprint(of_videos, self.classes).encode()
        of_files = b"".join(one.tobytes() for one in (headers.sizes, headers.seconds, headers.rates))
        cut = b"whole" if whole else repr(float(seconds)).encode()
        self.fingerprint = hashlib.sha256(listed + of_files + cut).hexdigest()[:32]
        self._whole = whole
        self.native_side: int | None = None
        self.video = True

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, id: int) -> Item:
        if not 0 <= id < len(self):
            raise IndexError(f"id {id} is outside 0..{len(self) - 1}")
        video = int(self.groups[id])
        label = None if self.labels is None else int(self.labels[id])
        path = self._root / self._names[video]
        name = str(PurePosixPath(self._names[video]))
        name = path.name if name == "." else name  # the folder of frames is `path` itself
        reason = self._headers.reasons.get(video)
        if reason is not None:
            return Item(Refused(reason), name, label)
        first = int(self._ends[video - 1]) if video else 0
        seconds = float(self._headers.seconds[video])
        length = seconds / (int(self._ends[video]) - first)
        start = (id - first) * length
        content = Moment(path, start, length, seconds, float(self._headers.rates[video]))
        return Item(content, name if self._whole else f"{name} @ {round(start, 3)} s", label)

    def problems(self) -> list[str]:
        """What cannot be read, and folders of classes without a video, one line each."""
        found = list(self._headers.reasons.values())
        if self.labels is not None:
            root = self.path / (self.split or "")
            beside = {entry.name for entry in root.iterdir() if entry.is_dir() and entry.name[0] != "."}
            if beside.intersection(self.classes):  # they may lie deeper
                empty = beside.difference(name.split("/")[1 if self.split else 0] for name in self._names)
                found += [f"{root / name}: the class '{name}' has no video" for name in sorted(empty)]
        return found


def _frame_folders(root: Path, rate: float) -> tuple[PackedNames, VideoHeaders]:
    """The folders that hold images, "." for `root` itself; a folder's size is the number of them."""
    names, counts = _counted(root)
    sizes = np.array(counts, np.int64)
    return names, VideoHeaders(sizes / rate, np.full(len(sizes), rate, np.float64), sizes, {})


def _listed(root: Path, frames: bool) -> PackedNames:
    return _counted(root)[0] if frames else list_files(root, VIDEO_EXTENSIONS)


def _counted(root: Path) -> tuple[PackedNames, list[int]]:
    counts: Counter[str] = Counter()
    for folder, count in list_files(root, EXTENSIONS).folders():
        counts[folder.rstrip("/") or "."] += count  # files before and behind a subfolder are two runs
    names = sorted(counts)
    return PackedNames(names), [counts[name] for name in names]


def _none_usable(root: Path, headers: VideoHeaders, frames: bool) -> str:
    if headers.reasons:
        shown = "; ".join(list(headers.reasons.values())[:3])
        more = f" (and {len(headers.reasons) - 3} more)" if len(headers.reasons) > 3 else ""
        return f"none of {len(headers.reasons)} videos in {root} can be read: {shown}{more}"
    what, extensions = ("folders of frames", EXTENSIONS) if frames else ("videos", VIDEO_EXTENSIONS)
    found = Counter(PurePosixPath(name).suffix.lower() or "(none)" for name in list_files(root))
    if not found:
        return f"{root} is empty: put videos in it, or in one subfolder for each class"
    shown = ", ".join(f"{count} {suffix}" for suffix, count in found.most_common(6))
    mend = "" if frames or not EXTENSIONS.intersection(found) else "; for folders of frames use frames=True"
    known = " ".join(sorted(extensions))
    return f"no {what} in {root}: found only files ending in {shown}; they end in {known}{mend}"
