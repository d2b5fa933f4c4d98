"""Triplets: a sample is nearer to its positive than to a negative, by a margin (Schroff et al. 2015)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import BackboneLike, Embeddings, Mined, Neighbours, Outcome, Samples
from sslkit.errors import ConfigError, UnknownNameError
from sslkit.mining.in_batch import Choice, Chosen, InBatch, Who
from sslkit.models.projector import Norm, Projector, embed_views
from sslkit.pairwise import all_triplets as every
from sslkit.pairwise.distances import paired

Form = Literal["squared_distance", "distance", "squared_hinge", "ratio", "soft", "soft_squared"]
Mean = Literal["all", "active"]

_SQUARED = ("squared_distance", "soft_squared")
_SOFT = ("soft", "soft_squared")
_SHORTEST = 1e-12  # a ratio's divisor is no shorter


def triplet_margin(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float = 0.2,
    form: Form = "squared_distance",
    weights: Tensor | None = None,
    mean: Mean = "all",
) -> Tensor:
    """The (weighted) mean triplet loss of N anchors with K negatives each; a scalar.

    anchor, positive: (N, P); negative: (N, P) or (N, K, P); nothing is normalised here. With Euclidean
    distances d_ap and d_an and the margin m >= 0:

    - squared_distance: max(0, m + d_ap^2 - d_an^2) (FaceNet; Schroff et al. 2015, section 3.1)
    - distance: max(0, m + d_ap - d_an) (Hermans et al. 2017, section 2)
    - squared_hinge: max(0, m + d_ap - d_an)^2
    - ratio: max(0, 1 - d_an / (d_ap + m)) (Wohlhart and Lepetit 2015); at m = 0 it has no scale
    - soft: log(1 + exp(d_ap - d_an)), which has no margin (Hermans et al. 2017, section 2)
    - soft_squared: log(1 + exp(d_ap^2 - d_an^2)), which has no margin

    weights: (N,) or (N, K), >= 0; a triplet of weight 0 is absent. mean: over "all" triplets, or over the
    "active" ones, whose loss is positive. It is 0 where there is none. Computed in float32 or better; the
    gradient of a distance is 0 where rows are equal. Raises ConfigError and UnknownNameError.
    """
    _check(margin, form, mean)
    with torch.autocast(anchor.device.type, enabled=False):
        others = negative if negative.dim() == 3 else negative[:, None]
        near = paired(anchor, positive, squared=form in _SQUARED)[:, None]  # N x 1
        far = paired(anchor[:, None], others, squared=form in _SQUARED)  # N x K
        values = _values(near, far, margin, form)
        counts = torch.ones_like(values) if weights is None else weights.to(values)
        return _mean(values, counts.reshape(len(values), -1).expand_as(values), mean)


class _Pairs(NamedTuple):
    """Distances of anchors to others, (R, ...), and what each counts, in one shape."""

    distances: Tensor
    weights: Tensor


class Triplet(nn.Module):
    """The triplet loss on views, with its projector.

    Every row of every view is an anchor. Positives are the sample's other views; with `labels` it is the
    farthest row of the same label in any view (batch-hard; Hermans et al. 2017, equation 5); mined positives
    come on top. Negatives are the mined ones with their weights; without a miner, for an anchor and a
    positive one row of another group (and, with labels, of another label): the nearest that is farther than
    the positive ("semi_hard"), the nearest ("hard"), one drawn alike ("random") or drawn by distance
    ("distance_weighted"). Rows without a label (-1) are in no triplet by label.

    all_triplets: every triplet of the batch, exactly; then nothing is chosen or mined. margin, form, mean:
    see `triplet_margin`; None is 0.2, and the soft forms take none. cutoff, longest: see `InBatch`.
    normalize: rows to unit length; mined neighbours have it and drawing by distance is for the sphere, so
    both need it. seed: of the draws. projector_*: the MLP between embedding and loss. Raises ConfigError.
    """

    takes_mined = True
    needs_labels = False
    step: Tensor

    def __init__(
        self,
        backbone: BackboneLike,
        *,
        margin: float | None = None,
        form: Form = "squared_distance",
        mean: Mean = "all",
        negatives: Choice = "semi_hard",
        labels: bool = False,
        all_triplets: bool = False,
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
        self.margin = 0.2 if margin is None else margin
        _check(self.margin, form, mean)
        if form in _SOFT and (margin is not None or all_triplets):
            raise ConfigError(
                f"objective.form={form} has no margin and cannot be summed by sorting; leave out "
                f"objective.margin and objective.all_triplets, or use {', '.join(get_args(every.Form))}"
            )
        if negatives == "distance_weighted" and not normalize:
            raise ConfigError(
                "objective.negatives=distance_weighted weighs distances on the unit sphere, but "
                "objective.normalize=false; set normalize=true, or negatives=semi_hard"
            )
        self.form, self.mean, self.all_triplets, self.normalize = form, mean, all_triplets, normalize
        self.needs_labels, self.takes_mined = labels, not all_triplets
        self.in_batch = InBatch(negatives, form in _SQUARED, seed=seed, cutoff=cutoff, longest=longest)
        self.projector = Projector(
            backbone.embedding_dim,
            hidden=projector_hidden,
            outputs=projector_outputs,
            layers=projector_layers,
            norm=projector_norm,
        )
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))  # each step draws anew

    def embed(self, backbone: BackboneLike, views: Sequence[Tensor]) -> Embeddings:
        """Views (N, C, H, W), two or more, or one with labels, to their projections (N, P)."""
        if len(views) < 2 and not self.needs_labels:
            raise ConfigError(
                "one view has no positive; choose a view policy that makes two, or set objective.labels=true"
            )
        return embed_views(backbone, self.projector, views)

    def loss(self, embeddings: Embeddings, samples: Samples, mined: Mined | None = None) -> Outcome:
        """The triplet loss over the rows of all views of the gathered samples."""
        mined = mined or Mined()
        if (mined.negatives or mined.positives) and not (self.normalize and self.takes_mined):
            raise ConfigError(
                "mined neighbours have unit length and join chosen triplets; set objective.normalize=true "
                "and objective.all_triplets=false, or mine nothing"
            )
        views = torch.stack(embeddings.outputs)  # V x N x P
        views = views.to(torch.promote_types(views.dtype, torch.float32))
        views = F.normalize(views, dim=2) if self.normalize else views
        who = self._who(samples, views=len(views))
        with torch.autocast(views.device.type, enabled=False):
            if self.all_triplets:
                return self._every_triplet(views.flatten(0, 1), who)
            positives = self._positives(views, who, mined)
            negatives = self._negatives(views, who, mined, positives.distances)
            near, far = positives.distances[:, :, None], negatives.distances  # R x Q x 1, R x (Q or 1) x K
            values = _values(near, far, self.margin, self.form)  # R x Q x K
            weights = positives.weights[:, :, None] * negatives.weights
            plain = torch.sqrt if self._squared else torch.clone
            terms = {
                "active_share": (values > 0).to(weights),
                "positive_distance": plain(near.detach()),
                "negative_distance": plain(far.detach()),
            }
            means = {name: _mean(term, weights, "all").detach() for name, term in terms.items()}
            return Outcome(_mean(values, weights, self.mean), means)

    def after_step(self, backbone: BackboneLike, progress: float) -> None:
        """The next step draws other negatives."""
        self.step += 1

    def _who(self, samples: Samples, *, views: int) -> Who:
        labels = samples.labels if self.needs_labels else samples.ids
        if self.needs_labels and not bool((labels >= 0).any()):
            raise ConfigError(
                "objective.labels=true, but no sample of the batch has a label; give labelled data, or set "
                "objective.labels=false"
            )
        keys = samples.ids * views + torch.arange(views, device=labels.device)[:, None]
        return Who(keys.flatten(), samples.groups.repeat(views), labels.repeat(views))

    def _every_triplet(self, rows: Tensor, who: Who) -> Outcome:
        if self.needs_labels:
            known = who.labels >= 0
            rows, who = rows[known], Who(*(column[known] for column in who))
        form = cast(every.Form, self.form)
        loss, *terms = every.all_triplets(
            rows, who.labels, margin=self.margin, form=form, mean=self.mean, groups=who.groups
        )
        return Outcome(loss, dict(zip(every.AllTriplets._fields[1:], terms, strict=True)))

    def _positives(self, views: Tensor, who: Who, mined: Mined) -> _Pairs:
        """Every row with its Q positives, (R, Q)."""
        if self.needs_labels:
            rows = views.flatten(0, 1)
            parts = [self._chosen(rows, self.in_batch.positives(rows.detach(), who))]
        else:
            others = [views.roll(-shift, dims=0) for shift in range(1, len(views))]
            distances = [paired(views, other, squared=self._squared).reshape(-1, 1) for other in others]
            parts = [_Pairs(part, torch.ones_like(part)) for part in distances]
        if mined.positives:
            parts.append(self._neighbours(views, mined.positives))
        return _Pairs(*(torch.cat(column, dim=1) for column in zip(*parts, strict=True)))

    def _negatives(self, views: Tensor, who: Who, mined: Mined, near: Tensor) -> _Pairs:
        """Every row with K negatives for all its positives, (R, 1, K), or with one for each, (R, Q, 1)."""
        if mined.negatives:
            return _Pairs(*(part[:, None, :] for part in self._neighbours(views, mined.negatives)))
        rows = views.flatten(0, 1)
        chosen = self.in_batch.negatives(rows.detach(), who, near.detach(), self.step)
        return _Pairs(*(part[:, :, None] for part in self._chosen(rows, chosen)))

    def _neighbours(self, views: Tensor, mined: Neighbours) -> _Pairs:
        """Every row with the K neighbours of its sample, (R, K)."""
        distances = paired(views[:, :, None], mined.embeddings.to(views), squared=self._squared)
        return _Pairs(distances.flatten(0, 1), mined.weights.to(views).repeat(len(views), 1))

    def _chosen(self, rows: Tensor, chosen: Chosen) -> _Pairs:
        """Every row with others of the batch, (R, Q)."""
        distances = paired(rows[:, None], rows[chosen.numbers], squared=self._squared)
        return _Pairs(distances, chosen.found.to(rows))

    @property
    def _squared(self) -> bool:
        return self.form in _SQUARED


def _values(near: Tensor, far: Tensor, margin: float, form: Form) -> Tensor:
    """What triplets cost, of distances (squared for the forms that say so) that are broadcast together."""
    if form in _SOFT:
        return torch.logaddexp(near - far, torch.zeros_like(near - far))
    if form == "ratio":
        return F.relu(1.0 - far / (near + margin).clamp(min=_SHORTEST))
    hinge = F.relu(margin + near - far)
    return hinge.square() if form == "squared_hinge" else hinge


def _mean(values: Tensor, weights: Tensor, mean: Mean) -> Tensor:
    """Weighted mean, over all or over what is above 0; 0, with a gradient of 0, where nothing counts."""
    counted = weights if mean == "all" else weights * (values > 0)
    return (values * weights).sum() / counted.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def _check(margin: float, form: str, mean: str) -> None:
    if form not in get_args(Form):
        raise UnknownNameError("form of the triplet loss", form, get_args(Form))
    if mean not in get_args(Mean):
        raise UnknownNameError("mean of triplets", mean, get_args(Mean))
    if not 0 <= margin < math.inf:
        raise ConfigError(f"the margin of the triplet loss is {margin}; it must be >= 0, such as 0.2")
