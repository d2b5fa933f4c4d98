"""Barlow Twins: make the channels of two views correlate one to one and no further (Zbontar et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sslkit.contracts import BackboneLike, Embeddings, Mined, Outcome, Samples
from sslkit.errors import ConfigError
from sslkit.models.projector import Norm, Projector, embed_views

EPSILON = 1e-5
"""Added to a channel's variance before its root, as the BatchNorm of the paper's code does."""


def barlow_twins(first: Tensor, second: Tensor, *, off_diagonal: float = 0.005) -> Tensor:
    """Sum (1 - C_ii)^2 + off_diagonal * sum over i != j of C_ij^2 (Zbontar et al. 2021, equation 1).

    first, second: (N, P), two views of the same samples, all rows of the global batch; C is the (P, P)
    correlation of their channels over the rows (equation 2), 0 for a channel that does not vary.
    off_diagonal: the paper's lambda. Computed in float32 or better. Returns a scalar.
    """
    invariance, redundancy = _terms(first, second)
    return invariance + off_diagonal * redundancy


def _terms(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The two sums of equation 1."""
    with torch.autocast(first.device.type, enabled=False):
        exact = torch.promote_types(first.dtype, torch.float32)
        one, other = _standardized(first.to(exact)), _standardized(second.to(exact))  # N x P
        rows, width = one.shape
        diagonal = (one * other).sum(dim=0) / rows  # P
        if width > 2 * rows:
            # |A'B|^2 = <AA', BB'>: N x N matrices instead of P x P. As C has rank N at most, its squares off
            # the diagonal then weigh as much as those on it, and the difference below loses no digits.
            squares = ((one @ one.T) * (other @ other.T)).sum() / rows**2
        else:
            squares = ((one.T @ other) / rows).square().sum()
        return (1.0 - diagonal).square().sum(), squares - diagonal.square().sum()


def _standardized(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(dim=0)
    return centred * torch.rsqrt(centred.square().mean(dim=0) + EPSILON)


class BarlowTwins(nn.Module):
    """Barlow Twins with its projector; takes two views.

    off_diagonal: weight of the redundancy term, >= 0. projector_*: the MLP between embedding and loss, as
    wide as the paper's, which found that width matters (figure 4).
    """

    def __init__(
        self,
        backbone: BackboneLike,
        *,
        off_diagonal: float = 0.005,
        projector_hidden: int = 8192,
        projector_outputs: int = 8192,
        projector_layers: int = 3,
        projector_norm: Norm = "batch",
    ) -> None:
        super().__init__()
        if off_diagonal < 0:
            raise ConfigError(f"objective.off_diagonal is {off_diagonal}; it is a weight and must be >= 0")
        self.off_diagonal = off_diagonal
        self.projector = Projector(
            backbone.embedding_dim,
            hidden=projector_hidden,
            outputs=projector_outputs,
            layers=projector_layers,
            norm=projector_norm,
        )

    def embed(self, backbone: BackboneLike, views: Sequence[Tensor]) -> Embeddings:
        """Two views (N, C, H, W) to their projections (N, P); one forward, so BatchNorm sees both."""
        if len(views) != 2:
            raise ConfigError(
                f"Barlow Twins takes 2 views, given {len(views)}; choose a view policy that makes two"
            )
        return embed_views(backbone, self.projector, views)

    def loss(self, embeddings: Embeddings, samples: Samples, mined: Mined | None = None) -> Outcome:
        """Equation 1 over the gathered rows; its two sums, unweighted, are the terms."""
        invariance, redundancy = _terms(*embeddings.outputs)
        terms = {"invariance": invariance.detach(), "redundancy": redundancy.detach()}
        return Outcome(invariance + self.off_diagonal * redundancy, terms)

    def after_step(self, backbone: BackboneLike, progress: float) -> None:
        """Nothing moves."""
