"""Margin loss with a learnable boundary and distance-weighted sampling (Wu et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import BackboneLike, Embeddings, Mined, Neighbours, Outcome, Samples
from sslkit.errors import ConfigError, UnknownNameError
from sslkit.mining.distance_weighted import log_weights
from sslkit.mining.in_batch import drawn, hardest
from sslkit.mining.keyed_pairs import pair_uniform
from sslkit.models.projector import Norm, Projector, embed_views
from sslkit.pairwise.distances import all_pairs, paired

Mean = Literal["active", "all"]
Negatives = Literal["distance_weighted", "random", "hard"]


def margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    beta: float | Tensor,
    margin: float = 0.2,
    mean: Mean = "active",
    nu: float = 0.0,
    weights: Tensor | None = None,
    positive_weights: Tensor | None = None,
) -> Tensor:
    """Margin based loss max(0, margin + y (d - beta)), y = 1 for positives and -1 for negatives; a scalar.

    Wu et al. 2017, "Sampling matters in deep embedding learning", section 4, margin based loss: unlike in a
    triplet, positives need only be nearer than beta - margin and negatives farther than beta + margin.
    anchor: (N, P). positive, negative: (N, P) or, several for each anchor, (N, K, P); nothing is normalised
    here. beta: the boundary, a number or a tensor, without dimensions or (N,), that gets its gradient.
    weights, positive_weights: (N,) or (N, K), >= 0, of negatives and positives; a pair of weight 0 is absent.
    mean: positives and negatives together are averaged over the pairs with a loss ("active", as the paper's
    code does) or over "all". nu: adds nu times the mean beta (same section), which pulls the boundary down.

    Computed in float32 or better; d has gradient 0 at d = 0. Raises ConfigError for other means.
    """
    if mean not in get_args(Mean):
        raise UnknownNameError("mean of the margin loss", mean, get_args(Mean))
    with torch.autocast(anchor.device.type, enabled=False):
        exact = torch.promote_types(anchor.dtype, torch.float32)
        boundary = torch.as_tensor(beta, dtype=exact, device=anchor.device)
        near, far = _distances(anchor.to(exact), positive), _distances(anchor.to(exact), negative)
        hinges = _hinges(near, far, boundary, margin)
        counts = torch.cat([_counts(positive_weights, near), _counts(weights, far)], dim=1)
        return _mean(hinges, counts, mean) + nu * boundary.mean()


class Margin(nn.Module):
    """The margin loss on two views, with its projector and its boundary.

    Every row of either view is an anchor and the other view its positive, beside mined positives where a
    miner gives some. Negatives are the mined ones, whose weights are scaled so that those of an anchor weigh
    one together, as much as one negative for each positive in the paper. Without a miner one row of the other
    view and of another group is taken for each anchor: drawn by distance ("distance_weighted"), drawn alike
    ("random"), or the nearest ("hard"). An anchor whose candidates are all beyond `longest` then has none.

    beta: the boundary at the start, learned with the network unless learn_beta is false. beta_rate: share of
    the learning rate that beta is learned with under SGD or LARS (AdamW takes no notice of it); a boundary as
    quick as an untrained network follows it into a small cone, where nothing is told apart. margin, mean, nu:
    see `margin_loss`. cutoff, longest: see `log_weights`. normalize: rows to unit length; mined neighbours
    have it, and distance weights are those of the sphere, so both need it. seed: of the draws. projector_*:
    the MLP between embedding and loss. Raises ConfigError.
    """

    takes_mined = True
    step: Tensor

    def __init__(
        self,
        backbone: BackboneLike,
        *,
        margin: float = 0.2,
        beta: float = 1.2,
        learn_beta: bool = True,
        beta_rate: float = 0.1,
        nu: float = 0.0,
        mean: Mean = "active",
        negatives: Negatives = "distance_weighted",
        cutoff: float = 0.5,
        longest: float = 1.4,
        normalize: bool = True,
        seed: int = 0,
        projector_hidden: int = 2048,
        projector_outputs: int = 128,
        projector_layers: int = 2,
        projector_norm: Norm = "batch",
    ) -> None:
        super().__init__()
        _check(margin, beta, nu, mean, negatives)
        if not beta_rate > 0:
            raise ConfigError(
                f"objective.beta_rate is {beta_rate}; it must be > 0; learn_beta=false keeps the boundary"
            )
        if negatives == "distance_weighted":
            if not normalize:
                raise ConfigError(
                    "objective.negatives=distance_weighted weighs distances on the unit sphere, but "
                    "objective.normalize=false; set normalize=true, or negatives=random"
                )
            # Refuses bad bounds now and not at the first step.
            log_weights(torch.ones(1), projector_outputs, cutoff=cutoff, longest=longest)
        self.margin, self.nu, self.mean, self.negatives = margin, nu, mean, negatives
        self.beta_rate = beta_rate
        self.cutoff, self.longest, self.normalize, self.seed = cutoff, longest, normalize, seed
        self.beta = nn.Parameter(torch.tensor(float(beta)), requires_grad=learn_beta)
        self.projector = Projector(
            backbone.embedding_dim,
            hidden=projector_hidden,
            outputs=projector_outputs,
            layers=projector_layers,
            norm=projector_norm,
        )
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))  # each step draws anew

    def embed(self, backbone: BackboneLike, views: Sequence[Tensor]) -> Embeddings:
        """Two views (N, C, H, W) to their projections (N, P); one forward, so BatchNorm sees both."""
        return embed_views(backbone, self.projector, views)

    def loss(self, embeddings: Embeddings, samples: Samples, mined: Mined | None = None) -> Outcome:
        """The margin loss of the 2N anchors of gathered rows; beta gets the same gradient on every rank."""
        mined = mined or Mined()
        if not self.normalize and (mined.negatives or mined.positives):
            raise ConfigError(
                "mined neighbours have unit length; set objective.normalize=true, or mine nothing"
            )
        first, second = (self._rows(output) for output in embeddings.outputs)
        anchors, positives = torch.cat([first, second]), torch.cat([second, first])
        with torch.autocast(first.device.type, enabled=False):
            near = _distances(anchors, positives)
            near_counts = torch.ones_like(near)
            if mined.positives:
                more, weights = _to_neighbours(anchors, mined.positives)
                near, near_counts = torch.cat([near, more], 1), torch.cat([near_counts, weights], 1)
            if mined.negatives:
                far, weights = _to_neighbours(anchors, mined.negatives)
                far_counts = F.normalize(weights, p=1, dim=1)
            else:
                columns, far_counts = self._in_batch(first, second, samples)
                far = _distances(anchors, positives[columns])
            fixed = self.beta.detach()  # beta's value, and a share of its gradient
            boundary = fixed + self.beta_rate * (self.beta - fixed)
            hinges = _hinges(near, far, boundary, self.margin)
            counts = torch.cat([near_counts, far_counts], dim=1)
            loss = _mean(hinges, counts, self.mean) + self.nu * boundary
        terms = {
            "beta": self.beta.detach().clone(),
            "active_share": _mean((hinges.detach() > 0).to(counts), counts, "all"),
            "positive_distance": near[:, 0].detach().mean(),
            "negative_distance": _mean(far.detach(), far_counts, "all"),
        }
        return Outcome(loss, terms)

    def after_step(self, backbone: BackboneLike, progress: float) -> None:
        """The next step draws other negatives."""
        self.step += 1

    def _rows(self, output: Tensor) -> Tensor:
        exact = output.to(torch.promote_types(output.dtype, torch.float32))
        return F.normalize(exact, dim=1) if self.normalize else exact

    @torch.no_grad()
    def _in_batch(self, first: Tensor, second: Tensor, samples: Samples) -> tuple[Tensor, Tensor]:
        """For each of the 2N anchors a row of [second, first], (2N,), and its count, (2N, 1): 0 for none."""
        allowed = samples.groups[:, None] != samples.groups[None, :]
        distances = all_pairs(first, second, squared=False)
        chosen = [
            self._chosen(near, allowed, samples.ids, draw, first.shape[1])
            for near, draw in ((distances, "first"), (distances.T, "second"))
        ]
        (columns, found), (other_columns, other_found) = chosen
        counts = torch.cat([found, other_found])[:, None].to(first.dtype)
        return torch.cat([columns, other_columns + len(first)]), counts

    def _chosen(
        self, distances: Tensor, allowed: Tensor, ids: Tensor, draw: str, width: int
    ) -> tuple[Tensor, Tensor]:
        if self.negatives == "hard":
            return hardest(distances, allowed)
        if self.negatives == "random":
            scores = torch.zeros_like(distances)
        else:
            scores = log_weights(distances, width, cutoff=self.cutoff, longest=self.longest)
        uniform = pair_uniform(ids, ids, step=self.step, seed=self.seed, draw=draw)
        return drawn(scores.masked_fill(~allowed, -torch.inf), uniform)


def _distances(anchors: Tensor, others: Tensor) -> Tensor:
    """(N, P) and (N, P) or (N, K, P) to (N, 1) or (N, K)."""
    return paired(anchors[:, None], others[:, None] if others.dim() == 2 else others, squared=False)


def _to_neighbours(anchors: Tensor, neighbours: Neighbours) -> tuple[Tensor, Tensor]:
    """Distances of the 2N anchors of both views to their samples' neighbours, and weights: (2N, K) each."""
    distances = _distances(anchors, neighbours.embeddings.repeat(2, 1, 1))
    return distances, neighbours.weights.to(distances).repeat(2, 1)


