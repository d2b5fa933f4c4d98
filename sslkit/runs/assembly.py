"""From a recipe to the parts of a pretraining run: the only place where config becomes keyword arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, nn

from sslkit.config import Recipe
from sslkit.contracts import Objective, Source, Views
from sslkit.data.loader import Loader
from sslkit.data.views.randomisation import Randomisation
from sslkit.errors import ConfigError
from sslkit.mining.miner import Miner
from sslkit.models.backbone import Backbone
from sslkit.models.batchnorm import synchronize_batchnorm
from sslkit.models.memory_layout import lay_out
from sslkit.registry import build
from sslkit.runs.autopilot import make_views, settle_engine, told
from sslkit.runs.backbones import build_backbone
from sslkit.runs.mining import build_miner
from sslkit.runs.reading import decoded_cache, training_loader
from sslkit.training.caching import refuse_batchnorm
from sslkit.training.learner import Learner
from sslkit.training.memory import choose_micro
from sslkit.training.optim import build_optimizer
from sslkit.training.precision import PRECISIONS, Layout, choose_layout, memory_format
from sslkit.training.stopwatch import Stopwatch

# accelerate ignores a launcher's ranks on a machine without accelerator unless it is told to use the CPU.
_ON_CPU = not torch.accelerator.is_available()


@dataclass
class Parts:
    """Everything the loop touches; `learner` is what accelerate wrapped, around backbone and objective."""

    recipe: Recipe
    accelerator: Accelerator
    source: Source
    loader: Loader
    views: Views
    backbone: Backbone
    objective: Objective
    learner: nn.Module
    optimizer: torch.optim.Optimizer
    layout: Layout
    miner: Miner | None
    chunks: int
    """Parts in which a process embeds its share of a batch; the same number on all."""
    stopwatch: Stopwatch
    engine_milliseconds: dict[str, float]
    """What the views of one image took with each engine that was tried; empty when none was."""
    notes: list[str]
    """What a person should know of how the parts were chosen."""

    @property
    def randomisation(self) -> Randomisation | None:
        """What widens and narrows the ranges of the views, where a recipe asks for it."""
        return getattr(self.views, "randomisation", None)

    @property
    def second_stage(self) -> list[nn.Parameter]:
        """The parameters that `objective.loss` may use."""
        return [p for p in cast(nn.Module, self.objective).parameters() if p.requires_grad]

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one epoch; batches that do not fill an accumulated step are left out."""
        return len(self.loader) // self.recipe.batch.accumulate

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.steps_per_epoch * self.recipe.schedule.epochs


def process() -> PartialState:
    """This process among all that were launched together; without an accelerator they meet through gloo."""
    return PartialState(cpu=_ON_CPU)


