"""What lies on the wire between sources, decoding and views.

Shapes: N samples, V views, M moments, T frames, C channels, S canvas side. Pixels are uint8 until the views
make them float on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from sslkit.contracts.targets import Target
from sslkit.keyed_random import Keys

Painter = Callable[[np.ndarray], np.ndarray]
"""Draws a video that lies nowhere: seconds float64 (T,) to frames uint8 (T, H, W, C), a function of each."""


@dataclass(frozen=True)
class Moment:
    """A stretch of a video, still encoded: seconds start..start + length, counted from the first frame.

    path: a video file, a folder of frames, or what paints them. duration: of the whole video, seconds. rate:
    frames a second.
    """

    path: Path | Painter
    start: float
    length: float
    duration: float
    rate: float


@dataclass(frozen=True)
class Refused:
    """In place of content that must not or cannot be read; decoding raises DecodeError with the reason."""

    reason: str


@dataclass(frozen=True)
class Frames:
    """Still images of one size that belong together in this order, such as the two of a pair.

    images: paths, the bytes of files, or uint8 pixels (H, W, C) or (H, W).
    """

    images: tuple[Path | bytes | np.ndarray, ...]


Content = Path | bytes | np.ndarray | Moment | Frames | Refused


@dataclass(frozen=True)
class Item:
    """What a source holds for one id, still encoded or already an array.

    content: a path to an image file, the file's bytes, uint8 pixels (H, W, C) or (H, W), part of a video, or
    several images.
    name: what a person would call it (path inside the data set); label: class number or None.
    """

    content: Content
    name: str
    label: int | None = None


@runtime_checkable
class Source(Protocol):
    """A place where samples live. Ids are positions 0..len-1 and last as long as `fingerprint` does.

    classes: the class names, label k is classes[k]; empty when the source has no labels.
    labels: int64 (len,), or None. They are read by evaluation and monitoring, never by training.
    fingerprint: hash of what is listed; a resumed run refuses a source whose fingerprint changed.
    native_side: side of the largest image when all are small arrays in memory, else None (files).
    splits: the parts this place is divided into, such as ("train", "test"); empty when it is one whole.

    A source may also have:
    video: whether any of its samples is part of a video.
    groups: int64 (len,), samples that belong together, such as frames of one video; they are never taken as
    negatives of each other. group_names: what group k is called, the same in other splits.
    read_many(ids) -> uint8 (N, H, W, C): pixels of arrays in memory, of any ids at once.
    items(ids) -> list[Item]: many items at once, where that is cheaper than one by one.
    order(seed, epoch) -> int64 (len,): the order an epoch reads it in, a function of its arguments; ids may
    come twice and some not at all. Without it every id comes once, in any order.
    """

    classes: Sequence[str]
    labels: np.ndarray | None
    fingerprint: str
    native_side: int | None
    splits: Sequence[str]

    def __len__(self) -> int: ...

    def __getitem__(self, id: int) -> Item: ...


@runtime_checkable
class LabelledSource(Source, Protocol):
    """A source whose samples have targets for a head.

    target_kind: "boxes", "masks", "semantic", "flow", ..., as `HeadSpec.target` says. A source of
    masks serves heads that want boxes too.
    """

    target_kind: str

    def target(self, id: int) -> Target:
        """The target of a sample in pixels of the original; raises DataError that names file and item."""
        ...

    def problems(self) -> list[str]:
        """All that is wrong with the annotations, one line each with file and item; read before training."""
        ...

    def class_counts(self) -> np.ndarray:
        """How many objects or pixels of each class each sample has, int64 (len, K)."""
        ...


@dataclass(frozen=True)
class Skipped:
    """A sample that could not be decoded, and why."""

    id: int
    name: str
    reason: str


@dataclass(frozen=True)
class Batch:
    """Decoded samples of one step on one rank.

    ids: int64 (N,). pixels: uint8 (N, C, S, S), square canvases whose padding is zero; of video
    (N, M, T, C, S, S), M moments of T frames each.
    rectangles: int64 (N, 4), the valid (top, left, height, width) in each canvas, the same in all frames.
    labels: int64 (N,), -1 where unknown. groups: int64 (N,), the ids where the source knows none.
    skipped: samples that belonged here and could not be decoded.
    views: those made where the batch was read, as `Views` gives them; empty when they are made on the device.
    """

    ids: Tensor
    pixels: Tensor
    rectangles: Tensor
    labels: Tensor
    groups: Tensor
    skipped: tuple[Skipped, ...] = ()
    views: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return self.ids.shape[0]

    def split(self, count: int) -> list[Batch]:
        """The batch in `count` parts of nearly equal size; what was skipped stays with the first."""
        edges = [len(self) * part // count for part in range(count + 1)]
        parts = [slice(start, stop) for start, stop in pairwise(edges)]
        split = [self._each(itemgetter(part)) for part in parts]
        return [split[0], *(replace(part, skipped=()) for part in split[1:])]

    def to(self, device: torch.device) -> Batch:
        """Copy to a device, without waiting for it where the batch is in pinned memory."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Called by torch's DataLoader in its pinning thread."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Any) -> Batch:
        return replace(
            self,
            ids=change(self.ids),
            pixels=change(self.pixels),
            rectangles=change(self.rectangles),
            labels=change(self.labels),
            groups=change(self.groups),
            views=tuple(change(view) for view in self.views),
        )


@runtime_checkable
class Views(Protocol):
    """Makes the random views of a batch on its device: normalised float32, square, no grad.

    count: how many; size: the side of the global views, which come first; local ones may be smaller. The
    result is a function of pixels, rectangles and keys, row by row: never of the rest of the batch.

    A class with `takes_clips = True` also takes video pixels (N, M, T, C, S, S): view v shows moment v modulo
    M, with one draw for all its frames, and is (N, T, C, s, s), or (N, C, s, s) where T is 1.
    """

    count: int
    size: int

    def __call__(self, pixels: Tensor, rectangles: Tensor, keys: Keys) -> list[Tensor]: ...
