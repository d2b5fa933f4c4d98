"""Pretraining: THE loop. Start reading here.

    source -> canvas -> views on the device -> backbone + objective.embed -> gather -> mine -> loss -> step

One loop serves every objective, one process or many, with a miner or without, a first start or a resume; what
happens in a step stands in step.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sslkit.config import Recipe, load_recipe
from sslkit.contracts import Batch
from sslkit.distributed import any_rank
from sslkit.errors import DivergedError, InterruptedRunError, RunError
from sslkit.models.weights import save_backbone
from sslkit.runs.assembly import Parts, assemble
from sslkit.runs.interruption import Interruption
from sslkit.runs.journal import Journal
from sslkit.runs.reading import open_data, resolve
from sslkit.runs.report import write_report
from sslkit.runs.run_folder import RunFolder, create_folder, planned_folder
from sslkit.runs.state import on_main, restore_state, save_state
from sslkit.runs.step import take_step
from sslkit.training.checkpoint import Position, has_checkpoint, load_checkpoint
from sslkit.training.optim import cosine_lr, set_lr
from sslkit.training.stopwatch import OUTSIDE

_SETTLED_AFTER = 2
"""Lines of metrics after which the time of a step is told: the first steps warm up."""


def pretrain(
    data: str | Path | None = None,
    *,
    recipe: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    overrides: Sequence[str] = (),
    progress: bool = True,
) -> Path:
    """Pretrain a backbone on unlabelled images; returns the run folder.

    data: image folder, list file, .npz, or a source such as "shapes:count=6000". recipe: a name or YAML file.
    out: the run folder (default: a fresh one under runs/). overwrite: delete a run that is there. resume:
    continue it instead. overrides: "key.sub=value" settings on top of the recipe.

    Raises ConfigError for a wrong recipe or folder, DataError for unusable data, DivergedError for a loss
    that is not finite, InterruptedRunError after a signal, with a checkpoint to resume from.
    """
    if resume and out is not None and (Path(out) / "config.yaml").is_file():
        return _resume(Path(out), progress)
    settings = load_recipe(recipe, overrides)
    if data is not None:
        settings = settings.model_copy(
            update={"data": settings.data.model_copy(update={"path": _lasting(data), "mix": ()})}
        )
    source = open_data(settings)
    settings = resolve(settings, source)
    folder = on_main(lambda: planned_folder(out, settings, overwrite=overwrite))
    parts = assemble(settings, source, project_dir=str(folder.path))
    parts.recipe = _with_layout(parts.recipe, parts)
    # Only now, when all parts fit together, is an old run given up.
    on_main(lambda: _begin(folder, parts))
    return _run(parts, folder, Position(), progress=progress)


def resume(run: str | Path, *, progress: bool = True) -> Path:
    """Continue a run from its newest intact checkpoint as if it had never stopped; returns the run folder.

    Raises RunError when the folder is no run or its data changed, CheckpointError when nothing can be loaded.
    """
    return _resume(Path(run), progress)


def _resume(run: Path, progress: bool) -> Path:
    folder = RunFolder(run.resolve())
    settings = folder.recipe()
    source = open_data(settings)
    parts = assemble(settings, source, project_dir=str(folder.path))
    if not has_checkpoint(folder.checkpoints):  # stopped before its first one
        return _run(parts, folder, Position(), progress=progress)
    position, state, problems = load_checkpoint(folder.checkpoints)
    if state["fingerprint"] != source.fingerprint:
        raise RunError(
            f"{settings.data.address} changed since the run was started ({state['samples']} samples then, "
            f"{len(source)} now); restore it, or start a new run on the new data"
        )
    restore_state(parts, state)
    return _run(parts, folder, position, progress=progress, notes=problems)


def _begin(folder: RunFolder, parts: Parts) -> None:
    create_folder(folder)
    folder.write_recipe(parts.recipe)
    folder.write_environment(_facts(parts))


def _run(
    parts: Parts, folder: RunFolder, position: Position, *, progress: bool, notes: Sequence[str] = ()
) -> Path:
    with (
        closing(parts.loader),
        closing(parts.miner) if parts.miner is not None else nullcontext(),
        Interruption() as interruption,
        Journal(parts, folder, position, progress=progress) as journal,
    ):
        for note in notes:
            journal.say(f"warning: {note}; using the checkpoint before it")
        journal.say(_headline(parts, folder, position))
        for note in parts.notes:
            journal.say(note)
        _train(parts, folder, position, journal, interruption)
        journal.say(
            f"done; look at {folder.report}, then: sslkit evaluate {folder.path} --data LABELLED, "
            f"or: sslkit index build {folder.path} {parts.recipe.data.address} --out INDEX"
        )
    if parts.accelerator.is_main_process:
        clip = parts.recipe.data.clip
        save_backbone(
            parts.backbone,
            folder.path,
            size=parts.recipe.views.size,
            frames=clip.frames if clip else 1,
            stride=clip.stride if clip else 1.0,
        )
        write_report(folder, parts.source, parts.recipe)
    parts.accelerator.wait_for_everyone()
    return folder.path


def _train(
    parts: Parts, folder: RunFolder, position: Position, journal: Journal, interruption: Interruption
) -> None:
    recipe, device = parts.recipe, parts.accelerator.device
    first_bad = torch.full((), -1, dtype=torch.int64, device=device)
    on_cpu = device.type == "cpu"
    if position.step == 0:
        journal.look(position)
    parts.stopwatch.start()
    while position.epoch < recipe.schedule.epochs:
        parts.learner.train()
        for batches in _steps(parts, position, journal):
            lr = _lr(parts, position.step)
            set_lr(parts.optimizer, lr)
            last_of_log = position.step + 1 in (1, parts.total_steps) or (
                (position.step + 1) % recipe.log_every == 0
            )
            taken = take_step(parts, position, batches, measure=last_of_log)
            step = position.step + 1
            position = replace(position, step=step, batch=position.batch + len(batches))
            # Noted on the device and read only now and then, so that a GPU is not waited for each step.
            first_bad = torch.where((first_bad < 0) & ~taken.outcome.loss.isfinite(), step, first_bad)
            if on_cpu or last_of_log:
                _refuse_divergence(first_bad, parts, folder)
            with parts.stopwatch.phase("logging"):
                journal.step(position, _rows(batches, parts), lr, taken)
            if step == _SETTLED_AFTER * recipe.log_every:
                journal.tell_split()
            due = recipe.checkpoint.every_steps is not None and step % recipe.checkpoint.every_steps == 0
            stop = _asked_to_stop(parts, interruption, agree=on_cpu or last_of_log)
            if due or stop:
                _refuse_divergence(first_bad, parts, folder)
                save_state(parts, folder, position)
            if stop:
                raise InterruptedRunError(
                    f"stopped at step {step} of {parts.total_steps}, saved; "
                    f"continue with: sslkit resume {folder.path}",
                    stop,
                )
        position = Position(position.step, position.epoch + 1, 0)
        ended = position.epoch == recipe.schedule.epochs
        _refuse_divergence(first_bad, parts, folder)
        if position.epoch == 1 or ended:
            journal.tell_split()
        if ended or position.epoch % recipe.monitor.every_epochs == 0:
            with parts.stopwatch.phase(OUTSIDE):
                journal.look(position)
        if ended or position.epoch % recipe.checkpoint.every_epochs == 0:
            save_state(parts, folder, position)


def _steps(parts: Parts, position: Position, journal: Journal) -> Iterator[list[Batch]]:
    """The batches of each remaining step of the epoch, with waiting timed and skipped samples noted."""
    order = None
    if parts.miner is not None:
        order = parts.miner.order(position.epoch, parts.recipe.batch.size, resumed=position.batch > 0)
    batches = iter(parts.loader.epoch(position.epoch, start=position.batch, order=order))
    accumulate = parts.recipe.batch.accumulate
    for _ in range(parts.steps_per_epoch - position.batch // accumulate):
        with parts.stopwatch.phase("wait"):
            step = [next(batches) for _ in range(accumulate)]
        for batch in step:
            journal.skipped(batch.skipped)
        yield step


def _lr(parts: Parts, step: int) -> float:
    recipe = parts.recipe
    return cosine_lr(
        step,
        peak=recipe.peak_lr,
        total_steps=parts.total_steps,
        warmup_steps=round(recipe.schedule.warmup_epochs * parts.steps_per_epoch),
        final=recipe.schedule.final_lr,
    )


def _refuse_divergence(first_bad: Tensor, parts: Parts, folder: RunFolder) -> None:
    if int(first_bad) < 0:
        return
    raise DivergedError(
        f"the loss stopped being finite at step {int(first_bad)} of {parts.total_steps}; checkpoints before "
        f"it are kept in {folder.checkpoints}; start again with a lower optimizer.lr (now "
        f"{parts.recipe.optimizer.lr:g}), a longer schedule.warmup_epochs, clip_gradient=1, or precision=fp32"
    )


def _asked_to_stop(parts: Parts, interruption: Interruption, *, agree: bool) -> int | None:
    """The signal received by this or, when it is time to agree, by any rank."""
    if parts.accelerator.num_processes == 1:
        return interruption.signal
    return any_rank(interruption.signal, parts.accelerator.device) if agree else None


def _rows(batches: Sequence[Batch], parts: Parts) -> int:
    return sum(len(batch) for batch in batches) * int(parts.accelerator.num_processes)


def _lasting(data: str | Path) -> str:
    """A path that means the same from another folder, or a source's address as it is."""
    path = Path(data)
    return str(path.resolve()) if path.exists() else str(data)


