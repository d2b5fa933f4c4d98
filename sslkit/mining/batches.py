"""Hard batches: an order of the samples in which those near each other share a batch.

Negatives from the batch are then hard without a second forward. An order is a function of its arguments, so
every rank and every resumed run makes the same one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sslkit.errors import ConfigError
from sslkit.keyed_random import hashed, permutation, word

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class HardBatches:
    """Neighbourhoods of `cluster` samples, from `start_epoch` on; a share `mix` of batches stays random."""

    cluster: int = 8
    mix: float = 0.0
    start_epoch: int = 1

    def __post_init__(self) -> None:
        _check_options(self.cluster, self.mix)
        if self.start_epoch < 0:
            raise ConfigError(f"mining.hard_batches.start_epoch is {self.start_epoch}; epochs begin at 0")


def hard_order(
    neighbours: Ids,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    cluster: int,
    groups: Ids | None = None,
    mix: float = 0.0,
) -> Ids:
    """Every sample once, int64 (M,), such that each `batch_size` in a row are made of neighbourhoods.

    neighbours: int64 (M, k), the nearest other samples of each, nearest first, -1 where there is none; k of a
    few times `cluster` finds partners for most. A neighbourhood is a sample and up to cluster - 1 of its
    nearest that nobody took before, no two of one group (groups: int64 (M,)). Samples take turns in the keyed
    order of the epoch, so over a run none is favoured. A share `mix` of the M // batch_size whole batches, at
    random places, is of random samples. Where nobody has a neighbour the order is the keyed random one.

    Raises ConfigError for sizes that cannot work and for neighbours that are no ids of samples.
    """
    _check(neighbours, groups, batch_size, cluster, mix)
    count = len(neighbours)
    order: Ids = permutation(count, seed=seed, epoch=epoch).numpy()
    mixed = round(mix * (count // batch_size)) * batch_size
    apart, rest = order[:mixed], order[mixed:]
    members, starts = _neighbourhoods(neighbours, rest, apart, cluster, groups)
    if len(starts) - 1 == len(rest):
        return order
    shuffled = _keyed_order(len(starts) - 1, "neighbourhoods", seed, epoch)
    packed = np.array(_packed(members, starts, shuffled, batch_size), dtype=np.int64)
    if not mixed:
        return packed
    whole = len(packed) // batch_size * batch_size
    batches = np.concatenate([apart, packed[:whole]]).reshape(-1, batch_size)
    places = _keyed_order(len(batches), "batches", seed, epoch)
    return np.concatenate([batches[places].reshape(-1), packed[whole:]])


def _neighbourhoods(
    neighbours: Ids, turns: Ids, apart: Ids, cluster: int, groups: Ids | None
) -> tuple[list[int], list[int]]:
    """Members of all neighbourhoods in a row, and where each begins (and the last ends)."""
    free = bytearray(b"\1" * len(neighbours)) + b"\0"  # the last answers for -1, which nobody can take
    for sample in apart.tolist():
        free[sample] = 0
    members: list[int] = []
    starts = [0]
    for sample in turns.tolist():
        if not free[sample]:
            continue
        free[sample] = 0
        members.append(sample)
        room = cluster - 1
        met = None if groups is None else {int(groups[sample])}
        for near in neighbours[sample].tolist():
            if not room:
                break
            if free[near] and (met is None or groups is None or int(groups[near]) not in met):
                free[near] = 0
                members.append(near)
                room -= 1
                if met is not None and groups is not None:
                    met.add(int(groups[near]))
        starts.append(len(members))
    return members, starts


def _packed(members: list[int], starts: list[int], turns: Ids, batch_size: int) -> list[int]:
    """Members in the order of batches; a neighbourhood that does not fit waits, the largest that fits goes.

    Where none is small enough, it is cut in two at the end of the batch.
    """
    sizes = np.diff(np.asarray(starts)).tolist()
    by_size: list[list[int]] = [[] for _ in range(max(sizes) + 1)]  # stacks, the next in turn on top
    for number in turns[::-1].tolist():
        by_size[sizes[number]].append(number)
    waits = bytearray(b"\1" * len(sizes))
    packed: list[int] = []

    def place(number: int) -> None:
        waits[number] = 0
        packed.extend(members[starts[number] : starts[number + 1]])

    for number in turns.tolist():
        while waits[number]:
            room = batch_size - len(packed) % batch_size
            if sizes[number] <= room:
                place(number)
                continue
            for stack in by_size[room::-1]:
                while stack and not waits[stack[-1]]:
                    stack.pop()
                if stack:
                    place(stack.pop())
                    break
            else:
                place(number)
    return packed


def _keyed_order(count: int, what: str, seed: int, epoch: int) -> Ids:
    keys = hashed(seed, epoch, word(what), torch.arange(count))
    order: Ids = torch.argsort(keys, stable=True).numpy()
    return order


def _check(neighbours: Ids, groups: Ids | None, batch_size: int, cluster: int, mix: float) -> None:
    _check_options(cluster, mix)
    if cluster > batch_size:
        raise ConfigError(
            f"mining.hard_batches.cluster={cluster} samples do not fit in a batch of {batch_size}; "
            f"use at most {batch_size}"
        )
    if neighbours.dtype != np.int64 or neighbours.ndim != 2:
        raise ConfigError(f"neighbours are {neighbours.dtype} {neighbours.shape}; int64 (M, k) is needed")
    count = len(neighbours)
    if neighbours.size and not -1 <= neighbours.min() <= neighbours.max() < count:
        low, high = neighbours.min(), neighbours.max()
        raise ConfigError(f"neighbours hold ids {low} to {high} of {count} samples; -1 stands for none")
    if groups is not None and groups.shape != (count,):
        raise ConfigError(f"groups have the shape {groups.shape}; one for each of {count} samples is needed")


def _check_options(cluster: int, mix: float) -> None:
    if cluster < 2:
        raise ConfigError(f"mining.hard_batches.cluster is {cluster}; a neighbourhood has at least 2 samples")
    if not 0 <= mix <= 1:
        raise ConfigError(f"mining.hard_batches.mix is {mix}; it is a share of the batches, in [0, 1]")
