"""Number format and memory layout, chosen by timing them on this machine instead of by belief."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field

import torch
from torch import nn

from sslkit.models.memory_layout import lay_out

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
ROWS = 32
"""Rows of the timed batch: enough to tell the candidates apart, little enough to cost about a second."""

ROUNDS = 4
CLEARLY = 1.2
"""Another layout is taken for being faster than the preferred one by this factor."""


@dataclass(frozen=True)
class Layout:
    """A number format ("fp32", "bf16" or "fp16") and whether convolutions see channels last."""

    precision: str
    channels_last: bool
    milliseconds: dict[str, float] = field(default_factory=dict, compare=False)


def choose_layout(
    backbone: nn.Module,
    *,
    precision: str,
    channels_last: bool | str,
    size: int,
    batch: int,
    device: torch.device,
    frames: int = 1,
) -> Layout:
    """Resolve "auto" by timing forward and backward of `backbone` on this device; no tensor of it changes.

    precision: "auto", "fp32", "bf16" or "fp16". channels_last: "auto" or a bool. size: input side.
    batch: rows per step, the timed batch has at most 32 images, or clips of so many frames. "auto" considers
    fp32 and bf16, and takes bf16 with channels last wherever nothing else is clearly faster, so that noise
    does not decide.
    """
    precisions = ["bf16", "fp32"] if precision == "auto" else [precision]
    layouts = [True, False] if isinstance(channels_last, str) else [channels_last]
    candidates = [Layout(p, last) for p in precisions for last in layouts]
    if len(candidates) == 1:
        return candidates[0]
    channels = next(parameter for parameter in backbone.parameters() if parameter.dim() >= 4).shape[1]
    rows = max(1, min(batch, ROWS) // frames)
    pixels = torch.full((rows, frames, channels, size, size), 0.5, device=device)
    if frames == 1:
        pixels = pixels[:, 0]
    buffers = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    times = dict.fromkeys(candidates, float("inf"))
    # Dropout draws, and the draws must not count.
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for _ in range(
            ROUNDS
        ):  # in turns, since a machine's speed drifts; the fastest counts, noise only adds
            for candidate in candidates:
                times[candidate] = min(times[candidate], _seconds(backbone, pixels, candidate))
    with torch.no_grad():
        for name, buffer in backbone.named_buffers():
            buffer.copy_(buffers[name])
    lay_out(backbone, channels_last=False)
    enough = CLEARLY * min(times.values())
    best = next(candidate for candidate in candidates if times[candidate] <= enough)
    table = {
        f"{c.precision}{' channels_last' if c.channels_last else ''}": round(1000 * times[c], 1)
        for c in candidates
    }
    return Layout(best.precision, best.channels_last, table)


def memory_format(layout: Layout) -> torch.memory_format:
    """The torch memory format of a layout."""
    return torch.channels_last if layout.channels_last else torch.contiguous_format


def _seconds(backbone: nn.Module, pixels: torch.Tensor, layout: Layout) -> float:
    lay_out(backbone, channels_last=layout.channels_last)
    if pixels.dim() == 4:
        pixels = pixels.contiguous(memory_format=memory_format(layout))
    dtype = PRECISIONS[layout.precision]
    start = time.perf_counter()
    with torch.autocast(pixels.device.type, dtype=dtype) if dtype else contextlib.nullcontext():
        output = backbone(pixels)
    output.float().square().mean().backward()
    if pixels.device.type == "cuda":
        torch.cuda.synchronize(pixels.device)
    seconds = time.perf_counter() - start
    backbone.zero_grad(set_to_none=True)
    return seconds
