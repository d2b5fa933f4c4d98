"""Numbers that say whether a representation is alive, without labels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def embedding_std(embeddings: Tensor) -> float:
    """Mean deviation per dimension of the normalised rows, times sqrt(D); embeddings (N, D).

    Near 1 when directions are spread evenly, 0 when all rows point one way (Chen and He 2021, section 4.1).
    """
    rows = F.normalize(embeddings.float(), dim=1)
    return float(rows.std(dim=0).mean() * rows.shape[1] ** 0.5)


def rankme(embeddings: Tensor) -> float:
    """Effective rank of (N, D): exp of the entropy of the singular values' shares (Garrido et al. 2023)."""
    singular = torch.linalg.svdvals(embeddings.double())
    shares = singular / singular.sum().clamp_min(1e-300) + 1e-7
    return float(torch.exp(-(shares * shares.log()).sum()))


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance of positives on the sphere, (N, P) each; 0 is perfect (Wang and Isola 2020)."""
    apart = F.normalize(first.float(), dim=1) - F.normalize(second.float(), dim=1)
    return apart.square().sum(dim=1).mean()


def uniformity(embeddings: Tensor) -> Tensor:
    """log mean exp(-2 d^2) over pairs of (N, P) on the sphere; lower is more even (Wang and Isola 2020)."""
    rows = F.normalize(embeddings.float(), dim=1)
    exponents = 4.0 * (rows @ rows.T) - 4.0  # N x N, -2 d^2 on the unit sphere
    exponents.fill_diagonal_(-torch.inf)  # pairs of different rows only
    count = rows.shape[0] * (rows.shape[0] - 1)
    return torch.logsumexp(exponents.flatten(), dim=0) - math.log(max(count, 1))


def gradient_norm(parameters: list[torch.nn.Parameter]) -> Tensor:
    """L2 norm over all gradients, a scalar tensor left on its device."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm
