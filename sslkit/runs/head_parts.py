"""What one training of a head touches."""

from __future__ import annotations

from dataclasses import dataclass, field
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
from sslkit.training.optim import build_optimizer
from sslkit.training.precision import Layout

SGD_MOMENTUM = 0.9


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

    A plan of no steps makes no optimiser, since a head may have nothing that trains.
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
