"""What is profiled: which head, by which protocol, of what shape, on which backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sslkit.config.head_training import HeadTraining, check_input, read_training
from sslkit.contracts import HeadSpec
from sslkit.errors import ConfigError
from sslkit.evaluation.protocols import Protocol
from sslkit.models.architecture import Transform
from sslkit.models.backbone import Backbone
from sslkit.models.canvas import for_canvas
from sslkit.models.creation import transformed
from sslkit.registry import names
from sslkit.registry.protocols import changed, load_protocol
from sslkit.runs.backbones import transforms_of
from sslkit.runs.embedder import Embedder
from sslkit.runs.head_backbone import changed_backbone
from sslkit.runs.head_evaluation import choose_head

STREAMED = 16
"""Frames of a clip that is streamed, where neither the run nor the caller says."""

TRAINED = 8
"""Samples of a training step, where no protocol says."""


@dataclass(frozen=True)
class HeadPlan:
    """A head and how it is measured."""

    spec: HeadSpec
    protocol: Protocol
    training: HeadTraining


@dataclass(frozen=True)
class Shape:
    """Of a pass: samples, frames of each, (height, width)."""

    sample: str
    batch: int
    frames: int
    size: tuple[int, int]


def head_plan(head: str | None, protocol: str | Path | None, settings: Sequence[str]) -> HeadPlan | None:
    """The head asked for, or that of the protocol, with the protocol asked for, or its own."""
    if head is None and protocol is None:
        return None
    name = head if head is not None else load_protocol(protocol if protocol is not None else "").head
    if name in names("probe"):
        raise ConfigError(f"'{name}' is a probe, fitted to embeddings; profile the backbone without a head")
    spec, described = choose_head(name, protocol, settings)
    training = read_training(described.training, str(described.id))
    return HeadPlan(spec, described, training)


def shape_of(
    embedder: Embedder,
    plan: HeadPlan | None,
    size: tuple[int, int] | None,
    frames: int | None,
    batch: int | None,
    *,
    train: bool,
    stream: bool,
) -> Shape:
    """The shape asked for; what is not asked for is the protocol's, or the model's own."""
    if plan is None:
        count = frames or embedder.clips.frames
        if stream and frames is None and count == 1:
            count = STREAMED
        kind = "clip" if count > 1 or stream else "image"
        return Shape(kind, batch or (TRAINED if train else 1), count, size or (embedder.size,) * 2)
    rows = batch or (plan.training.batch if train else 1)
    return Shape(plan.spec.input, rows, _frames(plan, frames), size or plan.training.size)


def _frames(plan: HeadPlan, frames: int | None) -> int:
    """Of a sample of the head, as its protocol says or as asked."""
    if plan.spec.input == "clip":
        if frames is None:
            check_input(plan.spec, plan.training)
        return frames or (plan.training.clip.frames if plan.training.clip else 1)
    fixed = {"image": 1, "pair": 2}[plan.spec.input]
    if frames not in (None, fixed):
        what = {"image": "single images", "pair": "pairs"}[plan.spec.input]
        raise ConfigError(f"--frames {frames}: head '{plan.spec.name}' takes {what}; leave --frames out")
    return fixed


def transforms_alone(settings: Sequence[str]) -> tuple[Transform, ...]:
    """Of a backbone alone, from settings such as "backbone.inflate.kernel=3"."""
    asked = changed(Protocol("none", 1, "", "frozen", {}, ""), list(settings))
    if asked.options or asked.training or asked.mode != "frozen":
        given = " ".join(settings)
        raise ConfigError(
            f"{given}: without a head only the backbone can be changed, as backbone.inflate.kernel=3; name a "
            "head with --head, or a --protocol"
        )
    return transforms_of(asked.backbone or {})


def fitted(
    embedder: Embedder, plan: HeadPlan | None, transforms: Sequence[Transform], shape: Shape
) -> Backbone:
    """The backbone ready for this size, with its transforms, or with those of the protocol."""
    if plan is not None:
        training = plan.training.model_copy(update={"size": shape.size})
        return changed_backbone(embedder, training, plan.protocol, seed=0).eval()
    backbone = embedder.backbone
    if backbone.fixed_size not in (None, shape.size):
        backbone = for_canvas(backbone, shape.size)
    return transformed(backbone, transforms).to(embedder.device).eval()
