"""The state of a run that a checkpoint carries, and agreement between its processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor

from sslkit.errors import DivergedError, SslkitError
from sslkit.runs.assembly import Parts, process
from sslkit.runs.run_folder import RunFolder
from sslkit.training.checkpoint import Position, save_checkpoint

T = TypeVar("T")


def save_state(parts: Parts, folder: RunFolder, position: Position) -> None:
    """Checkpoint everything that shapes the rest of the run; raises on every rank when it cannot."""
    accelerator = parts.accelerator
    weights = accelerator.unwrap_model(parts.learner).state_dict()
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values() if tensor.is_floating_point()):
        raise DivergedError(
            f"weights stopped being finite by step {position.step} and are not saved; checkpoints before "
            f"it are kept in {folder.checkpoints}; start again with a lower optimizer.lr or clip_gradient=1"
        )
    generators = gather_object([_generator_states(accelerator.device)])
    error: SslkitError | None = None
    if accelerator.is_main_process:
        state: dict[str, Any] = {
            "learner": weights,
            "optimizer": parts.optimizer.state_dict(),
            "scaler": accelerator.scaler.state_dict() if accelerator.scaler is not None else None,
            "generators": generators,
            "fingerprint": parts.source.fingerprint,
            "samples": len(parts.source),
            "randomisation": parts.randomisation.state_dict() if parts.randomisation is not None else None,
            "miner": parts.miner.state_dict(position.step) if parts.miner is not None else None,
        }
        try:
            save_checkpoint(folder.checkpoints, position, state, keep=parts.recipe.checkpoint.keep)
        except SslkitError as problem:
            error = problem
    _raise_together(error)


def restore_state(parts: Parts, state: dict[str, Any]) -> None:
    """Put a checkpoint's tensors and generator states into freshly assembled parts."""
    accelerator = parts.accelerator
    accelerator.unwrap_model(parts.learner).load_state_dict(state["learner"])
    parts.optimizer.load_state_dict(state["optimizer"])
    if accelerator.scaler is not None and state["scaler"] is not None:
        accelerator.scaler.load_state_dict(state["scaler"])
    if parts.miner is not None:
        parts.miner.load_state_dict(state["miner"])
    if parts.randomisation is not None:
        parts.randomisation.load_state_dict(state["randomisation"])
    generators = state["generators"]
    if len(generators) == accelerator.num_processes:  # else dropout starts anew; everything else is keyed
        own = generators[accelerator.process_index]
        torch.set_rng_state(own["cpu"])
        if accelerator.device.type == "cuda":
            torch.cuda.set_rng_state(own["cuda"], accelerator.device)


def _generator_states(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def on_main(work: Callable[[], T]) -> T:
    """Do something on the main process and give its result, or its error, to all."""
    result: list[Any] = [None, None]
    if process().is_main_process:
        try:
            result[0] = work()
        except SslkitError as problem:
            result[1] = problem
    result = broadcast_object_list(result)
    if result[1] is not None:
        raise result[1]
    value: T = result[0]
    return value


def _raise_together(error: SslkitError | None) -> None:
    """Raise the main process's error on every rank, so that none waits for another."""
    shared = broadcast_object_list([error])[0]
    if shared is not None:
        raise shared
