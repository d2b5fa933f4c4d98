"""How many rows one forward may take on this machine: `batch.micro=auto`, measured instead of believed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from sslkit.contracts import Embeddings
from sslkit.errors import ConfigError
from sslkit.training.caching import statistics_kept

SHARE = 0.5
"""Share of the free memory that one forward and backward may fill; the rest is for views, loss and loader."""

FEW, MORE = 2, 6
"""Rows of the two measured batches; what a row costs is the slope between them."""


def choose_micro(
    learner: nn.Module,
    views: Callable[[int], Sequence[Tensor]],
    *,
    rows: int,
    device: torch.device,
    budget: int | None = None,
) -> int:
    """Samples per forward so that what is kept for its backward fits `budget`; measuring leaves no trace.

    learner: views to embeddings, in training mode, without a distributed wrapper. views: makes views of so
    many samples on the device; their values do not matter. rows: this process's share of the batch. budget:
    bytes; half of the free memory if None. Returns `rows` when all fit, else a power of two, at least 1.
    Synchronised layers want all ranks here at once, and the smallest answer taken. Raises ConfigError when
    budget is None and the system does not say how much memory is free.
    """
    room = int(SHARE * free_memory(device)) if budget is None else budget
    if rows <= 1:
        return rows
    with torch.random.fork_rng([device] if device.type == "cuda" else []), statistics_kept(learner):
        measure = _peak_bytes if device.type == "cuda" else _saved_bytes
        few, more = (measure(learner, views(count)) for count in (FEW, MORE))
    per_row = max(1, (more - few) // (MORE - FEW))
    return rows_that_fit(rows, per_row=per_row, fixed=max(0, few - FEW * per_row), room=room)


def rows_that_fit(rows: int, *, per_row: int, fixed: int, room: int) -> int:
    """All `rows` when fixed + per_row * rows <= room (bytes), else the largest power of two, or 1."""
    if fixed + per_row * rows <= room:
        return rows
    most = max(1, (room - fixed) // per_row)
    return 1 << (most.bit_length() - 1)


def free_memory(device: torch.device) -> int:
    """Bytes this process may still take: the GPU's, or its share of the system's or container's.

    Raises ConfigError where the system does not say.
    """
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    rooms = [room for room in (_available(), _control_group()) if room is not None]
    if not rooms:
        raise ConfigError(
            "batch.micro=auto cannot learn how much memory is free on this system; give the rows of one "
            "forward, e.g. batch.micro=64"
        )
    # The launcher says how many processes share this machine.
    return min(rooms) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _available(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    return _field(meminfo, "MemAvailable:", unit=1024)


def _control_group(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes left under the limit of a container (version 2 of control groups), None without a limit."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    # Files that were read count as used, and go when the room is needed.
    cached = _field(folder / "memory.stat", "inactive_file") or 0
    return int(limit) - used + cached if limit.isdigit() else None


def _field(file: Path, name: str, *, unit: int = 1) -> int | None:
    """The number behind `name` at the start of a line, times `unit`; None when there is none."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * unit for line in lines if line.split()[:1] == [name]), None)


def _saved_bytes(learner: nn.Module, views: Sequence[Tensor]) -> int:
    """Bytes that a forward keeps for its backward, views included, parameters not; each storage once."""
    storages = {view.untyped_storage().data_ptr(): view.untyped_storage().nbytes() for view in views}
    parameters = {parameter.untyped_storage().data_ptr() for parameter in learner.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        kept = learner(views)  # alive until all is counted, so that no address is used twice
    del kept
    return sum(storages.values())


def _peak_bytes(learner: nn.Module, views: Sequence[Tensor]) -> int:
    """The peak of a forward and backward on a GPU over what was allocated before, views included."""
    device = views[0].device
    parameters = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    peak = 0
    for _ in range(2):  # the first one also allocates the libraries' workspaces
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        rows: Embeddings = learner(views)
        total = torch.stack([output.float().sum() for output in rows.outputs]).sum()
        torch.autograd.grad(total, parameters, allow_unused=True)
        peak = int(torch.cuda.max_memory_allocated(device)) - before
        del rows, total
    return peak + sum(view.nbytes for view in views)
