"""The few typed words on the wire between rooms, and the protocols a plugin implements.

Shapes: N samples, V views, T frames, C channels, S canvas side, H x W pixels, D embedding width, P output
width of an objective. Pixels are uint8 until the views make them float on the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from sslkit.keyed_random import Keys

# ---------------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Moment:
    """A stretch of a video, still encoded: seconds start..start + length, counted from the first frame.

    path: a video file, or a folder of frames. duration: of the whole video, seconds. rate: frames a second.
    """

    path: Path
    start: float
    length: float
    duration: float
    rate: float


@dataclass(frozen=True)
class Refused:
    """In place of content that must not or cannot be read; decoding raises DecodeError with the reason."""

    reason: str


Content = Path | bytes | np.ndarray | Moment | Refused


@dataclass(frozen=True)
class Item:
    """What a source holds for one id, still encoded or already an array.

    content: a path to an image file, the file's bytes, uint8 pixels (H, W, C) or (H, W), or part of a video.
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
    negatives of each other.
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


# -------------------------------------------------------------------------------------------- models


@dataclass(frozen=True)
class FeatureMap:
    """A backbone's intermediate output: values (N, C, H, W), one cell every `stride` input pixels."""

    values: Tensor
    stride: int


@dataclass(frozen=True)
class FeatureInfo:
    """What a backbone offers.

    names, channels, strides: its feature maps, fine to coarse. size_divisor: input sides must be its
    multiples (`feature_maps` pads). minimum_side: smallest side accepted. mean, std: expected normalisation
    of pixels in [0, 1]. weights: where they come from ("random", "timm:TAG" or a run's hash).
    loaded_fraction: share of the backbone's tensors filled from those weights.
    """

    names: tuple[str, ...]
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    size_divisor: int
    minimum_side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: str = "random"
    loaded_fraction: float = 0.0


class BackboneLike(Protocol):
    """The network kept after pretraining: what objectives, heads and embedding see of it (an nn.Module)."""

    embedding_dim: int

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (N, C, H, W) to embeddings (N, D)."""
        ...

    def feature_maps(self, pixels: Tensor) -> dict[str, FeatureMap]:
        """Normalised pixels (N, C, H, W) to named maps, NCHW, fine to coarse."""
        ...

    @property
    def info(self) -> FeatureInfo: ...


# ---------------------------------------------------------------------------------------- objectives


class Embeddings(NamedTuple):
    """What one forward of a backbone under an objective gives; rows are samples in every tensor.

    embedding: (N, D), the pooled backbone output of the first view, detached: for the monitor.
    outputs: one (N, P) per view, what the loss differentiates (projections or predictions); the first is what
    a memory bank keeps.
    targets: (N, P) each, without gradient (a teacher's projections, of as many views as it sees); empty where
    the method has none.
    """

    embedding: Tensor
    outputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...] = ()


class Samples(NamedTuple):
    """Who the gathered rows are; int64 (N,) each.

    ids: positions in the source. groups: samples of one group (frames of one video) are never negatives of
    each other; every sample is a group of its own where the source knows none. labels: class numbers, -1
    where unknown; all -1 unless the objective says that it `needs_labels`.
    """

    ids: Tensor
    groups: Tensor
    labels: Tensor

    @classmethod
    def of(cls, ids: Tensor, labels: Tensor | None = None) -> Samples:
        """Samples without groups, and without labels where none are given."""
        return cls(ids, ids, torch.full_like(ids, -1) if labels is None else labels)


@dataclass(frozen=True)
class Neighbours:
    """Other samples chosen for each anchor from the whole corpus, aligned with the gathered rows.

    embeddings: (N, K, P), unit length, without gradient; ids: int64 (N, K), -1 where there is none;
    weights: (N, K), 0 where there is none.
    """

    embeddings: Tensor
    ids: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Mined:
    """What a miner found for each anchor: negatives to differ from, positives to agree with."""

    negatives: Neighbours | None = None
    positives: Neighbours | None = None


class Outcome(NamedTuple):
    """The value of an objective: `loss`, a scalar with gradient, and detached scalars worth logging."""

    loss: Tensor
    terms: Mapping[str, Tensor]


class Objective(Protocol):
    """What pretraining minimises, as an nn.Module that owns everything the method adds to the backbone.

    It is built as `Objective(backbone, **options)` and must not keep the backbone. The two stages are apart
    because ranks meet between them: `embed` sees local rows, `loss` sees the rows of all ranks and knows no
    ranks. A parameter used in `loss` gets the same gradient on every rank. Random numbers in `loss` come from
    `sslkit.keyed_random` and a counter in the state, never from torch's generator.

    A class may say `needs_labels = True` (else every label is -1) and `takes_mined = True` (else a run with a
    miner is refused).
    """

    def embed(self, backbone: BackboneLike, views: Sequence[Tensor]) -> Embeddings:
        """Local views, each (N, C, H, W), to embeddings of local rows; runs under the distributed wrapper."""
        ...

    def loss(self, embeddings: Embeddings, samples: Samples, mined: Mined | None = None) -> Outcome:
        """Gathered rows to a scalar, identical on every rank; all ranks call it at once. Changes no state."""
        ...

    def after_step(self, backbone: BackboneLike, progress: float) -> None:
        """Moves what is no parameter (teachers, queues, centres) after an optimiser step.

        progress: runs from 0 to 1 over the whole run.
        """
        ...


# --------------------------------------------------------------------------------------------- heads


@dataclass(frozen=True)
class HeadSpec:
    """What a head asks for.

    input: image | pair | clip | track. features: vector | map | pyramid. target: label, boxes, flow, ...
    """

    name: str
    input: str
    features: str
    target: str


class Head(Protocol):
    """A task network on a backbone (an nn.Module). Labels are 0..K-1; a head adds background privately.

    Boxes are absolute float xyxy pixels; the ignore label of maps is 255.
    """

    spec: HeadSpec

    def build(self, info: FeatureInfo, task: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        """Create the layers for a backbone and a task (at least `classes`)."""
        ...

    def forward(self, features: Any) -> Any:
        """Features as `spec.features` says to raw outputs."""
        ...

    def loss(self, raw: Any, targets: Any) -> dict[str, Tensor]:
        """Raw outputs and targets to named scalars, summed for training."""
        ...

    def decode(self, raw: Any, meta: Any) -> Any:
        """Raw outputs to predictions in original pixels."""
        ...

    def metrics(self, task: Mapping[str, Any]) -> Any:
        """An accumulator of the head's metrics."""
        ...

    def draw(self, sample: Any, prediction: Any) -> np.ndarray:
        """A picture of a prediction, uint8 RGB (H, W, 3)."""
        ...

    def example_batch(self, seed: int) -> Any:
        """A small batch the head can overfit."""
        ...


# --------------------------------------------------------------------------------- downstream results


@dataclass(frozen=True)
class Score:
    """One row of an evaluation: who was measured, and its figures by name (shares in 0..1)."""

    subject: str
    figures: Mapping[str, float]
    per_class: Mapping[str, float] = field(default_factory=dict)
