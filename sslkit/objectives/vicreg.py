"""VICReg: keep views together, channels alive and channels uncorrelated (Bardes, Ponce and LeCun 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import BackboneLike, Embeddings, Mined, Outcome, Samples
from sslkit.errors import ConfigError
from sslkit.models.projector import Norm, Projector, embed_views

EPSILON = 1e-4
"""Added to a variance before its root (equation 2)."""


def vicreg(
    first: Tensor,
    second: Tensor,
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
) -> Tensor:
    """Weighted sum of three terms (Bardes et al. 2022, equation 6 with 1 to 5).

    first, second: (N, P), N >= 2, two views of the same samples, all rows of the global batch. Variances and
    covariances divide by N - 1. The invariance term is the mean over rows *and* channels, as in the paper's
    algorithm 1; its equation 5 sums over channels. The variance term is the sum over both views, as in the
    paper; its published code takes their mean, so that `variance=12.5` is what that code calls 25.
    Computed in float32 or better. Returns a scalar. Raises ConfigError for a single row.
    """
    terms = _terms(first, second)
    return invariance * terms.invariance + variance * terms.variance + covariance * terms.covariance


class _Terms(NamedTuple):
    """Scalars, unweighted; variance and covariance are sums over both views."""

    invariance: Tensor
    variance: Tensor
    covariance: Tensor


def _terms(first: Tensor, second: Tensor) -> _Terms:
    if len(first) < 2:
        raise ConfigError(f"VICReg's variance needs at least 2 rows, given {len(first)}; raise batch.size")
    with torch.autocast(first.device.type, enabled=False):
        exact = torch.promote_types(first.dtype, torch.float32)
        one, other = first.to(exact), second.to(exact)
        spread, redundancy = zip(_within(one), _within(other), strict=True)
        return _Terms(
            F.mse_loss(one, other), sum(spread, one.new_zeros(())), sum(redundancy, one.new_zeros(()))
        )


def _within(projections: Tensor) -> tuple[Tensor, Tensor]:
    """v(Z) and c(Z) of one view (N, P): equations 1 and 2, 3 and 4."""
    rows, width = projections.shape
    centred = projections - projections.mean(dim=0)
    variances = centred.square().sum(dim=0) / (rows - 1)  # P
    hinge = F.relu(1.0 - torch.sqrt(variances + EPSILON)).mean()
    # |Z'Z| = |ZZ'|: the smaller of the two products, P x P or N x N.
    product = centred @ centred.T if width > 2 * rows else centred.T @ centred
    squares = (product / (rows - 1)).square().sum()
    return hinge, (squares - variances.square().sum()) / width


class VICReg(nn.Module):
    """VICReg with its projector, which the paper calls expander; takes two views.

    invariance, variance, covariance: weights of the terms, >= 0. projector_*: the MLP between embedding and
    loss, as wide as the paper's.
    """

    def __init__(
        self,
        backbone: BackboneLike,
        *,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        projector_hidden: int = 8192,
        projector_outputs: int = 8192,
        projector_layers: int = 3,
        projector_norm: Norm = "batch",
    ) -> None:
        super().__init__()
        self.weights = {"invariance": invariance, "variance": variance, "covariance": covariance}
        for name, weight in self.weights.items():
            if weight < 0:
                raise ConfigError(f"objective.{name} is {weight}; it is a weight and must be >= 0")
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
                f"VICReg takes 2 views, given {len(views)}; choose a view policy that makes two"
            )
        return embed_views(backbone, self.projector, views)

    def loss(self, embeddings: Embeddings, samples: Samples, mined: Mined | None = None) -> Outcome:
        """Equation 6 over the gathered rows; its terms are logged unweighted."""
        terms = _terms(*embeddings.outputs)._asdict()
        loss = sum(self.weights[name] * term for name, term in terms.items())
        assert isinstance(loss, Tensor)
        return Outcome(loss, {name: term.detach() for name, term in terms.items()})

    def after_step(self, backbone: BackboneLike, progress: float) -> None:
        """Nothing moves."""
