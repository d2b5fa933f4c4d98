"""Fewer frames: groups of them averaged where a stage begins, or packed for a strided convolution.

Shapes: N clips of T frames, rows N * T, groups of s frames.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sslkit.contracts import ClipRows
from sslkit_inflation.folded import as_clips


class FrameMean:
    """A forward pre-hook: rows (N * T, ...) to the means of groups of s frames, (N * T / s, ...).

    The last group may be shorter; its mean is of the frames that are there. While streaming it stays in
    `clip_rows.history` until it is whole.
    """

    def __init__(self, clip_rows: ClipRows, stride: int) -> None:
        self.clip_rows, self.stride = clip_rows, stride

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """As torch calls it: what the module is given, its first tensor changed."""
        rows: Tensor = inputs[0]
        frames = as_clips(rows, self.clip_rows)
        history = self.clip_rows.history
        if history is not None:
            if self in history:
                frames = torch.cat([history[self], frames], dim=1)
            open_group = frames.shape[1] % self.stride
            kept = frames.shape[1] - open_group
            history[self] = frames[:, kept:].clone()
            frames = frames[:, :kept]
        whole = frames.shape[1] // self.stride
        groups = (len(frames), whole, self.stride, *frames.shape[2:])
        means = frames[:, : whole * self.stride].view(groups).mean(dim=2)
        if frames.shape[1] % self.stride:
            rest = frames[:, whole * self.stride :].mean(dim=1, keepdim=True)
            means = torch.cat([means, rest], dim=1)
        return (means.flatten(0, 1), *inputs[1:])


class Packing:
    """In place of a network's method: pixels (N * T, C, H, W) go in as (N * T / s, s * C, H, W).

    So the network counts as many rows as its first convolution, of temporal stride s, gives, as transformers
    must to lay out their maps. A last group that is not whole is filled with its last frame, or with zeros.
    """

    def __init__(
        self, network: nn.Module, method: str, clip_rows: ClipRows, stride: int, *, zero: bool
    ) -> None:
        self.network, self.method, self.clip_rows = network, method, clip_rows
        self.stride, self.zero = stride, zero

    def __call__(self, pixels: Tensor, *arguments: Any, **options: Any) -> Any:
        """As the method is called."""
        # The class's own method: the instance's is this object.
        own = getattr(type(self.network), self.method)
        return own(self.network, self._packed(pixels), *arguments, **options)

    def _packed(self, pixels: Tensor) -> Tensor:
        frames = as_clips(pixels, self.clip_rows)
        missing = -frames.shape[1] % self.stride
        if missing:
            last = frames[:, -1:].expand(-1, missing, -1, -1, -1)
            frames = torch.cat([frames, torch.zeros_like(last) if self.zero else last], dim=1)
        clips, time, channels, *sides = frames.shape
        return frames.reshape(clips * time // self.stride, self.stride * channels, *sides)
