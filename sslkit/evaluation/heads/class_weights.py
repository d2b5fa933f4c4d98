"""Weights that make rare classes count as much as common ones."""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit.contracts import Task
from sslkit.errors import ConfigError


def balanced_weights(task: Task, option: str) -> Tensor:
    """One weight a class, inverse to its frequency: the mean of all n_k, divided by n_k.

    So the samples of each class count in sum as much as those of any other, and the average weight of a
    sample is 1. Classes that never occur have weight 0 and are left out of the mean. float32 (number of
    classes,). Raises ConfigError that names `option` where the task does not know the numbers.
    """
    if not sum(task.counts):
        raise ConfigError(
            f"{option} balances classes by how many samples each has, which is not known here; use none"
        )
    counts = torch.tensor(task.counts, dtype=torch.float64)
    occurring = counts > 0
    weights = counts.sum() / (occurring.sum() * counts.clamp(min=1))
    return torch.where(occurring, weights, 0.0).float()
