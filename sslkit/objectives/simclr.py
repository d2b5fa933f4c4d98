"""SimCLR: agree with the other view of the same image, differ from all other images (Chen et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import BackboneLike, Embeddings, Mined, Outcome, Samples
from sslkit.errors import ConfigError
from sslkit.models.projector import Projector, embed_views


def nt_xent(first: Tensor, second: Tensor, *, temperature: float, negatives: Tensor | None = None) -> Tensor:
    """Normalised temperature-scaled cross entropy (Chen et al. 2020, equation 1), mean over the 2N anchors.

    first, second: (N, P), two views of the same samples; row i of one is the positive of row i of the other
    and every other row of both is a negative. negatives: (N, K, P), further negatives of both views of each
    sample. Computed in float32 or better on normalised rows. Returns a scalar.
    """
    with torch.autocast(first.device.type, enabled=False):
        exact = torch.promote_types(first.dtype, torch.float32)
        anchors = F.normalize(torch.cat([first, second]).to(exact), dim=1)  # 2N x P
        rows = anchors.shape[0]
        logits = anchors @ anchors.T / temperature  # 2N x 2N
        logits.fill_diagonal_(-torch.inf)  # an anchor is not its own candidate
        if negatives is not None:
            mined = F.normalize(negatives.to(exact), dim=2).repeat(2, 1, 1)  # 2N x K x P
            logits = torch.cat([logits, torch.einsum("np,nkp->nk", anchors, mined) / temperature], dim=1)
        positives = torch.arange(rows, device=anchors.device).roll(rows // 2)  # i <-> i + N
        return F.cross_entropy(logits, positives)


class SimCLR(nn.Module):
    """SimCLR with its projector.

    temperature: divisor of the cosine similarities, > 0. projector_*: the MLP between embedding and loss.
    """

    takes_mined = True

    def __init__(
        self,
        backbone: BackboneLike,
        *,
        temperature: float = 0.1,
        projector_hidden: int = 2048,
        projector_outputs: int = 128,
        projector_layers: int = 2,
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ConfigError(f"objective.temperature is {temperature}; it must be > 0")
        self.temperature = temperature
        self.projector = Projector(
            backbone.embedding_dim,
            hidden=projector_hidden,
            outputs=projector_outputs,
            layers=projector_layers,
        )

    def embed(self, backbone: BackboneLike, views: Sequence[Tensor]) -> Embeddings:
        """Two views (N, C, H, W) to their projections (N, P); one forward, so BatchNorm sees both."""
        return embed_views(backbone, self.projector, views)

    def loss(self, embeddings: Embeddings, samples: Samples, mined: Mined | None = None) -> Outcome:
        """NT-Xent over the gathered rows."""
        first, second = embeddings.outputs
        negatives = mined.negatives.embeddings if mined and mined.negatives else None
        loss = nt_xent(first, second, temperature=self.temperature, negatives=negatives)
        similarity = F.cosine_similarity(first.detach(), second.detach()).mean()
        return Outcome(loss, {"positive_similarity": similarity})

    def after_step(self, backbone: BackboneLike, progress: float) -> None:
        """Nothing moves."""
