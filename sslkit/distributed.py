"""What ranks do together: gather rows with gradient, sum with gradient. Without a process group, identity.

Every rank computes the same loss on the gathered rows, so the gradient with respect to all rows is already
known on every rank: the backward of `gather` takes the local slice and needs no communication. The slice is
multiplied by the number of ranks because the distributed wrapper divides summed gradients by it. Thus
N ranks equal one rank with the global batch, in loss and gradient, uneven local batches included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from sslkit.contracts import Embeddings, Samples


def world_size() -> int:
    """Number of ranks; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number; 0 without a process group."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def gather_rows(embeddings: Embeddings, samples: Samples) -> tuple[Embeddings, Samples]:
    """Rows of all ranks in rank order, at least float32; outputs keep their gradient."""
    exact = Embeddings(
        _exact(embeddings.embedding),
        tuple(_exact(output) for output in embeddings.outputs),
        tuple(_exact(target) for target in embeddings.targets),
    )
    if world_size() == 1:
        return exact, samples
    gathered = Embeddings(
        gather(exact.embedding),
        tuple(gather(output) for output in exact.outputs),
        tuple(gather(target) for target in exact.targets),
    )
    return gathered, Samples(*(gather(column) for column in samples))


def gather(rows: Tensor) -> Tensor:
    """Concatenate (n_r, ...) of every rank r along rows, in rank order; n_r may differ. Differentiable."""
    if world_size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)
    return gathered


def summed(values: Tensor) -> Tensor:
    """Sum over ranks, differentiable: the gradients of all ranks are summed too."""
    if world_size() == 1:
        return values
    total: Tensor = _Sum.apply(values)
    return total


def computed_in_shares(rows: int, compute: Callable[[slice], Tensor]) -> Tensor:
    """What `compute` gives for all of `rows` (along dimension 0), each rank computing an equal share of them.

    compute: a slice of rows to a tensor of as many. For work that is the same on every rank and too large to
    be done by each; the result has no gradient. All ranks call it at once.
    """
    world = world_size()
    bounds = [rows * part // world for part in range(world + 1)]
    own = compute(slice(bounds[rank()], bounds[rank() + 1]))
    return own if world == 1 else gather(own.detach())


def any_rank(value: int | None, device: torch.device) -> int | None:
    """The largest value that any rank gives, or None when none gives one; values are positive."""
    if world_size() == 1:
        return value
    shared = torch.tensor(value or 0, device=device)
    dist.all_reduce(shared, op=dist.ReduceOp.MAX)
    return int(shared) or None


def _exact(rows: Tensor) -> Tensor:
    return rows.to(torch.promote_types(rows.dtype, torch.float32))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        world = world_size()
        counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world)]
        dist.all_gather(counts, torch.tensor([rows.shape[0]], dtype=torch.int64, device=rows.device))
        sizes = [int(count) for count in counts]
        # Collectives want equal shapes: pad to the longest rank, cut after.
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: rows.shape[0]] = rows
        parts = [torch.empty_like(padded) for _ in range(world)]
        dist.all_gather(parts, padded)
        ctx.start = sum(sizes[: rank()])
        ctx.count = rows.shape[0]
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        own = gradient[ctx.start : ctx.start + ctx.count]
        return own * world_size()


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total
