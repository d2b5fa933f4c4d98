"""What happens? Actions as a task of the transfer matrix, and the videos of a user's folder."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from sslkit.contracts import Measurement, TransferTask

_VIDEOS = frozenset((".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts"))
_HELD_OUT = ("test", "val", "valid", "validation")
_CLASSES = frozenset(("label", "action", "class", "class_name", "label_name"))
_LINE = 1 << 16  # characters of a table that are looked at


def recognise_action(folder: Path) -> Measurement | None:
    """Videos: a folder for each class, in train and test or not, or one .csv with columns path and label."""
    try:
        tables = [file for file in sorted(folder.glob("*.csv")) if _is_table(file)]
        if len(tables) == 1 and len(list(folder.glob("*.csv"))) == 1:
            return Measurement("temporal_conv", f"video-list:{folder}")
        divided = (folder / "train").is_dir() and any((folder / name).is_dir() for name in _HELD_OUT)
        if _classes(folder / "train" if divided else folder) > 1:
            return Measurement("temporal_conv", f"video:{folder}")
    except (OSError, ValueError, csv.Error):
        pass
    return None


ACTION = TransferTask(
    # Kinds of motion: directions stay at chance on frozen frames, of whatever network (docs/findings.md).
    Measurement(
        head="temporal_conv",
        data="moving-shapes:count=280,size=64,motions=kinds",
        test="moving-shapes:count=210,size=64,motions=kinds,split=test",
        protocol="action-procedural",
        domain="drawn shapes that move",
        synthetic=True,
    ),
    recognise_action,
)


def _classes(root: Path) -> int:
    """How many folders themselves hold videos; 0 where some lie beside them, for then they are no classes."""
    with os.scandir(root) as entries:
        found = [entry for entry in entries if not entry.name.startswith(".")]
    if any(entry.is_file() and _suffix(entry.name) in _VIDEOS for entry in found):
        return 0
    return sum(_holds_videos(entry.path) for entry in found if entry.is_dir())


def _holds_videos(folder: str) -> bool:
    with os.scandir(folder) as entries:
        return any(_suffix(entry.name) in _VIDEOS for entry in entries)


def _is_table(file: Path) -> bool:
    """Whether a table has paths of videos, the first of which is there, and their classes."""
    with file.open(encoding="utf-8-sig", newline="") as opened:
        lines = opened.read(_LINE).splitlines()[:2]
    rows = list(csv.reader(lines))
    if len(rows) < 2:
        return False
    row = dict(zip((name.strip().lower() for name in rows[0]), rows[1], strict=False))
    path = row.get("path", "").strip()
    return bool(row.keys() & _CLASSES) and _suffix(path) in _VIDEOS and (file.parent / path).is_file()


def _suffix(name: str) -> str:
    return f".{name.rpartition('.')[2].lower()}"
