"""N ranks against one: the same loss and the same gradients, measured with real processes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from sslkit.contracts import Objective, Samples
from sslkit.distributed import gather_rows
from sslkit.models.batchnorm import synchronize_batchnorm
from sslkit.testing.backbones import TinyBackbone
from sslkit.testing.objective_kit import example_views


class Step(NamedTuple):
    """The loss of one step and the gradient of every trainable parameter, by name."""

    loss: float
    gradients: dict[str, Tensor]


class _Both(nn.Module):
    def __init__(self, backbone: nn.Module, objective: nn.Module) -> None:
        super().__init__()
        self.backbone, self.objective = backbone, objective

    def forward(self, views: Sequence[Tensor]) -> Any:
        return cast(Objective, self.objective).embed(cast(TinyBackbone, self.backbone), views)


def one_rank_step(objective: type, options: Mapping[str, Any], *, rows: int, views: int = 2) -> Step:
    """One step of `objective(backbone, **options)` on a global batch of `rows`, in this process."""
    return _step(objective, options, rows=rows, views=views, sizes=[rows], rank=0)


def many_ranks_step(
    objective: type, options: Mapping[str, Any], *, sizes: Sequence[int], views: int = 2
) -> Step:
    """The same step with rank r holding `sizes[r]` of the rows, in gloo processes; what rank 0 computed.

    Raises AssertionError when ranks disagree about the loss.
    """
    with tempfile.TemporaryDirectory() as folder:
        spawn(  # type: ignore[no-untyped-call]
            _rank, args=(objective, dict(options), list(sizes), views, folder), nprocs=len(sizes)
        )
        steps = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(len(sizes))]
    losses = [step["loss"] for step in steps]
    assert max(losses) == min(losses), f"ranks computed different losses: {losses}"
    return Step(losses[0], steps[0]["gradients"])


def _rank(
    rank: int, objective: type, options: dict[str, Any], sizes: list[int], views: int, folder: str
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=len(sizes))
    try:
        step = _step(objective, options, rows=sum(sizes), views=views, sizes=sizes, rank=rank)
        torch.save(step._asdict(), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


def _step(
    objective: type, options: Mapping[str, Any], *, rows: int, views: int, sizes: Sequence[int], rank: int
) -> Step:
    backbone = TinyBackbone()
    torch.manual_seed(0)
    # Double precision, so that a difference is a mistake and not rounding.
    both: nn.Module = _Both(backbone, objective(backbone, **options)).double()
    own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    wrapped = both
    if len(sizes) > 1:
        synchronize_batchnorm(both, torch.device("cpu"))
        wrapped = DistributedDataParallel(both)
    local = wrapped([view[own].double() for view in example_views(views, rows=rows)])
    ids = torch.arange(rows)[own]
    embeddings, samples = gather_rows(local, Samples.of(ids, ids % 4))
    outcome = cast(Objective, both.objective).loss(embeddings, samples)
    torch.autograd.backward(outcome.loss)
    gradients = {name: p.grad.clone() for name, p in both.named_parameters() if p.grad is not None}
    return Step(float(outcome.loss.detach()), gradients)
