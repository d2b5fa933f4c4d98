"""Randomness as a function, not a state.

Every random number of a run is a counter-based hash of (seed, epoch, sample id, view, operation). The same
sample therefore gets the same views whatever the batch, the worker, the number of ranks or the point of
resume, on every device. The hash is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014),
chained over the words of the key; 64-bit integer arithmetic wraps identically on CPU and GPU.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_FIRST = -4658895280553007687  # 0xBF58476D1CE4E5B9
_SECOND = -7723592293110705685  # 0x94D049BB133111EB


@dataclass(frozen=True)
class Keys:
    """Names the random numbers of one batch: the run's seed, the epoch and the ids, int64 of shape (N,)."""

    seed: int
    epoch: int
    ids: Tensor

    def stream(self, view: int, operation: str) -> Stream:
        """The numbers that belong to one operation on one view of every sample of the batch."""
        return Stream(hashed(self.seed, self.epoch, self.ids, view, word(operation)))


@dataclass(frozen=True)
class Stream:
    """One 64-bit key per sample, shape (N,); the numbers drawn are functions of it and of their position."""

    keys: Tensor

    def uniform(self, *shape: int) -> Tensor:
        """Uniform float32 in [0, 1), shape (N, *shape); 24 bits, exactly equal on every device."""
        count = 1
        for side in shape:
            count *= side
        counters = torch.arange(count, dtype=torch.int64, device=self.keys.device)
        bits = _mix(self.keys[:, None] + (counters[None, :] + 1) * _GOLDEN)
        return ((bits >> 40) & 0xFFFFFF).float().mul_(2.0**-24).view(-1, *shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal float32, shape (N, *shape), by Box and Muller (1958)."""
        pair = self.uniform(2, *shape)
        radius = torch.sqrt(-2.0 * torch.log1p(-pair[:, 0]))
        return radius * torch.cos(2.0 * torch.pi * pair[:, 1])


def word(name: str) -> int:
    """A lasting 32-bit number for a name (Python's own hash changes with the process)."""
    return zlib.crc32(name.encode())


def hashed(*words: int | Tensor) -> Tensor:
    """Chain integers and int64 tensors (broadcast together) into one int64 hash."""
    state = torch.zeros((), dtype=torch.int64)
    for part in words:
        if isinstance(part, int):  # any Python integer, negative and large ones too
            part = torch.tensor((part + 2**63) % 2**64 - 2**63, dtype=torch.int64)
        state = _mix((state.to(part.device) if state.dim() == 0 else state) * _GOLDEN + part + _GOLDEN)
    return state


def permutation(count: int, *, seed: int, epoch: int) -> Tensor:
    """The order of `count` samples in an epoch: int64 (count,), a function of its arguments alone."""
    ids = torch.arange(count, dtype=torch.int64)
    return torch.argsort(hashed(seed, epoch, word("permutation"), ids), stable=True)


def _mix(state: Tensor) -> Tensor:
    state = (state ^ _shifted(state, 30)) * _FIRST
    state = (state ^ _shifted(state, 27)) * _SECOND
    return state ^ _shifted(state, 31)


def _shifted(state: Tensor, bits: int) -> Tensor:
    """Logical shift to the right; torch's own shift of a signed integer copies the sign."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)
