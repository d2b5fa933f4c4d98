"""How a head is trained, as a protocol writes it down: every key is given, none has a default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from sslkit.config.problems import describe
from sslkit.config.section import Count, NotNegative, Positive, Section, Share
from sslkit.errors import ConfigError

Momentum = Annotated[float, Field(ge=0, lt=1)]
Pair = Annotated[tuple[Positive, Positive], Field(strict=False)]


class ElasticPlan(Section):
    """Elastic deformation: displacements of alpha pixels, smoothed over sigma pixels, with probability p."""

    alpha: Positive
    sigma: Positive
    p: Share


class AugmentPlan(Section):
    """flip: probability. scale: least and largest, 1 fits the canvas. colour: strength of the jitter."""

    flip: Share
    scale: Pair
    elastic: ElasticPlan | None
    colour: NotNegative

    @model_validator(mode="after")
    def _ordered(self) -> AugmentPlan:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {list(self.scale)} must run from the smaller to the larger")
        return self

    @property
    def none(self) -> bool:
        """Whether every epoch sees the same pixels."""
        return not self.flip and not self.colour and self.elastic is None and self.scale == (1.0, 1.0)


class HeadTraining(Section):
    """One training of a head.

    size: (height, width) of the canvas, pixels. steps: of the optimiser, each over `batch` samples of all
    processes. layer_decay: each layer of the backbone learns at this factor of the next one's rate. ema:
    momentum of the averaged weights, 0 none. held_out: share of the training samples that picks the best
    weights, looked at every `evaluate_every` steps; 0 takes the last. oversample: threshold of repeat
    factors, 0 off. cache: keep the features of a frozen backbone.
    """

    size: Annotated[tuple[Count, Count], Field(strict=False)]
    steps: Count
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
