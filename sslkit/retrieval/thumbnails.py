"""Small pictures of a whole source, by which near-duplicates are found without any network."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from sslkit.contracts import Item, Source
from sslkit.data.cache_folder import cache_folder
from sslkit.data.pictures import picture
from sslkit.errors import DecodeError

SIDE = 32
"""Pixels a side; 3 kB a sample."""

Progress = Callable[[int, int], None]
"""Told of samples that are done, and of all of them."""

_VERSION = 1  # changes where thumbnails do
_DECODED = 2 * SIDE  # side at which files are decoded, so that JPEG skips most of its work
_BLOCK = 256  # samples read at a time
_KEPT = 2000  # samples; making those of a smaller source again takes a few seconds at most


@dataclass(frozen=True)
class Thumbnails:
    """Pixels of the readable samples: ids int64 (N,), pixels uint8 (N, SIDE, SIDE, 3), skipped: the others.

    The whole picture is squeezed into the square. Of a video it is the frame in the middle of the moment, of
    several images the first one.
    """

    ids: np.ndarray
    pixels: np.ndarray
    skipped: int

    def __len__(self) -> int:
        return len(self.ids)


def thumbnails(source: Source, *, channels: int = 3, progress: Progress | None = None) -> Thumbnails:
    """Thumbnails of a source; those of a large one are kept in the cache folder, by its fingerprint.

    channels: as a recipe's data.channels. progress: called now and then.
    """
    place = _place(source, channels)
    kept = None if place is None else _read(place, len(source))
    if kept is None:
        kept = _made(source, channels, progress)
        if place is not None:
            _write(place, kept)
    ids = np.flatnonzero(kept[:, 0])
    pixels = kept[:, 1:].reshape(-1, SIDE, SIDE, 3)
    whole = len(ids) == len(pixels)
    return Thumbnails(ids, pixels if whole else pixels[ids], len(pixels) - len(ids))


def _made(source: Source, channels: int, progress: Progress | None) -> np.ndarray:
    """A row for each sample, uint8 (len, 1 + SIDE * SIDE * 3): whether it was read, then its pixels."""
    rows = np.zeros((len(source), 1 + SIDE * SIDE * 3), np.uint8)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for ids in _blocks(len(source)):
            many = _stacked(source, ids)
            if many is not None:
                rows[ids, 0], rows[ids, 1:] = 1, many.reshape(len(ids), -1)
            else:
                for id, one in zip(
                    ids.tolist(), pool.map(_reader(channels), _items(source, ids)), strict=True
                ):
                    if one is not None:
                        rows[id, 0], rows[id, 1:] = 1, one.reshape(-1)
            if progress is not None:
                progress(int(ids[-1]) + 1, len(source))
    return rows


def _blocks(count: int) -> Iterator[np.ndarray]:
    for start in range(0, count, _BLOCK):
        yield np.arange(start, min(start + _BLOCK, count))


def _items(source: Source, ids: np.ndarray) -> Sequence[Item]:
    many = getattr(source, "items", None)
    found: Sequence[Item] = [source[id] for id in ids.tolist()] if many is None else many(ids)
    return found


def _stacked(source: Source, ids: np.ndarray) -> np.ndarray | None:
    """Arrays in memory all at once, where they are grey or of three colours."""
    read_many = getattr(source, "read_many", None)
    if read_many is None or source.native_side is None:
        return None
    images: np.ndarray = read_many(ids)
    if images.shape[-1] not in (1, 3):
        return None
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    if pixels.shape[-2:] != (SIDE, SIDE):
        pixels = interpolate(pixels.float(), (SIDE, SIDE), mode="bilinear", antialias=True).round().byte()
    return pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()


def _reader(channels: int) -> Callable[[Item], np.ndarray | None]:
    def read(item: Item) -> np.ndarray | None:
        try:
            shown = Image.fromarray(picture(item, side=_DECODED, channels=channels))
        except DecodeError:
            return None
        return np.asarray(shown.resize((SIDE, SIDE), Image.Resampling.BILINEAR))

    return read


def _place(source: Source, channels: int) -> Path | None:
    """The file that keeps the thumbnails of a large source; None for a small one."""
    if len(source) < _KEPT:
        return None
    key = f"{_VERSION}\0{SIDE}\0{channels}\0{source.fingerprint}"
    return cache_folder() / "thumbnails" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npy"


def _read(place: Path, count: int) -> np.ndarray | None:
    """What is kept, memory-mapped; None where it is missing, damaged or of another number of samples."""
    try:
        kept: np.ndarray = np.load(place, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    sound = kept.dtype == np.uint8 and kept.shape == (count, 1 + SIDE * SIDE * 3)
    return kept if sound else None


def _write(place: Path, rows: np.ndarray) -> None:
    """Keep them, in one step; where there is no room they are made again the next time."""
    aside = place.with_name(f".{place.name}.{uuid4().hex[:8]}.tmp")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            np.save(file, rows)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(place)
    except OSError:
        aside.unlink(missing_ok=True)
