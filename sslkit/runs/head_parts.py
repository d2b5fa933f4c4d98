"""What one training of a head touches."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sslkit.config.head_training import HeadTraining
from sslkit.contracts import HeadSpec, LabelledSource, Task
from sslkit.evaluation.protocols import Protocol
from sslkit.models.batchnorm import synchronize_batchnorm
from sslkit.models.modes import learning_rates
from sslkit.models.task_model import TaskModel
from sslkit.runs.splits import HeadSplits
from sslkit.runs.stored_features import FrozenFeatures
from sslkit.training.feature_store import FeatureStore
from sslkit.training.optim import build_optimizer
from sslkit.training.precision import Layout

SGD_MOMENTUM = 0.9
PHASES = ("features", "training", "judging")


@dataclass(frozen=True)
class Best:
    """The weights that did best on what was held out of the training samples; larger figures are better."""

    step: int
    figure: float
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class HeadRun:
    """What all trainings of an evaluation share; out: the folder they lie in."""

    protocol: Protocol
    plan: HeadTraining
    spec: HeadSpec
    splits: HeadSplits
    layout: Layout
    out: Path
    progress: bool

    @property
    def task(self) -> Task:
        """What the head is to predict."""
        counts = self.splits.train.class_counts().sum(axis=0)
        frames = {"image": 1, "pair": 2, "clip": self.plan.clip.frames if self.plan.clip else 1}
        return Task(
            self.spec.target,
            tuple(self.splits.train.classes),
            self.plan.size,
            tuple(map(int, counts)),
            frames[self.spec.input],
        )


@dataclass
class HeadParts:
    """Everything one training touches; folder: where its diary, checkpoints and cache lie.

    A plan of no steps makes no optimiser, since a head may have nothing that trains. store: where features of
    a frozen backbone are kept and found; None keeps those of the training in its folder until it ends, and
    judges from pixels. seconds: of "features", "training" and "judging", in this process since it began.
    """

    protocol: Protocol
    plan: HeadTraining
    accelerator: Accelerator
    model: TaskModel
    train: LabelledSource
    held_out: LabelledSource | None
    seed: int
    folder: Path
    wrapped: nn.Module = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)
    averaged: AveragedModel | None = field(init=False)
    best: Best | None = None
    store: FeatureStore | None = None
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    _phases: list[str] = field(default_factory=list)
    _since: float = 0.0

    def __post_init__(self) -> None:
        self.model.to(self.accelerator.device)
        self.averaged = None
        model: nn.Module = self.model
        if not self.plan.steps:
            self.wrapped = model
            return
        if self.accelerator.num_processes > 1:
            model = synchronize_batchnorm(model, self.accelerator.device)
        rates = learning_rates(self.model.backbone, self.plan.layer_decay)
        optimizer = build_optimizer(
            self.model,
            name=self.plan.optimizer,
            lr=self.plan.lr,
            weight_decay=self.plan.weight_decay,
            momentum=SGD_MOMENTUM,
            factors={f"backbone.{name}": rate for name, rate in rates.items()},
        )
        if self.plan.ema:
            average = get_ema_multi_avg_fn(self.plan.ema)  # type: ignore[no-untyped-call]
            self.averaged = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
        self.wrapped, self.optimizer = self.accelerator.prepare(model, optimizer)

    @property
    def judged(self) -> TaskModel:
        """The weights that predict: the averaged ones where they are kept."""
        if self.averaged is None:
            return self.model
        return cast(TaskModel, self.averaged.module)

    @cached_property
    def stored(self) -> FrozenFeatures | None:
        """Features from the store, where the protocol says that those of a frozen backbone are kept."""
        if self.store is None or not (self.plan.cache and self.model.mode.frozen):
            return None
        return self.features_in(self.store)

    def features_in(self, store: FeatureStore) -> FrozenFeatures:
        """Features of the frozen backbone, kept in any store; the time they take is counted."""
        return FrozenFeatures(self.model, self.plan, self.accelerator, store, self.timed)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the time in here to `seconds`; a phase inside another stops the outer one."""
        self._account()
        self._phases.append(phase)
        try:
            yield
        finally:
            self._account()
            self._phases.pop()

    def _account(self) -> None:
        now = time.perf_counter()
        if self._phases:
            self.seconds[self._phases[-1]] += now - self._since
        self._since = now
