"""BYOL: predict the projection a slowly moving teacher gives of the other view (Grill et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import BackboneLike, Embeddings, Mined, Outcome, Samples
from sslkit.errors import ConfigError
from sslkit.models.projector import Norm, Projector
from sslkit.models.teacher import Teacher, cosine_momentum


def byol(first: Tensor, second: Tensor) -> Tensor:
    """2 - 2 cos(prediction, target), mean over rows (Grill et al. 2020, equation 2).

    first: (N, P), the student's predictions from one view. second: (N, P), the teacher's projections of the
    other view; no gradient flows into them. Computed in float32 or better. Returns a scalar in [0, 4].
    """
    with torch.autocast(first.device.type, enabled=False):
        exact = torch.promote_types(first.dtype, torch.float32)
        return (2.0 - 2.0 * F.cosine_similarity(first.to(exact), second.detach().to(exact))).mean()


class BYOL(nn.Module):
    """BYOL with projector, predictor and teacher.

    momentum: of the teacher's moving average at the start; it rises to 1 by a cosine over the run.
    projector_norm: of projector and predictor.
    """

    def __init__(
        self,
        backbone: BackboneLike,
        *,
        momentum: float = 0.996,
        projector_hidden: int = 4096,
        projector_outputs: int = 256,
        projector_norm: Norm = "batch",
        predictor_hidden: int = 4096,
    ) -> None:
        super().__init__()
        if not 0.0 <= momentum <= 1.0:
            raise ConfigError(f"objective.momentum is {momentum}; it is a share and must lie in [0, 1]")
        if not isinstance(backbone, nn.Module):
            raise TypeError(f"the teacher copies the backbone, an nn.Module; given {type(backbone).__name__}")
        self.momentum = momentum
        self.projector = Projector(
            backbone.embedding_dim, hidden=projector_hidden, outputs=projector_outputs, norm=projector_norm
        )
        self.predictor = Projector(
            projector_outputs, hidden=predictor_hidden, outputs=projector_outputs, norm=projector_norm
        )
        self.teacher = Teacher(backbone, self.projector)

    def embed(self, backbone: BackboneLike, views: Sequence[Tensor]) -> Embeddings:
        """Two views (N, C, H, W) to the student's predictions and the teacher's projections, (N, P) each."""
        if len(views) != 2:
            raise ConfigError(f"BYOL takes 2 views, given {len(views)}; choose a view policy that makes two")
        stacked = torch.cat(list(views))
        embedding = backbone(stacked)
        predictions = self.predictor(self.projector(embedding)).chunk(len(views))
        targets = self.teacher(stacked).chunk(len(views))
        return Embeddings(embedding.detach().chunk(len(views))[0], predictions, targets)

    def loss(self, embeddings: Embeddings, samples: Samples, mined: Mined | None = None) -> Outcome:
        """Both directions added (Grill et al. 2020, section 3.1)."""
        first, second = embeddings.outputs
        first_target, second_target = embeddings.targets
        loss = byol(first, second_target) + byol(second, first_target)
        return Outcome(loss, {"positive_similarity": 1.0 - loss.detach() / 4.0})

    def after_step(self, backbone: BackboneLike, progress: float) -> None:
        """The teacher takes its step towards the student."""
        assert isinstance(backbone, nn.Module)
        self.teacher.move([backbone, self.projector], cosine_momentum(self.momentum, progress))
