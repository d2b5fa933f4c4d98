"""RAFT's loss: every estimate of a sequence counts, later ones more."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslkit_flow.losses.endpoint import mean_where

GAMMA = 0.8
MAX_FLOW = 400.0


def sequence_loss(
    estimates: Sequence[Tensor],
    truth: Tensor,
    known: Tensor,
    *,
    gamma: float = GAMMA,
    max_flow: float = MAX_FLOW,
) -> Tensor:
    """Estimates of flow (N, 2, H, W), truth alike, known bool (N, H, W), to a scalar.

    Sum over the K estimates of gamma^(K - 1 - k) times the mean absolute difference (Teed and Deng 2020,
    equation 7). As in the code that goes with the paper pixels that move `max_flow` or more do not count.
    The mean is over pixels that do, so that sparse truth weighs as much as dense; theirs is over all.
    """
    counts = known & (torch.linalg.vector_norm(truth, dim=1) < max_flow)
    both = counts[:, None].expand_as(truth)
    total = truth.new_zeros(())
    for place, estimate in enumerate(reversed(estimates)):
        total = total + gamma**place * mean_where((estimate - truth).abs(), both)
    return total
