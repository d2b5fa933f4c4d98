"""Recipes: YAML and `key.sub=value` overrides to frozen models. Only `runs/` and `cli/` know them.

Nothing here knows devices or ranks. An "auto" that depends on the recipe alone (the view policy) is settled
by `load_recipe`; one that depends on the machine or the data (canvas, workers, precision, channels_last) is
settled by the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AliasChoices, Field, ValidationError, model_validator

from sslkit.config.data import Data
from sslkit.config.files import read_recipe
from sslkit.config.mining import MiningPlan
from sslkit.config.problems import describe
from sslkit.config.section import Component, Count, Named, NotNegative, Positive, Section
from sslkit.config.views import ViewsChoice
from sslkit.errors import ConfigError
from sslkit.yaml_text import line_of, parse_value, parse_yaml

SMALL_VIEW = 64  # pixels; up to this side the ImageNet views leave too little to see
BATCH_SIZE = ("size", "global")
"""The spellings of one key of `batch`; recipes are written with the first."""


class Backbone(Named):
    """A network and what changes it.

    name: timm's, or one that a plugin gives. stem: "small" keeps the resolution of small views. options: the
    network's own. transforms: changes of the network by name with their options, applied in the order
    written; `inflate: {kernel: 3}` beside the other keys is short for one. Their names are checked where the
    backbone is built.
    """

    name: Annotated[str, Field(min_length=1)] = "resnet18"
    stem: Literal["auto", "standard", "small"] = "auto"
    pretrained: bool = False
    options: dict[str, Any] = Field(default_factory=dict)
    transforms: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short_transforms(cls, given: Any) -> Any:
        """`inflate: {...}` beside the other keys is short for `transforms: {inflate: {...}}`."""
        if not isinstance(given, dict):
            return given
        short = {
            key: options
            for key, options in given.items()
            if isinstance(options, dict) and key not in cls.model_fields
        }
        if not short:
            return given
        rest = {key: value for key, value in given.items() if key not in short}
        return {**rest, "transforms": {**(given.get("transforms") or {}), **short}}


class ObjectiveChoice(Component):
    """What pretraining minimises, and the keyword arguments of its class."""

    name: Annotated[str, Field(min_length=1)] = "simclr"


class OptimizerChoice(Section):
    """The optimizer; with linear scaling its peak learning rate is lr * samples per step / 256."""

    name: Literal["lars", "sgd", "adamw"] = "sgd"
    lr: Positive = 0.06
    weight_decay: NotNegative = 5e-4
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    lr_scaling: Literal["linear", "none"] = "linear"


class Schedule(Section):
    """Linear warm-up, then a cosine down to final_lr (Loshchilov and Hutter, 2017); lengths in epochs."""

    epochs: Count = 100
    warmup_epochs: NotNegative = 10.0
    final_lr: NotNegative = 0.0

    @model_validator(mode="after")
    def _warm_up_fits(self) -> Schedule:
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs:g}) may be at most epochs ({self.epochs})")
        return self


class BatchPlan(Section):
    """size, or global: samples over all ranks, which a loss compares; accumulate: such batches per step.

    micro: samples of one forward on each rank; where its share is larger it is embedded in chunks with cached
    gradients, and loss and gradient stay those of the whole batch. "auto": as many as the memory holds.
    batchnorm: what then becomes of layers that normalise over the rows they see: "refuse" them, "frozen" on
    their running statistics, or "per_chunk", each chunk by itself.
    """

    size: Annotated[int, Field(ge=2, validation_alias=AliasChoices(*BATCH_SIZE))] = 256
    accumulate: Count = 1
    micro: Count | Literal["auto"] | None = None
    batchnorm: Literal["refuse", "frozen", "per_chunk"] = "refuse"

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.keys() >= set(BATCH_SIZE):
            both = " and ".join(f"{key} ({given[key]})" for key in BATCH_SIZE)
            raise ValueError(f"{both} are two spellings of one setting; keep one of them")
        return given


class MonitorPlan(Section):
    """How often the k-NN monitor looks, and at how many samples."""

    every_epochs: Count = 1
    samples: Annotated[int, Field(ge=2)] = 2000
    k: Count = 20


class CheckpointPlan(Section):
    """How often a checkpoint is written, and how many of the last are kept."""

    every_epochs: Count = 1
    every_steps: Count | None = None
    keep: Count = 2


class Recipe(Section):
    """Everything that reproduces a pretraining run, apart from the data and the machine."""

    data: Data = Data()
    backbone: Backbone = Backbone()
    objective: ObjectiveChoice = ObjectiveChoice()
    views: ViewsChoice = ViewsChoice()
    optimizer: OptimizerChoice = OptimizerChoice()
    schedule: Schedule = Schedule()
    batch: BatchPlan = BatchPlan()
    mining: MiningPlan | None = None
    clip_gradient: Positive | None = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    channels_last: bool | Literal["auto"] = "auto"
    monitor: MonitorPlan = MonitorPlan()
    checkpoint: CheckpointPlan = CheckpointPlan()
    log_every: Count = 10
    """Steps between two lines of metrics."""
    seed: Annotated[int, Field(ge=0)] = 0
    trackers: Annotated[tuple[str, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _one_order(self) -> Recipe:
        if self.data.mix and self.mining is not None and self.mining.hard_batches is not None:
            raise ValueError(
                "data.mix and mining.hard_batches both say what makes a batch; leave one of them out"
            )
        return self

    @property
    def peak_lr(self) -> float:
        """The learning rate after warm-up; linear scaling follows Goyal et al. (2017), section 2.1."""
        if self.optimizer.lr_scaling == "none":
            return self.optimizer.lr
        return self.optimizer.lr * self.batch.size * self.batch.accumulate / 256

    def settled(self) -> Recipe:
        """The same recipe with the view policy that "auto" stands for at its view size."""
        if self.views.name != "auto":
            return self
        name = "simclr_small" if self.views.size <= SMALL_VIEW else "simclr"
        return self.model_copy(update={"views": self.views.model_copy(update={"name": name})})

    def to_yaml(self) -> str:
        """The recipe as YAML with every default spelt out; `load_recipe` reads it back to an equal recipe."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_recipe(name_or_file: str | Path | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a named recipe or a YAML file (None: the defaults), then set each `key.sub=value` in order.

    Raises ConfigError for a file that is missing or not YAML, an unknown key, or a value of the wrong kind;
    UnknownNameError for an unknown recipe.
    """
    where, text = ("", "") if name_or_file is None else read_recipe(name_or_file)
    given = parse_yaml(text, where)
    for override in overrides:
        _override(given, override)
    try:
        return Recipe.model_validate(given).settled()
    except ValidationError as error:
        overridden = {override.partition("=")[0].strip() for override in overrides}

        def place(path: str) -> str:
            if any(
                path == key or path.startswith(f"{key}.") or key.startswith(f"{path}.") for key in overridden
            ):
                return "on the command line"
            line = line_of(text, path)
            return f"{where}, line {line}" if line else where or "the default recipe"

        raise ConfigError(describe(error, Recipe, place)) from None


def _override(given: dict[str, Any], override: str) -> None:
    """Set `key.sub=value` in the nested mapping, opening a section written in its short form."""
    path, equals, value = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(
            f"cannot read '{override}'; write an override as key.sub=value, e.g. schedule.epochs=50"
        )
    section = given
    for depth, key in enumerate(keys[:-1], start=1):
        inner = section.get(key)
        if isinstance(inner, str):
            inner = {"name": inner}
        elif inner is None:
            inner = {}
        elif not isinstance(inner, dict):
            raise ConfigError(
                f"cannot set '{path.strip()}': '{'.'.join(keys[:depth])}' is {inner!r}, not a section"
            )
        section[key] = inner
        section = inner
    if keys[:-1] == ["batch"] and keys[-1] in BATCH_SIZE:  # it replaces the other spelling too
        for spelling in BATCH_SIZE:
            section.pop(spelling, None)
    section[keys[-1]] = parse_value(value, override)
