"""SimSiam: predict the other view's projection, whose gradient is stopped (Chen and He 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import BackboneLike, Embeddings, Mined, Outcome, Samples
from sslkit.errors import ConfigError
from sslkit.models.projector import Projector


def simsiam(first: Tensor, second: Tensor) -> Tensor:
    """-cos(prediction, projection), mean over rows (Chen and He 2021, equations 1 and 3).

    first: (N, P), predictions from one view. second: (N, P), projections of the other view; no gradient flows
    into them. Computed in float32 or better. Returns a scalar in [-1, 1]; the method's loss is the mean of
    both directions (equation 4).
    """
    with torch.autocast(first.device.type, enabled=False):
        exact = torch.promote_types(first.dtype, torch.float32)
        return -F.cosine_similarity(first.to(exact), second.detach().to(exact)).mean()


class SimSiam(nn.Module):
    """SimSiam with projector and predictor; takes two views.

    projector_*: the MLP whose outputs are batch-normalised without affine parameters. predictor_hidden: the
    narrow middle of the predictor, a quarter of its ends in the paper (section 4.1 and appendix B). The paper
    keeps the predictor's learning rate constant; here it follows the schedule of the run as all others do.
    """

    def __init__(
        self,
        backbone: BackboneLike,
        *,
        projector_hidden: int = 2048,
        projector_outputs: int = 2048,
        projector_layers: int = 3,
        predictor_hidden: int = 512,
    ) -> None:
        super().__init__()
        self.projector = Projector(
            backbone.embedding_dim,
            hidden=projector_hidden,
            outputs=projector_outputs,
            layers=projector_layers,
            last_norm=True,
        )
        self.predictor = Projector(projector_outputs, hidden=predictor_hidden, outputs=projector_outputs)

    def embed(self, backbone: BackboneLike, views: Sequence[Tensor]) -> Embeddings:
        """Two views (N, C, H, W) to predictions and, without gradient, projections, (N, P) each."""
        if len(views) != 2:
            raise ConfigError(
                f"SimSiam takes 2 views, given {len(views)}; choose a view policy that makes two"
            )
        embedding = backbone(torch.cat(list(views)))
        projections = self.projector(embedding)
        predictions = self.predictor(projections).chunk(2)
        return Embeddings(embedding.detach().chunk(2)[0], predictions, projections.detach().chunk(2))

    def loss(self, embeddings: Embeddings, samples: Samples, mined: Mined | None = None) -> Outcome:
        """The mean of both directions (equation 4), and how evenly the projections spread.

        output_spread: the deviation of each channel of the normalised projections, times sqrt(P); near 1
        where they fill the sphere, 0 after a collapse (section 4.1).
        """
        first, second = embeddings.outputs
        first_target, second_target = embeddings.targets
        loss = (simsiam(first, second_target) + simsiam(second, first_target)) / 2.0
        unit = F.normalize(first_target, dim=1)
        spread = unit.std(dim=0, correction=0).mean() * unit.shape[1] ** 0.5
        return Outcome(loss, {"positive_similarity": -loss.detach(), "output_spread": spread})

    def after_step(self, backbone: BackboneLike, progress: float) -> None:
        """Nothing moves."""