def _with_layout(recipe: Recipe, parts: Parts) -> Recipe:
    chosen = {"precision": parts.layout.precision, "channels_last": parts.layout.channels_last}
    return recipe.model_copy(update=chosen)


def _facts(parts: Parts) -> dict[str, Any]:
    device = parts.accelerator.device
    return {
        "processes": parts.accelerator.num_processes,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads(),
        "samples": len(parts.source),
        "fingerprint": parts.source.fingerprint,
        "trained_parameters": sum(p.numel() for p in parts.learner.parameters() if p.requires_grad),
        "layout_milliseconds": parts.layout.milliseconds,
        "views_milliseconds_per_image": parts.engine_milliseconds,
    }


def _headline(parts: Parts, folder: RunFolder, position: Position) -> str:
    recipe, accelerator = parts.recipe, parts.accelerator
    start = f"resuming at step {position.step} of" if position.step else "starting"
    layout = parts.layout.precision + (" channels_last" if parts.layout.channels_last else "")
    return (
        f"{start} {parts.total_steps} steps: {recipe.objective.name} on {recipe.backbone.name}, "
        f"{len(parts.source)} samples at {recipe.views.size} px, batch {recipe.batch.size}, {layout}, "
        f"{accelerator.num_processes} process(es) on {accelerator.device.type}\nwriting {folder.path}"
    )
