"""Contrastive (margin) loss: pairs that belong together are pulled, others pushed until a margin apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import BackboneLike, Embeddings, Mined, Neighbours, Outcome, Samples
from sslkit.errors import ConfigError, UnknownNameError
from sslkit.mining.in_batch import drawn, hardest
from sslkit.mining.keyed_pairs import pair_uniform
from sslkit.models.projector import Norm, Projector, embed_views
from sslkit.pairwise.distances import all_pairs, paired

Form = Literal["hadsell", "mixed", "sint", "siamese"]
Negatives = Literal["all", "hard", "random"]


def contrastive_margin(
    first: Tensor,
    second: Tensor,
    same: Tensor,
    *,
    margin: float = 1.0,
    form: Form = "hadsell",
    weights: Tensor | None = None,
) -> Tensor:
    """Contrastive loss of N pairs, their (weighted) mean; a scalar.

    first, second: (N, P), row i of one and of the other are a pair; nothing is normalised here. same: bool or
    int (N,), y = 1 where a pair belongs together. weights: (N,), >= 0, a pair of weight 0 is absent; the sum
    is divided by theirs, and the loss 0 where all are absent. d is the Euclidean distance, m the margin, > 0:

    - hadsell: y d^2 + (1-y) max(0, m-d)^2 (Hadsell, Chopra and LeCun 2006, equation 4, without its halves)
    - mixed: y d + (1-y) max(0, m-d)^2, plain distance for the first part and squared hinge for the other
    - sint: 1/2 y d^2 + 1/2 (1-y) max(0, m-d^2) (SINT; Tao, Gavves and Smeulders 2016)
    - siamese: y d + (1-y) max(0, m-d) (Simo-Serra et al. 2015)

    Computed in float32 or better. The gradient of d at d = 0 is taken as 0, so that it is finite for all
    forms: two equal rows that should differ are left to others to part. Raises ConfigError for an unknown
    form, a margin that is not positive, or a `same` of another length.
    """
    _check(margin, form)
    if same.shape != first.shape[:1]:
        raise ConfigError(
            f"`same` has shape {tuple(same.shape)} for {len(first)} pairs; give one flag for each"
        )
    with torch.autocast(first.device.type, enabled=False):
        exact = torch.promote_types(first.dtype, torch.float32)
        distances = paired(first.to(exact), second.to(exact), squared=False)
        values = torch.where(same.bool(), pull(distances, form), push(distances, margin, form))
        return _mean(values, torch.ones_like(values) if weights is None else weights.to(exact))


def pull(distances: Tensor, form: Form) -> Tensor:
    """What a pair that belongs together costs, in the shape of `distances`; see `contrastive_margin`."""
    if form == "sint":
        return distances.square() / 2
    return distances.square() if form == "hadsell" else distances


def push(distances: Tensor, margin: float, form: Form) -> Tensor:
    """What a pair that should differ costs, in the shape of `distances`; see `contrastive_margin`."""
    if form == "sint":
        return F.relu(margin - distances.square()) / 2
    hinge = F.relu(margin - distances)
    return hinge if form == "siamese" else hinge.square()


class Pairs(NamedTuple):
    """Distances of pairs and what each counts, in one shape."""

    distances: Tensor
    weights: Tensor


class Contrastive(nn.Module):
    """The contrastive loss on pairs from two views, with its projector.

    Positives are the two views of a sample, and mined positives where a miner gives some. Negatives are the
    mined ones with their weights; without a miner, rows of the other view in the batch that belong to other
    groups: "all" of them, the nearest to each anchor ("hard"), or one drawn for it ("random"). The means over
    positives and over negatives are taken apart and added, so that many negatives do not drown the positives.

    margin, form: see `contrastive_margin`. normalize: rows to unit length, so that distances lie in [0, 2]
    and the margin has a scale; mined neighbours have unit length and need it. seed: of the draws.
    projector_*: the MLP between embedding and loss. Raises ConfigError.
    """

    takes_mined = True
    step: Tensor

    def __init__(
        self,
        backbone: BackboneLike,
        *,
        margin: float = 1.0,
        form: Form = "hadsell",
        negatives: Negatives = "all",
        normalize: bool = True,
        seed: int = 0,
        projector_hidden: int = 2048,
        projector_outputs: int = 128,
        projector_layers: int = 2,
        projector_norm: Norm = "batch",
    ) -> None:
        super().__init__()
        _check(margin, form)
        if negatives not in get_args(Negatives):
            raise UnknownNameError("objective.negatives", negatives, get_args(Negatives))
        self.margin, self.form, self.negatives = margin, form, negatives
        self.normalize, self.seed = normalize, seed
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
        """Mean over positive pairs plus mean over negative pairs of the gathered rows."""
        mined = mined or Mined()
        if not self.normalize and (mined.negatives or mined.positives):
            raise ConfigError(
                "mined neighbours have unit length; set objective.normalize=true, or mine nothing"
            )
        first, second = (self._rows(output) for output in embeddings.outputs)
        with torch.autocast(first.device.type, enabled=False):
            views = paired(first, second, squared=False)
            positives = Pairs(views, torch.ones_like(views))
            if mined.positives:
                positives = _joined([positives, _to_neighbours(first, second, mined.positives)])
            if mined.negatives:
                negatives = _to_neighbours(first, second, mined.negatives)
            else:
                negatives = self._in_batch(first, second, samples)
            loss = _mean(pull(positives.distances, self.form), positives.weights)
            pushes = push(negatives.distances, self.margin, self.form)
            loss = loss + _mean(pushes, negatives.weights)
        terms = {
            "positive_distance": views.detach().mean(),
            "negative_distance": _mean(negatives.distances.detach(), negatives.weights),
            "active_share": _mean((pushes.detach() > 0).to(pushes.dtype), negatives.weights),
        }
        return Outcome(loss, terms)

    def after_step(self, backbone: BackboneLike, progress: float) -> None:
        """The next step draws other negatives."""
        self.step += 1

    def _rows(self, output: Tensor) -> Tensor:
        exact = output.to(torch.promote_types(output.dtype, torch.float32))
        return F.normalize(exact, dim=1) if self.normalize else exact

    def _in_batch(self, first: Tensor, second: Tensor, samples: Samples) -> Pairs:
        """Pairs of one row of each view: every such pair once, or one of each of the 2N anchors."""
        allowed = samples.groups[:, None] != samples.groups[None, :]
        if self.negatives == "all":
            return Pairs(all_pairs(first, second, squared=False), allowed.to(first.dtype))
        if self.negatives == "hard":
            near = all_pairs(first.detach(), second.detach(), squared=False)
            chosen = [hardest(near, allowed), hardest(near.T, allowed)]
        else:
            alike = torch.zeros_like(allowed, dtype=torch.float32).masked_fill(~allowed, -torch.inf)
            chosen = [drawn(alike, self._uniform(samples.ids, draw)) for draw in ("first", "second")]
        (columns, found), (other_columns, other_found) = chosen
        anchors, candidates = torch.cat([first, second]), torch.cat([second[columns], first[other_columns]])
        return Pairs(
            paired(anchors, candidates, squared=False), torch.cat([found, other_found]).to(first.dtype)
        )

    def _uniform(self, ids: Tensor, draw: str) -> Tensor:
        return pair_uniform(ids, ids, step=self.step, seed=self.seed, draw=draw)


def _to_neighbours(first: Tensor, second: Tensor, neighbours: Neighbours) -> Pairs:
    """Every anchor, of both views, with its K neighbours: 2NK pairs."""
    others = neighbours.embeddings.to(first.dtype)
    distances = [paired(anchors[:, None], others, squared=False) for anchors in (first, second)]
    return Pairs(torch.cat(distances).flatten(), neighbours.weights.to(first.dtype).repeat(2, 1).flatten())


def _joined(parts: Sequence[Pairs]) -> Pairs:
    return Pairs(torch.cat([part.distances for part in parts]), torch.cat([part.weights for part in parts]))


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean; 0, with a gradient of 0, where nothing has a weight."""
    total = weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
    return (values * weights).sum() / total


def _check(margin: float, form: str) -> None:
    if form not in get_args(Form):
        raise UnknownNameError("form of the contrastive loss", form, get_args(Form))
    if not margin > 0:
        raise ConfigError(f"the margin of the contrastive loss is {margin}; it must be > 0, such as 1.0")
