"""How long many videos are: headers are read side by side, and remembered where that takes long."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sslkit.atomic import replace_text
from sslkit.data.cache_folder import VARIABLE, cache_folder
from sslkit.data.decode.video import probe_video
from sslkit.data.packed import PackedNames
from sslkit.errors import ConfigError, DecodeError

_VERSION = 1
_THREADS = 16  # most of the time is waiting for the disk
_LONG = 1.0  # seconds; what is read faster leaves no traces
_SETTLED = 2 * 10**9  # ns; a file changed just now can change again without a new time
_LONGEST = 30 * 24 * 3600.0  # seconds; what says that it is longer is damaged


@dataclass(frozen=True)
class VideoHeaders:
    """What the files of V videos say of themselves.

    seconds, rates: duration and frames a second, float64 (V,), NaN where they are not known for `reasons`.
    sizes: of the files in bytes, int64 (V,), -1 where there is none.
    """

    seconds: np.ndarray
    rates: np.ndarray
    sizes: np.ndarray
    reasons: Mapping[int, str]


class _Header(NamedTuple):
    """stamp: size of the file and its times of modification and change in ns."""

    stamp: tuple[int, int, int]
    seconds: float = math.nan
    rate: float = math.nan
    reason: str = ""


def read_headers(root: Path, names: PackedNames) -> VideoHeaders:
    """Probe the videos `names` inside `root`; what cannot be probed has a reason instead.

    Where that takes more than a second, what was found is kept in the cache folder, and taken from there as
    long as size and times of a file stay the same. A file without a header is probed every time.
    """
    kept_in = _kept_in(root) if len(names) > 1 else None  # one alone would replace those of its folder
    known = _read(kept_in) if kept_in else {}
    start = time.perf_counter()
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(partial(_probed, root, known), names))
    settled = time.time_ns() - _SETTLED
    lasting = {
        name: header
        for name, header in zip(names, found, strict=True)
        if not header.reason and max(header.stamp[1:]) < settled
    }
    asked = set(names)  # lists of a training and a test set below one root do not undo each other's work
    lasting = {name: header for name, header in known.items() if name not in asked} | lasting
    if kept_in and time.perf_counter() - start > _LONG and lasting != known:
        _write(kept_in, lasting)
    return VideoHeaders(
        np.array([header.seconds for header in found], np.float64),
        np.array([header.rate for header in found], np.float64),
        np.array([header.stamp[0] for header in found], np.int64),
        {id: header.reason for id, header in enumerate(found) if header.reason},
    )


def _probed(root: Path, known: Mapping[str, _Header], name: str) -> _Header:
    path = root / name
    try:
        status = path.stat()
        stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    except OSError:
        stamp = (-1, 0, 0)  # probing says why
    before = known.get(name)
    if before is not None and before.stamp == stamp:
        return before
    try:
        header = probe_video(path)
    except DecodeError as error:
        return _Header(stamp, reason=str(error))
    if not (0 < header.duration <= _LONGEST and 0 < header.rate < math.inf):
        said = f"{header.duration:g} s at {header.rate:g} frames a second"
        return _Header(stamp, reason=f"{path}: says that it lasts {said}; it is damaged, write it anew")
    return _Header(stamp, header.duration, header.rate)


def _kept_in(root: Path) -> Path | None:
    """The file that keeps the headers of videos in a folder, whether it is there or not."""
    try:
        folder = cache_folder()
    except ConfigError:
        if os.environ.get(VARIABLE):
            raise
        return None  # no place anywhere: headers are read every time
    return folder / "video-headers" / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:32]}.json"


def _read(path: Path) -> dict[str, _Header]:
    """The headers kept in a file; none if it is missing, damaged or of another version."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["version"] != _VERSION:
            return {}
        return {
            name: _Header((int(size), int(modified), int(changed)), float(seconds), float(rate))
            for name, (size, modified, changed, seconds, rate) in kept["headers"].items()
        }
    except Exception:  # whatever a damaged file holds: it is written anew
        return {}


def _write(path: Path, headers: Mapping[str, _Header]) -> None:
    rows = {name: [*header.stamp, header.seconds, header.rate] for name, header in headers.items()}
    with suppress(ConfigError):  # a full disk: the next time takes as long as this one
        replace_text(path, json.dumps({"version": _VERSION, "headers": rows}))
