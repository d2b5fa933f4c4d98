"""Random numbers that belong to a pair of samples, whatever the batch they meet in."""

from __future__ import annotations

from torch import Tensor

from sslkit.keyed_random import Stream, hashed, word


def pair_uniform(ids_a: Tensor, ids_b: Tensor, *, step: int | Tensor, seed: int, draw: str = "") -> Tensor:
    """Uniform float32 (N, M) in [0, 1) for ids (N,) and (M,), int64; a function of seed, step, ids and draw.

    The pair is ordered, (a, b) is not (b, a); the number does not depend on the order of rows, other rows or
    ranks. step: a counter, int or int64 tensor without dimensions. draw: names what the numbers are for;
    other names give independent numbers, such as for two views whose rows share their ids.
    """
    # The cheap words first: only the last one is mixed N x M times.
    keys = hashed(seed, word("pairs"), word(draw), step, ids_a[:, None], ids_b[None, :])
    return Stream(keys.reshape(-1)).uniform(1).view(keys.shape)
