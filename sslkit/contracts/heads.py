"""Heads: task networks on a backbone, and all that travels between them and the loop that trains them.

Shapes: N samples, T frames, C channels, H x W pixels of the canvas, D embedding width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.contracts.data import Skipped
from sslkit.contracts.models import FeatureInfo, FeatureMap
from sslkit.contracts.targets import Target

InputKind = Literal["image", "pair", "clip"]
FeatureKind = Literal["vector", "map", "pyramid"]


@dataclass(frozen=True)
class HeadSpec:
    """What a head asks for and how it is judged.

    input: image | pair | clip. features: the embedding (vector), the coarsest map (map), or all maps whose
    stride is at least `finest` (pyramid). target: label | boxes | masks | semantic | flow, or a plugin's own
    word, which a source must offer. metric: the figure that tells the best weights. protocol: the name of the
    protocol it is measured by unless another is given; "" is none.
    """

    name: str
    input: InputKind
    features: FeatureKind
    target: str
    metric: str
    higher_is_better: bool = True
    finest: int = 4
    protocol: str = ""


@dataclass(frozen=True)
class Task:
    """What is to be predicted.

    classes: label k is classes[k]; empty where the target has none. size: (height, width) of the canvas.
    counts: how many samples, objects or pixels of each class there are to train on; empty where unknown.
    frames: T of the clips, 2 of pairs.
    """

    target: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    counts: tuple[int, ...] = ()
    frames: int = 1


@dataclass(frozen=True)
class Meta:
    """Where a sample lies: on its canvas from the top left, and how large it was.

    id: position in the source. original: (height, width) of the sample as stored, upright; valid: those on
    the canvas; canvas: of the canvas, whose other pixels are padding. view: which of the views of one sample
    this is, where a test looks at several.
    """

    id: int
    name: str
    original: tuple[int, int]
    valid: tuple[int, int]
    canvas: tuple[int, int]
    view: int = 0

    def boxes_to_original(self, boxes: Tensor) -> Tensor:
        """(K, 4) xyxy on the canvas to pixels of the original, clipped to it."""
        height, width = (whole / part for whole, part in zip(self.original, self.valid, strict=True))
        scaled = boxes * boxes.new_tensor([width, height, width, height])
        limit = boxes.new_tensor([self.original[1], self.original[0]] * 2)
        return torch.minimum(scaled.clamp(min=0), limit)

    def map_to_original(self, values: Tensor) -> Tensor:
        """(C, h, w) that cover the canvas to (C, *original), bilinear, without the padding; C may be 0."""
        if not len(values):
            return values.new_zeros(0, *self.original, dtype=torch.float32)
        fine = F.interpolate(values[None].float(), size=self.canvas, mode="bilinear", align_corners=False)
        inside = fine[..., : self.valid[0], : self.valid[1]]
        return F.interpolate(inside, size=self.original, mode="bilinear", align_corners=False)[0]


@dataclass(frozen=True)
class LabelledBatch:
    """Samples with targets, as the loop of heads sees them.

    ids: int64 (N,). pixels: uint8 (N, C, H, W), of pairs and clips (N, T, C, H, W), at the top left of
    canvases whose padding is zero. targets: in pixels of the canvas. skipped: could not be decoded.
    """

    ids: Tensor
    pixels: Tensor
    metas: tuple[Meta, ...]
    targets: tuple[Target, ...]
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return self.ids.shape[0]

    def to(self, device: torch.device) -> LabelledBatch:
        """Pixels and targets on a device; ids and metas stay."""
        targets = tuple(target.to(device) if hasattr(target, "to") else target for target in self.targets)
        return replace(self, pixels=self.pixels.to(device, non_blocking=True), targets=targets)


@dataclass(frozen=True)
class HeadFeatures:
    """What a head sees of a batch.

    vector: (N, D) for `vector`, else None. maps: fine to coarse, one for `map`; values (N, C, h, w) with
    h = canvas height / stride, rounded up to the backbone's divisor. Of pairs and clips (N, T', D) and
    (N, T', C, h, w), where T' is T, or less of a backbone with temporal strides.
    canvas: (H, W). metas: one a sample; what lies outside `valid` is padding. pixels: normalised, padding
    zero, (N, C, H, W) or (N, T, C, H, W); None where features come from a cache.
    """

    vector: Tensor | None
    maps: tuple[FeatureMap, ...]
    canvas: tuple[int, int]
    metas: tuple[Meta, ...]
    pixels: Tensor | None = None


@dataclass(frozen=True)
class Figures:
    """What a metric computes: figures by name, and one of them for each class."""

    figures: Mapping[str, float]
    per_class: Mapping[str, float] = field(default_factory=dict)


class Metric(Protocol):
    """Adds up what decides figures, sample by sample; picklable, so that ranks can merge theirs.

    The figures are a function of the set of samples, never of their order or of how they were shared out. An
    id comes several times where a test looks at several views of each sample.

    A class may say `adds_up = True`: what is merged twice counts twice, whatever its ids, so that figures of
    bootstrap resamples are sums of what is known of each sample. One that can judge any rows of what it has
    seen may have `judged()`, which gives a `Judged`.
    """

    def update(self, ids: Sequence[int], predictions: Sequence[Any], targets: Sequence[Any]) -> None:
        """Take in samples; predictions and targets in pixels of the originals."""
        ...

    def merge(self, other: Any) -> None:
        """Take in what another accumulator has seen of other samples."""
        ...

    def compute(self) -> Figures:
        """The figures of all samples seen."""
        ...


@dataclass(frozen=True)
class Example:
    """A small problem that a head must be able to learn by heart; figures are made from it in the tests.

    batch: 8 samples; options: the head's keyword arguments; steps of AdamW at lr; goal: what the figure
    `spec.metric` must reach.
    """

    task: Task
    batch: LabelledBatch
    goal: float
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 200
    lr: float = 1e-3


class Head(Protocol):
    """A task network on a backbone, an nn.Module built as `Head(info, task, **options)`.

    info: the maps (or embedding) it is going to be given. It owns everything trainable that is not the
    backbone, pyramids and decoders included. Labels are 0..K-1; a head adds background privately. It changes
    no global state and does not look at sample names or ids.

    A head of pairs or clips may also have `draw_frames(frames, shown)`, frames uint8 RGB (T, H, W, 3) to a
    picture uint8 RGB; it then takes the place of `draw` where predictions are shown.
    """

    spec: ClassVar[HeadSpec]

    def forward(self, features: HeadFeatures) -> Any:
        """Features to raw outputs, of any form."""
        ...

    def loss(self, raw: Any, targets: Sequence[Any]) -> dict[str, Tensor]:
        """Raw outputs and targets on the canvas to named scalars, summed for training.

        Finite without any object and where all pixels are ignored, with a gradient for every parameter.
        """
        ...

    def decode(self, raw: Any, metas: Sequence[Meta]) -> list[Any]:
        """Raw outputs to predictions in pixels of the originals, one a sample, on the CPU."""
        ...

    def metrics(self) -> Metric:
        """A fresh accumulator."""
        ...

    def draw(self, image: np.ndarray, shown: Any) -> np.ndarray:
        """Draw a target or prediction on its original image; uint8 RGB (H, W, 3) to the same."""
        ...

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Eight generated samples, a function of the seed, and what it takes to learn them by heart."""
        ...


def seen_by(spec: HeadSpec, info: FeatureInfo) -> FeatureInfo:
    """What of a backbone a head of this spec is given: names, channels and strides of its maps."""
    chosen = [place for place, stride in enumerate(info.strides) if stride >= spec.finest]
    if spec.features == "map":
        chosen = [len(info.strides) - 1]
    elif spec.features == "vector":
        chosen = []
    elif not chosen:  # a network that never gets that coarse offers its coarsest
        chosen = [len(info.strides) - 1]
    return replace(
        info,
        names=tuple(info.names[place] for place in chosen),
        channels=tuple(info.channels[place] for place in chosen),
        strides=tuple(info.strides[place] for place in chosen),
        temporal_strides=tuple(info.temporal_strides[place] for place in chosen if info.temporal_strides),
    )


@dataclass(frozen=True)
class Score:
    """One row of an evaluation: who was measured, and its figures by name (shares in 0..1)."""

    subject: str
    figures: Mapping[str, float]
    per_class: Mapping[str, float] = field(default_factory=dict)
