"""Embeddings as points of a plane: principal components, and exact t-SNE for up to some 1,500 samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sslkit.errors import ConfigError, DataError

MOST_POINTS = 1500  # exact t-SNE holds (N, N) matrices and walks them hundreds of times


def principal_components(embeddings: Tensor, count: int = 2) -> Tensor:
    """Coordinates of embeddings (N, D) along their first principal components: float32 (N, count).

    The sign of a component is free in the theory; here its largest entry in absolute value is positive.
    """
    _check(embeddings, count)
    centred = embeddings.double() - embeddings.double().mean(dim=0)
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :count]
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))
    projected: Tensor = centred @ (axes * largest.sign())
    return projected.float()


def tsne(embeddings: Tensor, *, perplexity: float = 30.0, iterations: int = 500) -> Tensor:
    """Exact t-SNE of embeddings (N, D) in the plane: float32 (N, 2), started from the principal components.

    van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008, algorithm 1 and section 3.4 (early
    exaggeration, momentum, adaptive gains); initialised as Kobak and Berens, Nature Communications 2019,
    advise. No random number is used. Raises ConfigError for more than 1,500 points or a perplexity that N
    points cannot have (it must lie in 1..(N - 1) / 3).
    """
    _check(embeddings, 2)
    count = embeddings.shape[0]
    if count > MOST_POINTS:
        raise ConfigError(
            f"t-SNE of {count} points; pass at most {MOST_POINTS}, for example every k-th sample"
        )
    if not 1 <= perplexity <= (count - 1) / 3:
        raise ConfigError(f"perplexity {perplexity:g} of {count} points; it may be 1 to {(count - 1) / 3:g}")
    joint = _affinities(embeddings.double(), perplexity).float()
    start = principal_components(embeddings)
    points = 1e-4 * start / start[:, 0].std().clamp_min(1e-12)
    velocity, gains = torch.zeros_like(points), torch.ones_like(points)
    rate = max(count / 12 / 4, 50.0)  # Belkina et al., Nature Communications 2019; exaggeration is 12
    for step in range(iterations):
        early = step < 250
        gradient = _gradient(joint * 12 if early else joint, points)
        gains = torch.where(gradient * velocity < 0, gains + 0.2, gains * 0.8).clamp_min(0.01)
        velocity = (0.5 if early else 0.8) * velocity - rate * gains * gradient
        points = points + velocity
    return points - points.mean(dim=0)


def _affinities(embeddings: Tensor, perplexity: float) -> Tensor:
    """Joint probabilities (N, N) of eq. 1 and section 3.1, each row's bandwidth found by bisection."""
    count = embeddings.shape[0]
    squared = torch.cdist(embeddings, embeddings).square()
    squared = squared / squared.mean().clamp_min(1e-300)  # only ratios matter: keeps the search in range
    squared.fill_diagonal_(torch.inf)
    nearest = squared.amin(dim=1, keepdim=True)
    low, high = torch.full((count, 1), -60.0).double(), torch.full((count, 1), 60.0).double()
    for _ in range(64):  # log2 of the precision 1 / (2 sigma²)
        middle = (low + high) / 2
        weights = torch.exp(-(squared - nearest) * middle.exp2())
        conditional = weights / weights.sum(dim=1, keepdim=True)
        entropy = torch.special.entr(conditional).sum(dim=1, keepdim=True)
        too_wide = entropy > math.log(perplexity)
        low, high = torch.where(too_wide, middle, low), torch.where(too_wide, high, middle)
    return (conditional + conditional.T) / (2 * count)


def _gradient(joint: Tensor, points: Tensor) -> Tensor:
    """Eq. 5: 4 sum_j (p_ij - q_ij) (y_i - y_j) / (1 + |y_i - y_j|²)."""
    kernel = 1 / (1 + torch.cdist(points, points).square())
    kernel.fill_diagonal_(0)
    pull = (joint - kernel / kernel.sum()) * kernel
    return 4 * (pull.sum(dim=1, keepdim=True) * points - pull @ points)


def _check(embeddings: Tensor, count: int) -> None:
    if embeddings.dim() != 2 or not embeddings.isfinite().all():
        raise DataError(f"embeddings {tuple(embeddings.shape)} must be finite and of shape (N, D)")
    if embeddings.shape[0] < 2 or embeddings.shape[1] < count:
        raise DataError(f"embeddings {tuple(embeddings.shape)}: {count} axes need 2 rows and {count} columns")
