"""SimCLR: agree with the other view of the same image, differ from all other images (Chen et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import BackboneLike, Embeddings, Mined, Neighbours, Outcome, Samples
from sslkit.errors import ConfigError
from sslkit.models.projector import Norm, Projector, embed_views
from sslkit.pairwise.log_sum_exp import log_sum_exp


def nt_xent(
    first: Tensor,
    second: Tensor,
    *more: Tensor,
    temperature: float | Tensor,
    negatives: Tensor | None = None,
    weights: Tensor | None = None,
    positives: Tensor | None = None,
    positive_weights: Tensor | None = None,
    groups: Tensor | None = None,
    beta: float = 0.0,
    prior: float = 0.0,
    decoupled: bool = False,
    in_shares: bool = False,
) -> Tensor:
    """Normalised temperature-scaled cross entropy, mean over the V N anchors (Chen et al. 2020, equation 1).

        -mean_p s_ip / T + log(sum_p exp(s_ip / T) + N_i),   N_i = sum of exp(s_ik / T) over the negatives k

    first, second, more: (N, P) each, V views of the same samples; the positives p of a row are its sample's
    other views, the negatives k all rows of other groups. groups: int64 (N,), each sample its own if None.
    negatives: (N, K, P), further ones of all views of a sample; weights: (N, K), of their terms, 1 if None.
    positives: (N, M, P), neighbours to agree with (Dwibedi et al. 2021, NNCLR); positive_weights: (N, M), one
    of weight 2 counts as two. A weight of 0 is absence.
    decoupled: N_i alone in the logarithm (Yeh et al. 2022, DCL, equation 6). beta: how much more hard
    negatives count (Robinson et al. 2021, equation 4). prior: share of false negatives to correct for (Chuang
    et al. 2020, equation 8). in_shares: as in `log_sum_exp`.
    Computed in float32 or better on normalised rows. Returns a scalar. Raises ConfigError for bad options.
    """
    _check(temperature, beta, prior, decoupled)
    _check_weights("negatives", weights, negatives)
    _check_weights("positives", positive_weights, positives)
    with torch.autocast(first.device.type, enabled=False):
        anchors = _unit(torch.stack([first, second, *more]))  # V x N x P
        groups = torch.arange(len(first), device=first.device) if groups is None else groups
        agreement, attracted, mean_positive = _attraction(anchors, positives, positive_weights, temperature)
        repelling = _Repelling(anchors, groups, negatives, weights, in_shares)
        if beta or prior:
            repelled = repelling.log_weighted_sum(temperature, beta, prior, mean_positive)
        else:
            repelled = repelling.log_sum(temperature)  # log N_i
        if decoupled:  # an anchor without any negative is only attracted
            return (repelled.masked_fill(repelled == -torch.inf, 0.0) - agreement).mean()
        return (torch.logaddexp(attracted, repelled) - agreement).mean()


def _attraction(
    anchors: Tensor, positives: Tensor | None, weights: Tensor | None, temperature: float | Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of the terms exp(s_ip / T) of each anchor's positives: mean logarithm, log of the sum, log of the mean.

    anchors: (V, N, P), each the positive of the other views; positives: (N, M, P), weights: (N, M). Returns
    (V, N) each.
    """
    others = [(anchors * anchors.roll(shift, 0)).sum(2) for shift in range(1, len(anchors))]
    logits = torch.stack(others, dim=2) / temperature  # V x N x (V - 1)
    if positives is None:
        log_sum = logits.logsumexp(2)
        return logits.mean(2), log_sum, log_sum - math.log(len(others))
    counts = F.pad(_or_ones(weights, positives, anchors), (len(others), 0), value=1.0)  # N x (V - 1 + M)
    logits = torch.cat([logits, _cosines(anchors, positives) / temperature], dim=2)
    total, log_sum = counts.sum(1), (logits + counts.log()).logsumexp(2)
    return (counts * logits).sum(2) / total, log_sum, log_sum - total.log()


