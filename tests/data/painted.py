"""Procedural videos and pairs for tests: what is painted tells the time and the place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sslkit.contracts import ClassLabel, Content, Item, Moment, Target

RATE = 10.0


@dataclass(frozen=True)
class Counter:
    """Frame k is grey of level 5 * k, with columns that grow by one where `ramp` says so."""

    height: int = 24
    width: int = 32
    ramp: bool = False

    def __call__(self, seconds: np.ndarray) -> np.ndarray:
        levels = 5 * np.floor(seconds * RATE + 1e-6)
        frames = np.broadcast_to(levels[:, None, None, None], (len(seconds), self.height, self.width, 3))
        if self.ramp:
            frames = frames * 0 + np.arange(self.width)[None, None, :, None]
        return frames.astype(np.uint8)


def video(frames: int, *, height: int = 24, width: int = 32, ramp: bool = False) -> Moment:
    """A whole painted video of so many frames."""
    seconds = frames / RATE
    return Moment(Counter(height, width, ramp), 0.0, seconds, seconds, RATE)


class Contents:
    """A source of anything, sample k of class k modulo 3."""

    target_kind = "label"
    classes = ("a", "b", "c")
    native_side = None
    splits = ()
    fingerprint = "contents"
    video = True

    def __init__(self, *contents: Content, targets: list[Any] | None = None) -> None:
        self.contents, self.targets = list(contents), targets
        self.labels = np.arange(len(contents)) % 3

    def __len__(self) -> int:
        return len(self.contents)

    def __getitem__(self, id: int) -> Item:
        return Item(self.contents[id], f"video {id}", int(self.labels[id]))

    def target(self, id: int) -> Target:
        return ClassLabel(id % 3) if self.targets is None else self.targets[id]

    def problems(self) -> list[str]:
        return []

    def class_counts(self) -> np.ndarray:
        return np.eye(3, dtype=np.int64)[self.labels]


def shown_frames(pixels: Any) -> list[int]:
    """Which frames of a `Counter` a clip (T, C, H, W) shows."""
    return [round(float(frame[:, 2, 2].float().mean()) / 5) for frame in pixels]


def folder_of_frames(folder: Path, frames: int, *, height: int = 24, width: int = 32) -> Moment:
    """The same video as a folder of PNG files."""
    from PIL import Image

    folder.mkdir(parents=True)
    painted = Counter(height, width)(np.arange(frames) / RATE)
    for number, frame in enumerate(painted):
        Image.fromarray(frame).save(folder / f"{number}.png")
    return Moment(folder, 0.0, frames / RATE, frames / RATE, RATE)