def assemble(recipe: Recipe, source: Source, *, project_dir: str) -> Parts:
    """Build every part of a resolved recipe on this process's device.

    Tensors start from `recipe.seed` alone: the same on every rank.
    """
    state = process()
    torch.manual_seed(recipe.seed)
    backbone = build_backbone(recipe.backbone, size=recipe.views.size, options=network_options(recipe))
    objective = build("objective", recipe.objective.name, backbone, **recipe.objective.options)
    if getattr(objective, "needs_labels", False) and source.labels is None:
        raise ConfigError(
            f"objective '{recipe.objective.name}' trains on labels and {recipe.data.address} has none; give "
            "labelled data (class folders, a list with classes), or choose an objective that needs none, "
            "such as simclr"
        )
    recipe, engine_milliseconds = settle_engine(recipe, source, backbone, state)
    views = make_views(recipe, backbone)
    kept = decoded_cache(recipe, source)
    loader = training_loader(recipe, source, views, state, kept.cache)
    if len(loader) < recipe.batch.accumulate:
        raise ConfigError(
            f"batch.accumulate={recipe.batch.accumulate} batches of {recipe.batch.size} need more than the "
            f"{len(source)} samples there are; lower batch.accumulate to at most {len(loader)}"
        )
    backbone.to(state.device)
    layout = _layout(recipe, backbone, state)
    learner: nn.Module = Learner(backbone, objective).to(state.device)
    learner = lay_out(learner, channels_last=layout.channels_last)
    if state.num_processes > 1:
        learner = synchronize_batchnorm(learner, state.device)
    recipe = _with_micro(recipe, learner, views, state, layout)
    chunks = _chunks(recipe, state)
    if chunks > 1 and recipe.batch.batchnorm == "refuse":
        refuse_batchnorm(learner)
    optimizer = build_optimizer(
        learner,
        name=recipe.optimizer.name,
        lr=recipe.peak_lr,
        weight_decay=recipe.optimizer.weight_decay,
        momentum=recipe.optimizer.momentum,
    )
    accelerator = make_accelerator(layout.precision, project_dir, recipe.trackers)
    wrapped, optimizer = accelerator.prepare(learner, optimizer)
    inner = cast(Learner, learner)
    # From here on random numbers are dropout's alone, and ranks must not drop the same units.
    torch.manual_seed(recipe.seed * 1_000_003 + state.process_index)
    return Parts(
        recipe=recipe,
        accelerator=accelerator,
        source=source,
        loader=loader,
        views=views,
        backbone=cast(Backbone, inner.backbone),
        objective=cast(Objective, inner.objective),
        learner=wrapped,
        optimizer=optimizer,
        layout=layout,
        miner=_miner(recipe, source, inner, views, len(loader) // recipe.batch.accumulate, project_dir),
        chunks=chunks,
        stopwatch=Stopwatch(state.device),
        engine_milliseconds=engine_milliseconds,
        notes=[*told(recipe.views.engine, engine_milliseconds), *([kept.reason] if kept.cache else [])],
    )


def _with_micro(
    recipe: Recipe, learner: nn.Module, views: Views, state: PartialState, layout: Layout
) -> Recipe:
    """The recipe with what batch.micro=auto stands for on this machine, the smallest of all ranks."""
    if recipe.batch.micro != "auto":
        return recipe
    device, dtype = state.device, PRECISIONS[layout.precision]

    def blank(rows: int) -> list[Tensor]:
        shape = (rows, *_frames(recipe), recipe.data.channels, views.size, views.size)
        if len(shape) == 5:
            return [torch.zeros(shape, device=device) for _ in range(views.count)]
        one = torch.zeros(shape, device=device).contiguous(memory_format=memory_format(layout))
        return [one.clone() for _ in range(views.count)]

    rows = math.ceil(recipe.batch.size / state.num_processes)
    with torch.autocast(device.type, dtype=dtype) if dtype else nullcontext():
        fitting = choose_micro(learner, blank, rows=rows, device=device)
    micro = min(gather_object([fitting]))
    return recipe.model_copy(update={"batch": recipe.batch.model_copy(update={"micro": micro})})


def _frames(recipe: Recipe) -> tuple[int, ...]:
    """The axis of frames that views of clips have."""
    clip = recipe.data.clip
    return (clip.frames,) if clip is not None and clip.frames > 1 else ()


def _chunks(recipe: Recipe, state: PartialState) -> int:
    micro = recipe.batch.micro
    share = math.ceil(recipe.batch.size / state.num_processes)
    return 1 if micro is None else math.ceil(share / cast(int, micro))


def _miner(
    recipe: Recipe, source: Source, learner: Learner, views: Views, steps: int, folder: str
) -> Miner | None:
    if recipe.mining is None:
        return None
    return build_miner(
        recipe.mining,
        source,
        cast(Objective, learner.objective),
        name=recipe.objective.name,
        width=_output_width(learner, views, recipe),
        steps_per_epoch=steps,
        seed=recipe.seed,
        folder=Path(folder),
    )


@torch.no_grad()
def _output_width(learner: Learner, views: Views, recipe: Recipe) -> int:
    """The width of what the objective compares, which is that of the bank's slots."""
    device = next(learner.parameters()).device
    shape = (2, *_frames(recipe), recipe.data.channels, views.size, views.size)
    blank = torch.zeros(shape, device=device)
    learner.eval()
    width = int(learner([blank] * views.count).outputs[0].shape[1])
    learner.train()
    return width


def network_options(recipe: Recipe) -> dict[str, object]:
    """timm's keyword arguments for a recipe's backbone, the number of channels among them."""
    options = dict(recipe.backbone.options)
    if recipe.data.channels != 3:
        options.setdefault("in_chans", recipe.data.channels)
    return options


def _layout(recipe: Recipe, backbone: Backbone, state: PartialState) -> Layout:
    """Chosen by the main process for all: ranks that computed in different formats would not agree."""
    chosen = [
        choose_layout(
            backbone,
            precision=recipe.precision,
            channels_last=recipe.channels_last,
            size=recipe.views.size,
            batch=recipe.batch.size,
            device=state.device,
            frames=recipe.data.clip.frames if recipe.data.clip else 1,
        )
    ]
    layout: Layout = broadcast_object_list(chosen)[0]
    return layout


def make_accelerator(precision: str, project_dir: str, trackers: Sequence[str] = ()) -> Accelerator:
    """What computes in a precision ("fp32", "bf16", "fp16") on this process's device; raises ConfigError."""
    missing = [name for name in trackers if name not in {str(t) for t in get_available_trackers()}]
    if missing:  # accelerate would leave them out without a word
        raise ConfigError(
            f"tracker '{missing[0]}' is unknown or not installed; install it, or drop it from trackers"
        )
    # accelerate keeps one precision per process and refuses a second; every run brings its own.
    AcceleratorState._reset_state()
    try:
        return Accelerator(
            mixed_precision="no" if precision == "fp32" else precision,
            log_with=list(trackers) or None,
            project_dir=project_dir,
            cpu=_ON_CPU,
            # Buffers come from gathered rows or synchronised statistics, so they agree unsent.
            kwargs_handlers=[
                DistributedDataParallelKwargs(gradient_as_bucket_view=True, broadcast_buffers=False)
            ],
        )
    except (ValueError, ImportError) as error:
        raise ConfigError(
            f"trackers={list(trackers)} or precision={precision} cannot be used here: {error}"
        ) from error