class _Repelling:
    """The negatives of anchors (V, N, P): rows of other groups, and further ones (N, K, P) with weights."""

    def __init__(
        self, anchors: Tensor, groups: Tensor, further: Tensor | None, weights: Tensor | None, in_shares: bool
    ) -> None:
        self.anchors, self.groups, self.in_shares = anchors, groups, in_shares
        self.cosines = None if further is None else _cosines(anchors, further)  # V x N x K
        self.weights = None if further is None else _or_ones(weights, further, anchors)  # N x K

    def log_sum(self, temperature: float | Tensor) -> Tensor:
        """log sum_k exp(s_ik / T) (V, N), -inf where there is no negative."""
        inside = log_sum_exp(
            self.anchors.flatten(0, 1),
            self.groups.repeat(len(self.anchors)),
            temperature=temperature,
            in_shares=self.in_shares,
        ).view(self.anchors.shape[:2])
        if self.cosines is None or self.weights is None:
            return inside
        terms = torch.cat([inside[..., None], self.cosines / temperature + self.weights.log()], dim=2)
        none = (terms == -torch.inf).all(dim=2)  # torch's gradient of the log-sum-exp of nothing is NaN
        return terms.masked_fill(none[..., None], 0.0).logsumexp(2).masked_fill(none, -torch.inf)

    def log_weighted_sum(
        self, temperature: float | Tensor, beta: float, prior: float, mean_positive: Tensor
    ) -> Tensor:
        """log N_i (V, N) where hard negatives count more and a share `prior` of all is false.

        With E the mean over n negatives: n E[exp((1 + beta) s / T)] / E[exp(beta s / T)], then debiased:
        (that - prior n exp(mean_positive)) / (1 - prior), and at least n exp(-1 / T).
        """
        mass = self.log_sum(temperature / (1.0 + beta))
        some = mass > -torch.inf
        mass = mass.masked_fill(~some, 0.0)
        log_count = torch.where(some, self._count(), 1.0).log()
        if beta:
            mass = mass + log_count - self.log_sum(temperature / beta).masked_fill(~some, 0.0)
        if prior:
            mass = _debiased(mass, log_count, prior, mean_positive, log_count - 1.0 / temperature)
        return mass.masked_fill(~some, -torch.inf)

    def _count(self) -> Tensor:
        """How many negatives each sample's anchors have, (N,); a further one counts by its weight."""
        ordered = self.groups.sort().values
        alike = torch.searchsorted(ordered, self.groups, right=True) - torch.searchsorted(
            ordered, self.groups
        )
        count = len(self.anchors) * (len(self.groups) - alike).to(self.anchors.dtype)
        return count if self.weights is None else count + self.weights.sum(1)


def _debiased(mass: Tensor, log_count: Tensor, prior: float, mean_positive: Tensor, least: Tensor) -> Tensor:
    """log of (exp(mass) - prior n exp(mean_positive)) / (1 - prior), not below `least`."""
    false = (math.log(prior) + log_count + mean_positive - mass).clamp(max=0.0)  # log of the share taken away
    left = -torch.expm1(false)
    corrected = mass + left.clamp(min=torch.finfo(left.dtype).tiny).log() - math.log1p(-prior)
    return torch.maximum(torch.where(left > 0.0, corrected, least), least)


def _cosines(anchors: Tensor, others: Tensor) -> Tensor:
    """Unit anchors (V, N, P) with rows of any length (N, K, P): (V, N, K)."""
    others = others.to(anchors.dtype)
    lengths: Tensor = torch.linalg.vector_norm(others, dim=2).clamp(min=1e-12)
    return torch.einsum("vnp,nkp->vnk", anchors, others) / lengths


def _or_ones(weights: Tensor | None, rows: Tensor, like: Tensor) -> Tensor:
    return like.new_ones(rows.shape[:2]) if weights is None else weights.to(like.dtype)


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=-1)


