"""The processes of one launch fill the shards of a search structure: the main one leads the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list, gather_object

from sslkit.errors import RunError, SslkitError
from sslkit.neighbours.picker import Fill
from sslkit.neighbours.sharded import fill, fill_shard
from sslkit.runs.assembly import process


def led(work: Callable[[Fill], None]) -> None:
    """Do something on the main process, which may fill structures with the help of all; errors reach all."""
    count = process().num_processes
    if count == 1:
        work(fill)
        return
    if not process().is_main_process:
        _follow()
        return
    end: SslkitError | None = RunError("the main process failed; its own message says why")
    try:
        work(partial(fill, spread=_spread, processes=count))
        end = None
    except SslkitError as error:
        end = error
        raise
    finally:
        broadcast_object_list([(None, end)])


def _spread(folder: Path, vectors: Path, shards: int) -> None:
    _said((folder, vectors, shards), None)
    _fill_share(folder, vectors, shards)


def _follow() -> None:
    while True:
        task, error = _said(None, None)
        if task is None:
            if error is not None:
                raise error
            return
        try:
            _fill_share(*task)
        except SslkitError:  # the main process has it too, and ends the work
            continue


def _said(task: tuple[Path, Path, int] | None, error: SslkitError | None) -> Any:
    """What the main process says to all: a task, or the end with an error or none."""
    return broadcast_object_list([(task, error)])[0]


def _fill_share(folder: Path, vectors: Path, shards: int) -> None:
    """Fill every n-th shard; raises on all processes the error of any."""
    state, error = process(), None
    try:
        for shard in range(state.process_index, shards, state.num_processes):
            fill_shard(folder, vectors, shard, shards)
    except SslkitError as problem:
        error = problem
    first = next((found for found in gather_object([error]) if found is not None), None)
    if first is not None:
        raise first
