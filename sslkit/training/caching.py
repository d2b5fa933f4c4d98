"""Exact huge batches in little memory: cached gradients (Gao et al. 2021, "GradCache", section 3).

A contrastive loss ties all rows of a batch together, but the backbone treats them one by one. So:

    rows = [learner(chunk) for chunk in chunks]        # without gradient, only the embeddings are kept
    g = d loss(rows) / d rows                          # the loss of the whole batch, exactly
    for chunk in chunks: d <learner(chunk), g> / d w   # again, with gradient; their sum is d loss / d w

The price is a second forward; the activations of one chunk are alive at a time. The gradient is that of the
large batch, with its sums in another order: the same to rounding, and the same bits in exact arithmetic. It
holds for networks whose rows do not see each other; BatchNorm is named and handled, see `step_in_chunks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit.contracts import Embeddings, Outcome
from sslkit.errors import ConfigError

BatchNormPolicy = Literal["refuse", "frozen", "per_chunk"]
Chunk = Callable[[], Sequence[Tensor]]


def step_in_chunks(
    learner: nn.Module,
    chunks: Sequence[Chunk],
    loss: Callable[[Embeddings], Outcome],
    *,
    second_stage: Sequence[nn.Parameter],
    backward: Callable[[Tensor], Any],
    no_sync: Callable[[], AbstractContextManager[Any]],
    batchnorm: BatchNormPolicy = "refuse",
) -> Outcome:
    """Forward, loss and backward of one batch given in chunks of rows; gradients are added to `.grad`.

    learner: views, each (n, C, H, W), to the embeddings of their n rows; a distributed wrapper is welcome.
    chunks: each makes its views, and the same ones when it is called again. loss: the local rows of all
    chunks to the outcome; called once, by all ranks together. second_stage: parameters it may use.
    backward: takes the gradient of a scalar (and scales it, where a run does). no_sync: in it, ranks do not
    sum gradients; they do so in the last chunk. Chunks and ranks may be of unlike sizes, but all ranks have
    one chunk, or all have several.

    batchnorm: what becomes of layers that normalise over the rows they see.
    "refuse": several chunks raise ConfigError, one is the ordinary batch.
    "frozen": they use and keep their running statistics, whatever the number of chunks; the gradient is exact
    for that function, which suits pretrained weights.
    "per_chunk": each chunk is normalised by itself (ghost batches, Hoffer et al. 2017, algorithm 1), which is
    not the large batch; running statistics move once a chunk. Synchronised layers need as many chunks on
    every rank.

    One chunk is the ordinary forward and backward. Dropout draws the same in both passes, and torch's
    generators end as if each chunk had run once. Raises ConfigError also for other layers that keep
    statistics in their forward.
    """
    with _frozen(learner) if batchnorm == "frozen" else nullcontext():
        if len(chunks) == 1:
            outcome = loss(learner(chunks[0]()))
            backward(outcome.loss)
            return Outcome(outcome.loss.detach(), outcome.terms)
        if batchnorm == "refuse":
            refuse_batchnorm(learner)
        device = next(learner.parameters()).device
        parts, states = _embedded(learner, chunks, device)
        rows = _joined(parts)
        outcome = loss(rows)
        end = _generators(device)
        gradients = torch.autograd.grad(outcome.loss, [*rows.outputs, *second_stage], allow_unused=True)
        by_outputs, by_second_stage = gradients[: len(rows.outputs)], gradients[len(rows.outputs) :]
        start = 0
        for number, (chunk, part, state) in enumerate(zip(chunks, parts, states, strict=True), start=1):
            last, own = number == len(chunks), slice(start, start + len(part.embedding))
            start = own.stop
            with nullcontext() if last else no_sync():
                _restore(device, state)
                scalar = _products(learner(chunk()).outputs, [g if g is None else g[own] for g in by_outputs])
                if last:  # here, so that a wrapper sees these parameters in the backward that sums ranks
                    scalar = scalar + _products(second_stage, by_second_stage)
                backward(scalar)
        _restore(device, end)
    return Outcome(outcome.loss.detach(), outcome.terms)


def batchnorm_modules(module: nn.Module) -> list[str]:
    """Names of the layers that normalise over the rows they see together: BatchNorm in training mode."""
    return list(_batchnorms(module))


def refuse_batchnorm(learner: nn.Module) -> None:
    """Raise ConfigError when `learner` has layers that chunks would change; it says what would work."""
    names = batchnorm_modules(learner)
    if not names:
        return
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    raise ConfigError(
        "batch.micro cuts the batch into chunks, and BatchNorm normalises over the rows it sees together, so "
        f"the result would not be the large batch's; found {', '.join(names[:3])}{more}. Take a backbone "
        "without BatchNorm (convnext_tiny, a vision transformer) and projectors with layer norm "
        "(objective.projector_norm=layer); or batch.batchnorm=frozen, which normalises by the running "
        "statistics of pretrained weights; or batch.batchnorm=per_chunk, where each chunk is its own batch "
        "to BatchNorm alone"
    )


@contextmanager
def statistics_kept(learner: nn.Module) -> Iterator[None]:
    """Forward passes in here normalise as ever in training, and leave running statistics alone."""
    tracking = [layer for layer in _batchnorms(learner).values() if layer.track_running_stats]
    for layer in tracking:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in tracking:
            layer.track_running_stats = True


@contextmanager
def _frozen(learner: nn.Module) -> Iterator[None]:
    layers = _batchnorms(learner)
    for name, layer in layers.items():
        if layer.running_mean is None:
            raise ConfigError(
                f"batch.batchnorm=frozen needs running statistics, and BatchNorm '{name}' keeps none; "
                "choose batch.batchnorm=per_chunk, or leave batch.micro out"
            )
    for layer in layers.values():
        layer.training = False  # itself alone: dropout inside timm's layers stays as it is
    try:
        yield
    finally:
        for layer in layers.values():
            layer.training = True


def _batchnorms(module: nn.Module) -> dict[str, _BatchNorm]:
    return {
        name.removeprefix("module."): layer  # what a distributed wrapper puts before every name
        for name, layer in module.named_modules()
        if isinstance(layer, _BatchNorm) and layer.training
    }


@torch.no_grad()
def _embedded(
    learner: nn.Module, chunks: Sequence[Chunk], device: torch.device
) -> tuple[list[Embeddings], list[list[Tensor]]]:
    """The embeddings of each chunk, and the generators as they were before it; no buffer changes."""
    parts, states = [], []
    buffers: dict[str, tuple[Tensor, int]] = {}
    with statistics_kept(learner):
        for chunk in chunks:
            states.append(_generators(device))
            parts.append(learner(chunk()))
            # Only after the first: a distributed wrapper brings rank 0's buffers to all before it.
            buffers = buffers or {name: (b, b._version) for name, b in learner.named_buffers()}
    for name, buffer in learner.named_buffers():
        if buffer is not buffers[name][0] or buffer._version != buffers[name][1]:
            raise ConfigError(
                f"batch.micro puts every chunk through the network twice, and a forward changes the buffer "
                f"'{name.removeprefix('module.')}'; leave batch.micro out, or take a layer that keeps none"
            )
    return parts, states


def _joined(parts: Sequence[Embeddings]) -> Embeddings:
    """Rows of all chunks; outputs are leaves that want a gradient, in float32 or better."""
    outputs = [torch.cat(rows) for rows in zip(*(part.outputs for part in parts), strict=True)]
    return Embeddings(
        torch.cat([part.embedding for part in parts]),
        tuple(rows.to(torch.promote_types(rows.dtype, torch.float32)).requires_grad_() for rows in outputs),
        tuple(torch.cat(rows) for rows in zip(*(part.targets for part in parts), strict=True)),
    )


def _products(tensors: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> Tensor:
    """The sum of <tensor, gradient>: a scalar whose derivative by each tensor is its gradient."""
    known = [(t, g) for t, g in zip(tensors, gradients, strict=True) if g is not None]
    products = [(tensor.to(gradient.dtype) * gradient).sum() for tensor, gradient in known]
    return sum(products, start=torch.zeros(()))


def _generators(device: torch.device) -> list[Tensor]:
    """The states of torch's generators that a forward on `device` may draw from."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    elif device.type == "mps":
        states.append(torch.mps.get_rng_state())
    return states


def _restore(device: torch.device, states: Sequence[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states[1])
