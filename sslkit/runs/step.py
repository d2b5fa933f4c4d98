"""One optimiser step: views, both stages of the objective with mining between them, gradients, update."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sslkit.contracts import Batch, Embeddings, Mined, Outcome, Samples
from sslkit.distributed import gather_rows
from sslkit.keyed_random import Keys
from sslkit.runs.assembly import Parts
from sslkit.runs.mining import mining_figures
from sslkit.training.caching import step_in_chunks
from sslkit.training.checkpoint import Position
from sslkit.training.health import alignment, gradient_norm, uniformity
from sslkit.training.precision import memory_format


@dataclass(frozen=True)
class Taken:
    """What a step gave: the detached outcome of its last batch, and figures.

    figures: those that cost time to make; empty unless they were asked for.
    """

    outcome: Outcome
    figures: dict[str, Any] = field(default_factory=dict)


def take_step(parts: Parts, position: Position, batches: Sequence[Batch], *, measure: bool) -> Taken:
    """One optimiser step over the accumulated batches; measure: make the figures that the diary wants."""
    accelerator, watch = parts.accelerator, parts.stopwatch
    stage = SecondStage(parts, position.step)
    for number, local in enumerate(batches, start=1):
        with watch.phase("copy"):
            batch = local.to(accelerator.device)
        stage.samples = _samples(batch, parts)
        chunks = [partial(_views, parts, position.epoch, part) for part in batch.split(parts.chunks)]
        # Ranks sum gradients once, in the last of the accumulated batches.
        last = number == len(batches)
        with watch.phase("forward"), nullcontext() if last else accelerator.no_sync(parts.learner):
            outcome = step_in_chunks(
                parts.learner,
                chunks,
                stage.loss,
                second_stage=parts.second_stage,
                backward=partial(_backward, parts, len(batches)),
                no_sync=lambda: accelerator.no_sync(parts.learner),
                batchnorm=parts.recipe.batch.batchnorm,
            )
        stage.remember()
        _judge_ranges(parts, position, stage)
    with watch.phase("optimiser"):
        norm = _norm(parts, measure)
        parts.optimizer.step()
        parts.optimizer.zero_grad()
        parts.objective.after_step(parts.backbone, (position.step + 1) / parts.total_steps)
    taken = Taken(Outcome(outcome.loss.detach(), outcome.terms))
    if measure:
        taken.figures.update(_geometry(stage.gathered), gradient_norm=norm)
        if parts.randomisation is not None:
            strengths = parts.randomisation.strengths
            taken.figures.update({f"strength_{name}": value for name, value in strengths.items()})
        if parts.miner is not None:
            taken.figures.update(mining_figures(parts.miner, parts.source))
    return taken


class SecondStage:
    """What happens to the rows of all ranks: gather, mine, compare; then the bank remembers them."""

    samples: Samples
    gathered: Embeddings

    def __init__(self, parts: Parts, step: int) -> None:
        self._parts, self._miner, self._step = parts, parts.miner, step
        if self._miner is not None:
            with parts.stopwatch.phase("mining"):
                self._miner.before_step(step)

    def loss(self, local: Embeddings) -> Outcome:
        """The objective's value for the local rows together with those of the other ranks."""
        self.gathered, self.samples = gather_rows(local, self.samples)
        return self._parts.objective.loss(self.gathered, self.samples, self._mined())

    def remember(self) -> None:
        """Write the rows of the last loss to the bank."""
        if self._miner is not None:
            with self._parts.stopwatch.phase("mining"):
                self._miner.write(self.gathered, self.samples, self._step)

    def _mined(self) -> Mined | None:
        if self._miner is None:
            return None
        with self._parts.stopwatch.phase("mining"):
            return self._miner.mine(self.gathered, self.samples, self._step)


def _views(parts: Parts, epoch: int, batch: Batch) -> list[Tensor]:
    layout = memory_format(parts.layout)
    with parts.stopwatch.phase("views"):
        views: Sequence[Tensor] = batch.views
        if not views:
            views = parts.views(batch.pixels, batch.rectangles, Keys(parts.recipe.seed, epoch, batch.ids))
        # Clips have their frames unfolded by the backbone, which then chooses the layout.
        return [view.contiguous(memory_format=layout) if view.dim() == 4 else view for view in views]


def _judge_ranges(parts: Parts, position: Position, stage: SecondStage) -> None:
    """Let the ranges of the views follow what the rows of this batch still recognised."""
    if parts.randomisation is not None:
        seed, epoch, step = parts.recipe.seed, position.epoch, position.step
        with parts.stopwatch.phase("views"):
            parts.randomisation.observe(stage.gathered, stage.samples, seed=seed, epoch=epoch, step=step)


def _backward(parts: Parts, batches: int, loss: Tensor) -> None:
    with parts.stopwatch.phase("backward"):
        parts.accelerator.backward(loss / batches)


def _samples(batch: Batch, parts: Parts) -> Samples:
    """Labels stay out of training unless the objective asks for them by name."""
    asked = getattr(parts.objective, "needs_labels", False)
    return Samples(batch.ids, batch.groups, batch.labels if asked else torch.full_like(batch.ids, -1))


def _norm(parts: Parts, measure: bool) -> Tensor | None:
    if parts.recipe.clip_gradient is not None:
        norm: Tensor = parts.accelerator.clip_grad_norm_(
            parts.learner.parameters(), parts.recipe.clip_gradient
        )
        return norm
    return gradient_norm(list(parts.learner.parameters())) if measure else None


def _geometry(embeddings: Embeddings) -> dict[str, Tensor]:
    """How near positives lie and how evenly rows spread, of what the loss compares (Wang and Isola 2020)."""
    outputs = [output.detach() for output in embeddings.outputs]
    figures = {"uniformity": uniformity(outputs[0])}
    if len(outputs) > 1:
        figures["alignment"] = alignment(outputs[0], outputs[1])
    return figures
