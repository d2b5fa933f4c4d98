"""Checkpoints that survive a kill at any instant: written aside, synced, renamed, verified when read."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sslkit.errors import CheckpointError

FORMAT = 1
STATE_FILE = "state.pt"
CARD_FILE = "checkpoint.json"


@dataclass(frozen=True)
class Position:
    """Where a run stands: optimiser steps done, the epoch, and global batches of it consumed."""

    step: int = 0
    epoch: int = 0
    batch: int = 0


def save_checkpoint(folder: Path, position: Position, state: Mapping[str, Any], *, keep: int) -> Path:
    """Write `folder/step-N` atomically and delete all but the newest `keep` checkpoints.

    state: tensors, numbers, strings, and dicts and lists of them. Raises CheckpointError when it cannot be
    written; what was there before is untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{position.step:08d}"
    aside = folder / f".{final.name}.partial"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir()
        _write_synced(aside / STATE_FILE, lambda file: torch.save(dict(state), file))
        card = {"format": FORMAT, **asdict(position), "sha256": _sha256(aside / STATE_FILE)}
        _write_synced(aside / CARD_FILE, lambda file: file.write(json.dumps(card, indent=2).encode()))
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
        _sync_folder(folder)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        kept = [path.name for path in _checkpoints(folder)]
        raise CheckpointError(
            f"checkpoint {final} could not be written ({error}); free space or mend the folder, then resume"
            + (f" from {kept[-1]}, which is intact" if kept else "; there is no earlier checkpoint")
        ) from error
    for old in _checkpoints(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def has_checkpoint(folder: Path) -> bool:
    """Whether any finished checkpoint lies under `folder`, intact or not."""
    return bool(_checkpoints(folder))


def load_checkpoint(folder: Path) -> tuple[Position, dict[str, Any], list[str]]:
    """The newest intact checkpoint under `folder`, and one message for each damaged one passed over.

    Tensors arrive on the CPU. Raises CheckpointError when there is none, or only of another version.
    """
    problems: list[str] = []
    for path in reversed(_checkpoints(folder)):
        try:
            position, state = _load(path)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        return position, state, problems
    if problems:
        raise CheckpointError(f"no usable checkpoint in {folder}: " + "; ".join(problems))
    raise CheckpointError(f"no checkpoint in {folder}; start the run again with --overwrite")


def _load(path: Path) -> tuple[Position, dict[str, Any]]:
    try:
        card = json.loads((path / CARD_FILE).read_text())
        if card["format"] != FORMAT:
            raise CheckpointError(
                f"{path} has checkpoint format {card['format']}, this version of sslkit reads {FORMAT}; "
                "resume it with the version named in the run's environment.json"
            )
        if _sha256(path / STATE_FILE) != card["sha256"]:
            raise CheckpointError(f"{path / STATE_FILE} is damaged: its hash is not the one in {CARD_FILE}")
        state: dict[str, Any] = torch.load(path / STATE_FILE, map_location="cpu", weights_only=True)
        return Position(card["step"], card["epoch"], card["batch"]), state
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} cannot be read ({error})") from error


def _checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.glob("step-*") if (path / CARD_FILE).is_file())


def _write_synced(path: Path, write: Any) -> None:
    with path.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
