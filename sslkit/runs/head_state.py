"""The state of a head's training that a checkpoint carries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sslkit.errors import RunError
from sslkit.runs.head_parts import Best, HeadParts
from sslkit.training.checkpoint import Position, has_checkpoint, load_checkpoint, save_checkpoint


@dataclass(frozen=True)
class HeadState:
    """Checkpoints in a folder."""

    folder: Path

    def save(self, parts: HeadParts, position: Position) -> None:
        """Write everything that shapes the rest of the training, on the main process."""
        if not parts.accelerator.is_main_process:
            return
        best = parts.best
        state: dict[str, Any] = {
            "protocol": parts.protocol.hash,
            "fingerprint": parts.train.fingerprint,
            "seed": parts.seed,
            "model": parts.model.state_dict(),
            "averaged": parts.averaged.state_dict() if parts.averaged is not None else None,
            "optimizer": parts.optimizer.state_dict(),
            "generator": torch.get_rng_state(),
            "best": None if best is None else [best.step, best.figure, best.weights],
        }
        save_checkpoint(self.folder, position, state, keep=1)

    def restore(self, parts: HeadParts) -> Position:
        """Put the newest checkpoint into freshly made parts; the start where there is none.

        Raises RunError when it is of another protocol, seed or data, CheckpointError when it is damaged.
        """
        if not has_checkpoint(self.folder):
            return Position()
        position, state, _ = load_checkpoint(self.folder)
        given = (parts.protocol.hash, parts.train.fingerprint, parts.seed)
        if (state["protocol"], state["fingerprint"], state["seed"]) != given:
            raise RunError(
                f"{self.folder} holds a training with another protocol, data or seed; give the same, or "
                "another --out"
            )
        parts.model.load_state_dict(state["model"])
        parts.optimizer.load_state_dict(state["optimizer"])
        if parts.averaged is not None:
            parts.averaged.load_state_dict(state["averaged"])
        if state["best"] is not None:
            parts.best = Best(*state["best"])
        torch.set_rng_state(state["generator"])
        return position