def _hinges(near: Tensor, far: Tensor, beta: Tensor, margin: float) -> Tensor:
    """Distances to positives (N, M) and negatives (N, K) to the losses of all pairs, (N, M + K)."""
    boundary = beta.reshape(-1, 1).to(near.dtype)
    return torch.cat([F.relu(margin + near - boundary), F.relu(margin + boundary - far)], dim=1)


def _counts(weights: Tensor | None, distances: Tensor) -> Tensor:
    return torch.ones_like(distances) if weights is None else weights.to(distances).view_as(distances)


def _mean(values: Tensor, weights: Tensor, mean: Mean) -> Tensor:
    """Weighted mean, over all or over what is above 0; 0, with a gradient of 0, where nothing counts."""
    counted = weights if mean == "all" else weights * (values > 0)
    return (values * weights).sum() / counted.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def _check(margin: float, beta: float, nu: float, mean: str, negatives: str) -> None:
    if mean not in get_args(Mean):
        raise UnknownNameError("objective.mean", mean, get_args(Mean))
    if negatives not in get_args(Negatives):
        raise UnknownNameError("objective.negatives", negatives, get_args(Negatives))
    if not margin > 0:
        raise ConfigError(f"objective.margin is {margin}; it must be > 0, such as 0.2")
    if not beta > margin:
        raise ConfigError(
            f"objective.beta is {beta} and objective.margin {margin}; beta must be larger, or no positive "
            "can be near enough: such as beta 1.2 and margin 0.2"
        )
    if nu < 0:
        raise ConfigError(f"objective.nu is {nu}; it must be >= 0")