def _check(temperature: float | Tensor, beta: float, prior: float, decoupled: bool) -> None:
    if not isinstance(temperature, Tensor) and not temperature > 0:
        raise ConfigError(f"objective.temperature is {temperature}; it must be > 0")
    if not beta >= 0:
        raise ConfigError(f"objective.beta is {beta}; it must be >= 0, and 0 weights all negatives alike")
    if not 0 <= prior < 1:
        raise ConfigError(
            f"objective.prior is {prior}; it is a share of the negatives and must lie in [0, 1)"
        )
    if decoupled and prior:
        raise ConfigError(
            f"objective.prior={prior} corrects the denominator by the positives, and objective.decoupled "
            "leaves them out of it; use one of the two"
        )


def _check_weights(of: str, weights: Tensor | None, rows: Tensor | None) -> None:
    if weights is not None and (rows is None or weights.shape != rows.shape[:2]):
        given = "there are none" if rows is None else f"those are {tuple(rows.shape)}"
        raise ConfigError(f"weights {tuple(weights.shape)} of {of} were given, but {given}; give one per row")


class SimCLR(nn.Module):
    """SimCLR with its projector, for two views or more; mined negatives and positives join by their weights.

    temperature: divisor of the cosine similarities, > 0. beta: >= 0, how much more hard negatives count.
    prior: in [0, 1), share of false negatives to correct for. decoupled: positives left out of the
    denominator; not together with prior. projector_*: the MLP between embedding and loss. Raises ConfigError.
    """

    takes_mined = True

    def __init__(
        self,
        backbone: BackboneLike,
        *,
        temperature: float = 0.1,
        beta: float = 0.0,
        prior: float = 0.0,
        decoupled: bool = False,
        projector_hidden: int = 2048,
        projector_outputs: int = 128,
        projector_layers: int = 2,
        projector_norm: Norm = "batch",
    ) -> None:
        super().__init__()
        _check(temperature, beta, prior, decoupled)
        self.temperature, self.beta, self.prior, self.decoupled = temperature, beta, prior, decoupled
        self.projector = Projector(
            backbone.embedding_dim,
            hidden=projector_hidden,
            outputs=projector_outputs,
            layers=projector_layers,
            norm=projector_norm,
        )

    def embed(self, backbone: BackboneLike, views: Sequence[Tensor]) -> Embeddings:
        """Views (N, C, H, W) to their projections (N, P); one forward, so BatchNorm sees all."""
        if len(views) < 2:
            raise ConfigError(
                f"SimCLR compares the views of a sample; {len(views)} was given, it needs 2 or more"
            )
        return embed_views(backbone, self.projector, views)

    def loss(self, embeddings: Embeddings, samples: Samples, mined: Mined | None = None) -> Outcome:
        """NT-Xent over the gathered rows and what was mined for them."""
        first, second, *more = embeddings.outputs
        negatives, positives = (mined.negatives, mined.positives) if mined else (None, None)
        loss = nt_xent(
            first,
            second,
            *more,
            temperature=self.temperature,
            negatives=negatives.embeddings if negatives else None,
            weights=negatives.weights if negatives else None,
            positives=positives.embeddings if positives else None,
            positive_weights=positives.weights if positives else None,
            groups=samples.groups,
            beta=self.beta,
            prior=self.prior,
            decoupled=self.decoupled,
            in_shares=True,
        )
        return Outcome(loss, _terms(embeddings.outputs, negatives))

    def after_step(self, backbone: BackboneLike, progress: float) -> None:
        """Nothing moves."""


@torch.no_grad()
def _terms(outputs: Sequence[Tensor], negatives: Neighbours | None) -> dict[str, Tensor]:
    """Mean cosine of the views of a sample, and of anchors with mined negatives, by their weights."""
    anchors = _unit(torch.stack(list(outputs)))
    middle, views = anchors.mean(0), len(anchors)
    pairs = views * middle.square().sum(1) - anchors.square().sum(2).mean(
        0
    )  # sum of a_v . a_w over v != w, / V
    terms = {"positive_similarity": pairs.mean() / (views - 1)}
    if negatives is not None:
        cosines = _cosines(middle[None], negatives.embeddings)[0]
        total = negatives.weights.sum().clamp(min=torch.finfo(cosines.dtype).tiny)
        terms["mined_similarity"] = (cosines * negatives.weights).sum() / total
    return terms
