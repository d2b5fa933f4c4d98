"""The one layer that the heads of whole pictures are."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import FeatureInfo, HeadFeatures, Task
from sslkit.errors import ConfigError

_STD = 0.01  # so that it says nothing yet (He et al. 2020, "Momentum Contrast", the linear classifier's code)


class LinearLayer(nn.Module):
    """Embeddings (N, D) to logits (N, K), a class each.

    normalise: embeddings to length 1 first. batchnorm: BatchNorm without scale and shift before the layer (He
    et al. 2022, "Masked Autoencoders", appendix A.1), which brings embeddings of any size to one scale.
    dropout: before the layer. Raises ConfigError for a dropout that cannot be.
    """

    def __init__(
        self, info: FeatureInfo, task: Task, *, normalise: bool, batchnorm: bool, dropout: float
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.norm = nn.BatchNorm1d(info.embedding_dim, affine=False) if batchnorm else nn.Identity()
        self.dropout = nn.Dropout(below_one("dropout", dropout))
        self.linear = nn.Linear(info.embedding_dim, len(task.classes))
        nn.init.normal_(self.linear.weight, std=_STD)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: HeadFeatures) -> Tensor:
        """The logits of a batch."""
        embeddings = cast(Tensor, features.vector)
        if self.normalise:
            embeddings = F.normalize(embeddings)
        logits: Tensor = self.linear(self.dropout(self.norm(embeddings)))
        return logits


def below_one(option: str, value: float) -> float:
    """A share of 0 or more and less than 1; raises ConfigError for others."""
    if not 0 <= value < 1:
        raise ConfigError(f"{option} is {value!r}; it is at least 0 and less than 1, such as 0.1")
    return value
