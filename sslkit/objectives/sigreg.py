"""LeJEPA: views agree while embeddings are kept isotropic Gaussian (Balestriero and LeCun 2025)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import BackboneLike, Embeddings, Mined, Outcome, Samples
from sslkit.errors import ConfigError
from sslkit.keyed_random import Stream, hashed, word
from sslkit.models.projector import Norm, Projector, embed_views


def sigreg(embeddings: Tensor, directions: Tensor, *, knots: int = 17, reach: float = 3.0) -> Tensor:
    """Sketched isotropic Gaussian regularisation (Balestriero and LeCun 2025, arXiv 2511.08544, section 4).

    embeddings: (N, P). directions: (S, P), of unit length. For each slice x = embeddings @ direction the
    statistic of Epps and Pulley (1983) against N(0, 1): N times the integral over t from -reach to reach of
    |mean_n exp(i t x_n) - exp(-t^2/2)|^2 exp(-t^2/2), by the trapezoid rule. The integrand is even, so
    `knots` points t = 0 ... reach stand for the 2 knots - 1 of both halves. The defaults are those of the
    authors' code. Mean over slices; it grows with N unless the rows are Gaussian. Computed in float32 or
    better. Returns a scalar >= 0.
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        exact = torch.promote_types(embeddings.dtype, torch.float32)
        slices = embeddings.to(exact) @ directions.to(exact).T  # N x S
        points = torch.linspace(0.0, reach, knots, dtype=exact, device=slices.device)
        gaussian = torch.exp(-points.square() / 2)  # its characteristic function, and the window
        weights = gaussian * (2 * reach / (knots - 1))
        weights[[0, -1]] /= 2
        angles = slices[:, :, None] * points  # N x S x knots
        error = (angles.cos().mean(dim=0) - gaussian).square() + angles.sin().mean(dim=0).square()
        return (error @ weights).mean() * embeddings.shape[0]


def agreement(views: Sequence[Tensor], global_views: int) -> Tensor:
    """Mean squared distance of every view to the mean of the first `global_views` (the same, section 5).

    views: V of (N, P). Mean over views, rows and coordinates, in float32 or better. Returns a scalar.
    """
    exact = torch.promote_types(views[0].dtype, torch.float32)
    stacked = torch.stack(list(views)).to(exact)  # V x N x P
    return (stacked - stacked[:global_views].mean(dim=0)).square().mean()


class SIGReg(nn.Module):
    """LeJEPA with its projector: no teacher, no stop-gradient, one trade-off.

    regularization: the paper's lambda, the share of `sigreg` in the loss, in [0, 1]. global_views: how many
    of the first views make the centre that all views are drawn to. slices: directions a step, drawn anew
    each step as a function of seed and step. knots, reach: the quadrature of `sigreg`. projector_*: the MLP
    between embedding and loss.
    """

    step: Tensor

    def __init__(
        self,
        backbone: BackboneLike,
        *,
        regularization: float = 0.02,
        global_views: int = 2,
        slices: int = 256,
        knots: int = 17,
        reach: float = 3.0,
        seed: int = 0,
        projector_hidden: int = 2048,
        projector_outputs: int = 128,
        projector_layers: int = 3,
        projector_norm: Norm = "batch",
    ) -> None:
        super().__init__()
        if not 0.0 <= regularization <= 1.0:
            raise ConfigError(
                f"objective.regularization is {regularization}; it is a share and must lie in [0, 1]"
            )
        for name, value, least in (
            ("global_views", global_views, 1),
            ("slices", slices, 1),
            ("knots", knots, 2),
        ):
            if value < least:
                raise ConfigError(f"objective.{name} is {value}; it must be at least {least}")
        if reach <= 0:
            raise ConfigError(f"objective.reach is {reach}; it must be > 0")
        self.regularization, self.global_views = regularization, global_views
        self.slices, self.knots, self.reach, self.seed = slices, knots, reach, seed
        self.projector = Projector(
            backbone.embedding_dim,
            hidden=projector_hidden,
            outputs=projector_outputs,
            layers=projector_layers,
            norm=projector_norm,
        )
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def embed(self, backbone: BackboneLike, views: Sequence[Tensor]) -> Embeddings:
        """The global views, then any smaller ones, to their projections (N, P).

        Raises ConfigError for fewer than two views, or when the first are not the largest.
        """
        sides = [view.shape[-1] for view in views]
        large = set(sides[: self.global_views])
        if len(sides) < max(2, self.global_views) or len(large) > 1 or max(sides) > max(large):
            raise ConfigError(
                f"sigreg was given views of {sides} pixels; it takes at least two, the first "
                f"objective.global_views={self.global_views} of one size and the largest: "
                "views.name=multi_crop, or any policy of two views"
            )
        return embed_views(backbone, self.projector, views)

    def loss(self, embeddings: Embeddings, samples: Samples, mined: Mined | None = None) -> Outcome:
        """(1 - lambda) agreement + lambda sigreg, the latter the mean over views (the same, section 5)."""
        views = embeddings.outputs
        directions = self.directions(views[0].shape[1])
        statistics = [sigreg(view, directions, knots=self.knots, reach=self.reach) for view in views]
        gaussian, near = torch.stack(statistics).mean(), agreement(views, self.global_views)
        loss = (1.0 - self.regularization) * near + self.regularization * gaussian
        return Outcome(loss, {"sigreg": gaussian.detach(), "prediction": near.detach()})

    def after_step(self, backbone: BackboneLike, progress: float) -> None:
        """The next step has slices of its own."""
        self.step += 1

    def directions(self, width: int) -> Tensor:
        """This step's unit vectors (slices, width), the same on every rank."""
        numbers = torch.arange(self.slices, dtype=torch.int64, device=self.step.device)
        keys = hashed(self.seed, word("sigreg"), self.step, numbers)
        return F.normalize(Stream(keys).normal(width), dim=1)
