"""How a head is trained, as a protocol writes it down: every key is given, none has a default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from sslkit.config.problems import describe
from sslkit.config.section import Count, NotNegative, Positive, Section, Share
from sslkit.errors import ConfigError

if TYPE_CHECKING:
    from sslkit.contracts import HeadSpec

PLACED = ("boxes", "masks", "semantic", "flow")
"""Targets that are tied to pixels."""

Momentum = Annotated[float, Field(ge=0, lt=1)]
Pair = Annotated[tuple[Positive, Positive], Field(strict=False)]


class ElasticPlan(Section):
    """Elastic deformation: displacements of alpha pixels, smoothed over sigma pixels, with probability p."""

    alpha: Positive
    sigma: Positive
    p: Share


class AugmentPlan(Section):
    """flip: probability. scale: least and largest, 1 fits the canvas. colour: strength of the jitter.

    crop: least and largest share of the area that a random resized crop shows, in place of `scale`.
    """

    flip: Share
    scale: Pair
    elastic: ElasticPlan | None
    colour: NotNegative
    crop: Annotated[tuple[Share, Share], Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> AugmentPlan:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {list(self.scale)} must run from the smaller to the larger")
        return self

    @property
    def none(self) -> bool:
        """Whether every epoch sees the same pixels."""
        drawn = self.flip or self.colour or self.elastic is not None or self.crop is not None
        return not drawn and self.scale == (1.0, 1.0)


class LabelledClips(Section):
    """How a head of clips looks at its videos.

    frames: T of a clip. stride: frames of the video from one to the next. While training a clip begins
    anywhere; a test sees `views` of them, evenly spaced, and of each 1 or 3 crops. short: a video with fewer
    frames than a clip spans is refused, or its last frame repeated.
    """

    frames: Count
    stride: Positive
    views: Count
    crops: Literal[1, 3]
    short: Literal["refuse", "repeat"]


class LabelDraw(Section):
    """A part of the training samples, drawn class by class anew for every seed: one of these.

    per_class: so many of each class. share: of each class, at least one. imbalance: from the first class,
    kept whole, to the last the numbers fall geometrically by this factor (long tail).
    """

    per_class: Count | None = None
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    imbalance: Annotated[float, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> LabelDraw:
        given = [name for name in ("per_class", "share", "imbalance") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give one of per_class, share and imbalance; it has {' and '.join(given) or 'none'}"
            )
        return self


class StepDecay(Section):
    """The learning rate is multiplied by `factor` at each of these shares of all steps, and else constant."""

    at: Annotated[tuple[Share, ...], Field(strict=False)]
    factor: Annotated[float, Field(gt=0, lt=1)]


class HeadTraining(Section):
    """One training of a head.

    size: (height, width) of the canvas, pixels. steps: of the optimiser, each over `batch` samples of all
    processes; 0 judges the head as it is built. layer_decay: each layer of the backbone learns at this factor
    of the next one's rate. ema: momentum of the averaged weights, 0 none. held_out: share of the training
    samples that picks the best weights, looked at every `evaluate_every` steps; 0 takes the last. oversample:
    threshold of repeat factors, 0 off. cache: keep the features of a frozen backbone, of clips those of the
    middle of each video. clip: of heads of clips alone. decay: in place of the cosine. labels: the part of
    the training samples whose targets are used, None for all.
    """

    size: Annotated[tuple[Count, Count], Field(strict=False)]
    steps: Annotated[int, Field(ge=0)]
    batch: Count
    optimizer: Literal["adamw", "sgd", "lars"]
    lr: Positive
    weight_decay: NotNegative
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    warmup_steps: Annotated[int, Field(ge=0)]
    clip_gradient: Positive | None
    ema: Momentum
    augment: AugmentPlan
    oversample: NotNegative
    cache: bool
    held_out: Annotated[float, Field(ge=0, lt=1)]
    evaluate_every: Count
    clip: LabelledClips | None = None
    decay: StepDecay | None = None
    labels: LabelDraw | None = None

    @model_validator(mode="after")
    def _consistent(self) -> HeadTraining:
        if self.warmup_steps > self.steps:
            raise ValueError(f"warmup_steps ({self.warmup_steps}) may be at most steps ({self.steps})")
        if self.cache and not self.augment.none:
            raise ValueError(
                "cache keeps what the backbone made of one view of each sample; it needs augment "
                "{flip: 0, scale: [1, 1], elastic: null, colour: 0}"
            )
        return self


def read_training(training: Mapping[str, Any] | None, where: str) -> HeadTraining:
    """The training of a protocol; raises ConfigError that names each wrong, unknown or missing key."""
    if training is None:
        raise ConfigError(f"protocol {where} has no 'training', which a head needs")
    try:
        return HeadTraining.model_validate(dict(training))
    except ValidationError as error:
        raise ConfigError(describe(error, HeadTraining, lambda path: f"training of {where}")) from None


def check_input(spec: HeadSpec, plan: HeadTraining) -> None:
    """Raise ConfigError where what a head takes and the clips of its training do not go together."""
    if spec.input == "clip" and plan.clip is None:
        raise ConfigError(
            f"head '{spec.name}' takes clips, and its protocol does not say which; add training.clip, such "
            "as {frames: 16, stride: 2, views: 1, crops: 1, short: refuse}"
        )
    if spec.input != "clip" and plan.clip is not None:
        raise ConfigError(
            f"head '{spec.name}' takes {'pairs' if spec.input == 'pair' else 'images'}, and its protocol has "
            "training.clip; leave it out, or choose a head of clips"
        )
    if plan.clip is not None and plan.clip.crops > 1 and spec.target in PLACED:
        raise ConfigError(
            f"training.clip.crops={plan.clip.crops}: a crop shows a part of the picture, and head "
            f"'{spec.name}' predicts {spec.target} of the whole; use crops: 1"
        )
