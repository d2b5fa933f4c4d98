"""What the distributed wrapper wraps: a backbone under an objective, first stage only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from sslkit.contracts import BackboneLike, Embeddings, Objective


class Learner(nn.Module):
    """Holds every trained tensor of a run; `forward` is the objective's `embed` on local rows."""

    def __init__(self, backbone: nn.Module, objective: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.objective = objective

    def forward(self, views: Sequence[Tensor]) -> Embeddings:
        """Views, each (N, C, H, W), to embeddings of the local rows."""
        return cast(Objective, self.objective).embed(cast(BackboneLike, self.backbone), views)
