"""Where are the objects? Detection as a task of the transfer matrix, and the boxes of a user's folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from sslkit.contracts import Measurement, TransferTask
from sslkit_detection.sources.image_files import SUFFIXES

_SPLITS = ("train", "test", "val", "valid", "validation")
_READ = 1 << 16  # bytes of a file that are looked at
_LOOKED_AT = 2000  # entries of a folder
_KEY = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')
_NUMBERS = r"-?\d*\.?\d+(?:[eE][-+]?\d+)?"
_BOX = re.compile(rf"\d+(?:\.0+)?(?:\s+{_NUMBERS}){{4,}}\s*")


def recognise_detection(folder: Path) -> Measurement | None:
    """Boxes: a COCO .json, VOC's Annotations/*.xml (or .xml beside images), or YOLO's labels/*.txt."""
    try:
        return _coco(folder) or _voc(folder) or _yolo(folder)
    except (OSError, ValueError):
        return None


DETECTION = TransferTask(
    Measurement(
        head="fcos",
        data="scenes:count=300,size=96",
        test="scenes:count=60,size=96,split=test",
        protocol="detection-procedural",
        domain="drawn scenes",
        synthetic=True,
    ),
    recognise_detection,
)


def _coco(folder: Path) -> Measurement | None:
    """The annotation file, or those of training and test; None where it is not clear which counts."""
    exported = {file.parent.name: file for file in sorted(folder.glob("*/_annotations.coco.json"))}
    files = [file for place in (folder / "annotations", folder) for file in sorted(place.glob("*.json"))]
    instances = [file for file in files if file.stem.startswith("instances_")]  # beside captions, keypoints
    named = exported or {file.stem: file for file in instances or files if file.stem[0] != "."}
    found = {name: file for name, file in named.items() if _is_coco(file)}
    parts: dict[str, Path] = {}
    for split in _SPLITS:
        told = re.compile(rf"(?:^|_){split}(?:\d*$|_|\W)")
        matching = [name for name in found if told.search(name.lower())]
        if matching:
            parts[split] = found[min(matching, key=lambda name: (len(name), name))]  # train before train100
    train = parts.pop("train", None)
    if train is not None and parts:
        return Measurement("retinanet", str(train), str(next(iter(parts.values()))))
    if len(found) != 1:
        return None
    return Measurement("retinanet", str(next(iter(found.values()))))


def _is_coco(file: Path) -> bool:
    """Whether the first bytes of a file, or the whole of a small one, are those of COCO's mapping."""
    with file.open("rb") as opened:
        begin = opened.read(_READ)
    if len(begin) < _READ:
        read = json.loads(begin)
        return isinstance(read, dict) and isinstance(read.get("images"), list) and "annotations" in read
    return begin.lstrip()[:1] == b"{" and _KEY.search(begin) is not None


def _voc(folder: Path) -> Measurement | None:
    apart = next((folder / name for name in ("Annotations", "annotations") if (folder / name).is_dir()), None)
    places = [apart] if apart else [folder, *(folder / split for split in _SPLITS)]
    for place in places:
        notes = next((file for file in _files(place) if file.suffix.lower() == ".xml"), None)
        if notes is not None:
            with notes.open("rb") as opened:
                found = b"<annotation" in opened.read(_READ)
            return Measurement("retinanet", f"voc:{folder}") if found else None
    return None


def _yolo(folder: Path) -> Measurement | None:
    """Text files in `labels` beside `images`, whatever the splits, or beside the images themselves."""
    splits = [folder / split for split in _SPLITS]
    places = [place / "labels" for place in (folder, *splits) if (place / "images").is_dir()]
    inside = [place / split for place in places for split in _SPLITS]
    for place in chain(places, inside, [folder]):
        files = list(_files(place))
        texts = [file for file in files if file.suffix.lower() == ".txt"]
        if place == folder:
            images = {file.stem for file in files if file.suffix.lower() in SUFFIXES}
            texts = [file for file in texts if file.stem in images]
        for text in texts[:8]:  # one without objects is empty
            with text.open(encoding="utf-8", errors="replace") as opened:
                line = opened.readline(_READ)
            if line.strip():
                return Measurement("retinanet", f"yolo:{folder}") if _BOX.fullmatch(line) else None
    return None


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return iter(())
    return (file for file in islice(folder.iterdir(), _LOOKED_AT) if file.name[0] != ".")
