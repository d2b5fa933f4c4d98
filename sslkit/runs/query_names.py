"""Queries from what people write: files, folders, file:// addresses, moments of videos, boxes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
from numpy.typing import NDArray

from sslkit.contracts import Moment
from sslkit.data.decode.suffixes import EXTENSIONS, VIDEO_EXTENSIONS
from sslkit.data.decode.video import probe_video
from sslkit.data.listing import list_files
from sslkit.errors import ConfigError, DataError, SslkitError
from sslkit.retrieval.times import span_of
from sslkit.runs.queries import Box, Query, box_of, raise_together

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_FILE = re.compile(r"file:/", re.IGNORECASE)
_BOXED = re.compile(r"(.+)#([0-9]+(?:,[0-9]+){3})", re.DOTALL)
_TIMED = re.compile(r"(.+)@([0-9:.-]+)", re.DOTALL)


def queries_of(given: Iterable[str | Path | NDArray[np.uint8]], box: Box | None = None) -> list[Query]:
    """Queries from how they are named, in order; of videos the header is read, and nothing else.

    Each is an image file, a folder (every image and video in it), a video ("walk.avi", all of it as one
    moment) or a time of it ("walk.avi@12.5", "walk.avi@3-5"), a file:// address of one of these, or pixels
    uint8 (H, W, 3). A file may have a box of its own ("photo.jpg#x,y,w,h"), which wins over `box`. A path
    that exists is taken as it is, whatever its name looks like.

    Raises, naming all: DataError for what is not there, DecodeError for videos that cannot be read,
    ConfigError for addresses elsewhere and for times outside a video.
    """
    found, troubles, headers = list[Query](), list[SslkitError](), dict[Path, tuple[float, float]]()
    for number, one in enumerate(given, start=1):
        if isinstance(one, np.ndarray):
            found.append(Query(f"image {number}", one, box))
            continue
        try:
            path, time, own = _parts(str(one))
            for file in _files(path, str(one), whole=time is None and own is None):
                found.append(_query(file, time, own or box, headers))
        except SslkitError as error:
            troubles.append(error)
    raise_together(troubles, len(troubles) + len(found))
    if not found:
        raise DataError("no image was named to search by; name a file, a folder or a moment of a video")
    return found


def _parts(text: str) -> tuple[Path, str | None, Box | None]:
    """A path that exists, the time and the box behind it."""
    plain = _local(text)
    time: str | None = None
    box: Box | None = None
    path = _existing(plain)
    if path is None and (boxed := _BOXED.fullmatch(plain)):
        plain, box = boxed[1], box_of(boxed[2])
        path = _existing(plain)
    if path is None and (timed := _TIMED.fullmatch(plain)):
        path, time = _existing(timed[1]), timed[2]
    if path is None:
        raise DataError(
            f"there is no image, video or folder '{text}'; a time of a video is written as walk.avi@12.5 or "
            "walk.avi@3-5, a part of an image as photo.jpg#x,y,width,height"
        )
    return path, time, box


def _local(text: str) -> str:
    """The path that a text means, as it is or as a file:// address; what lies elsewhere is never fetched."""
    if not _FILE.match(text):
        if _SCHEME.match(text):
            raise ConfigError(
                f"{text}: nothing is fetched from anywhere; save it and name the file, or use file:///PATH"
            )
        return text
    address = urlsplit(text)
    if address.netloc not in ("", "localhost"):
        raise ConfigError(
            f"{text} names the host '{address.netloc}', and nothing is fetched from anywhere; a file of this "
            f"machine has three slashes: file:///PATH"
        )
    if address.query:
        raise ConfigError(f"{text} has a query; a question mark in the name of a file is written %3F")
    path = os.fsdecode(unquote_to_bytes(address.path))
    return f"{path}#{address.fragment}" if address.fragment else path


def _existing(text: str) -> Path | None:
    try:
        path = Path(text).expanduser()
        return path if text and (path.is_file() or path.is_dir()) else None
    except (OSError, ValueError, RuntimeError):  # too long, a NUL in it, or the home of nobody
        return None


def _files(path: Path, told: str, *, whole: bool) -> list[Path]:
    """A file, or those in a folder."""
    if path.is_file():
        return [path]
    if not whole:
        raise ConfigError(
            f"{told}: a folder has neither a time nor a box of its own; --box is for all queries"
        )
    names = list_files(path, EXTENSIONS | VIDEO_EXTENSIONS)
    if not len(names):
        raise DataError(
            f"no image or video in the folder {path}; images end in {' '.join(sorted(EXTENSIONS))}"
        )
    return [path / name for name in names]


def _query(path: Path, time: str | None, box: Box | None, headers: dict[Path, tuple[float, float]]) -> Query:
    if path.suffix.lower() not in VIDEO_EXTENSIONS:
        if time is not None:
            raise ConfigError(f"{path}@{time}: only videos have times, and this is none")
        return Query(str(path), path, box)
    if path not in headers:
        header = probe_video(path)
        headers[path] = (header.duration, header.rate)
    duration, rate = headers[path]
    start, stop = (0.0, duration) if time is None else span_of(time)
    if start >= duration:
        raise ConfigError(f"{path}@{time}: the video lasts {duration:.2f} s; choose a time before that")
    return Query(str(path), Moment(path, start, min(stop, duration) - start, duration, rate), box)
