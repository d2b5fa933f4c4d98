"""SupCon: agree with every sample of one's class, differ from the rest; labelled (Khosla et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import BackboneLike, Embeddings, Mined, Outcome, Samples
from sslkit.errors import ConfigError
from sslkit.models.projector import Norm, Projector, embed_views
from sslkit.pairwise.log_sum_exp import log_sum_exp


def supcon(
    first: Tensor,
    second: Tensor,
    *more: Tensor,
    labels: Tensor,
    temperature: float | Tensor,
    in_shares: bool = False,
) -> Tensor:
    """Supervised contrastive loss, mean over the V N anchors (Khosla et al. 2020, equation 2, L_out).

        -mean_p s_ip / T + log(sum over all rows k but i of exp(s_ik / T))

    first, second, more: (N, P) each, V views of the same samples; the positives p of a row are all other rows
    of its class. labels: int64 (N,), -1 where unknown: then a sample's own other views alone are positives.
    temperature: > 0. in_shares: as in `log_sum_exp`. Computed in float32 or better on normalised rows, O(N P)
    memory. Returns a scalar. Raises ConfigError for a bad temperature.
    """
    _check(temperature)
    with torch.autocast(first.device.type, enabled=False):
        anchors = _unit(torch.stack([first, second, *more]))  # V x N x P
        classes, sizes = _classes(labels)
        # The mean over positives is linear: a_i . (sum of its class - a_i) / their number; no pair is listed.
        own = anchors.sum(0)
        sums = torch.zeros_like(own).index_add(0, classes, own)[classes]  # N x P
        agreement = (anchors * (sums - anchors)).sum(2) / (len(anchors) * sizes - 1) / temperature  # V x N
        rows = anchors.flatten(0, 1)
        itself = torch.arange(len(rows), device=rows.device)  # the one row left out of the denominator
        all_others = log_sum_exp(rows, itself, temperature=temperature, in_shares=in_shares)
        return (all_others - agreement.flatten()).mean()


def _classes(labels: Tensor) -> tuple[Tensor, Tensor]:
    """For each sample a number in 0..N-1, the same for those of one label, and how many those are; (N,) each.

    Samples of unknown label are classes of their own.
    """
    alone = -1 - torch.arange(len(labels), device=labels.device)
    apart = torch.where(labels < 0, alone, labels)
    ordered = apart.sort().values
    numbers = torch.searchsorted(ordered, apart)
    return numbers, torch.searchsorted(ordered, apart, right=True) - numbers


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows.to(torch.promote_types(rows.dtype, torch.float32)), dim=-1)


def _check(temperature: float | Tensor) -> None:
    if not isinstance(temperature, Tensor) and not temperature > 0:
        raise ConfigError(f"objective.temperature is {temperature}; it must be > 0")


class SupCon(nn.Module):
    """SupCon with its projector, for two views or more: the labelled upper bound of studies.

    temperature: divisor of the cosine similarities, > 0. projector_*: the MLP between embedding and loss.
    Raises ConfigError.
    """

    needs_labels = True

    def __init__(
        self,
        backbone: BackboneLike,
        *,
        temperature: float = 0.1,
        projector_hidden: int = 2048,
        projector_outputs: int = 128,
        projector_layers: int = 2,
        projector_norm: Norm = "batch",
    ) -> None:
        super().__init__()
        _check(temperature)
        self.temperature = temperature
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
                f"SupCon compares the views of a sample; {len(views)} was given, it needs 2 or more"
            )
        return embed_views(backbone, self.projector, views)

    def loss(self, embeddings: Embeddings, samples: Samples, mined: Mined | None = None) -> Outcome:
        """The loss over the gathered rows, by their labels."""
        first, second, *more = embeddings.outputs
        loss = supcon(
            first, second, *more, labels=samples.labels, temperature=self.temperature, in_shares=True
        )
        similarity = F.cosine_similarity(first.detach(), second.detach()).mean()
        labelled = (samples.labels >= 0).to(loss.dtype).mean()
        return Outcome(loss, {"positive_similarity": similarity, "labelled_share": labelled})

    def after_step(self, backbone: BackboneLike, progress: float) -> None:
        """Nothing moves."""
