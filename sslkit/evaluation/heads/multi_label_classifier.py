"""One linear layer on the embedding that tells all the classes of a picture, each by itself.

Shapes: N samples, D embedding width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import ClassSet, Example, FeatureInfo, HeadFeatures, HeadSpec, Meta, Task
from sslkit.errors import ConfigError
from sslkit.evaluation.heads.captions import written
from sslkit.evaluation.heads.class_weights import balanced_weights
from sslkit.evaluation.heads.example_squares import squares_of_many_colours
from sslkit.evaluation.heads.linear_layer import LinearLayer
from sslkit.evaluation.heads.set_figures import PRESENT, SetMetric


class MultiLabelClassifier(nn.Module):
    """Embeddings to a logit a class, with binary cross-entropy: the mean over samples and classes.

    normalise, batchnorm, dropout: as `LinearLayer` has them. pos_weight: with `balanced` a class that
    is present counts inversely to how often it is, so that in sum all classes do alike. Raises ConfigError
    for no class and for options that cannot work.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "multi_label_classifier", "image", "vector", "labels", "map", protocol="multi-label-frozen"
    )

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        normalise: bool = False,
        batchnorm: bool = False,
        dropout: float = 0.0,
        pos_weight: Literal["none", "balanced"] = "none",
    ) -> None:
        super().__init__()
        if not task.classes:
            raise ConfigError("a classifier was given no class; it needs at least 1")
        self.classes = task.classes
        self.layer = LinearLayer(info, task, normalise=normalise, batchnorm=batchnorm, dropout=dropout)
        weights = None if pos_weight == "none" else balanced_weights(task, "pos_weight")
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, features: HeadFeatures) -> Tensor:
        """Embeddings (N, D) to logits (N, K)."""
        logits: Tensor = self.layer(features)
        return logits

    def loss(self, raw: Tensor, targets: Sequence[ClassSet]) -> dict[str, Tensor]:
        """Binary cross-entropy of the batch."""
        present = torch.stack([target.present for target in targets]).to(raw.device, torch.float32)
        weights = cast("Tensor | None", self.weights)
        loss = F.binary_cross_entropy_with_logits(raw.float(), present, pos_weight=weights)
        return {"binary_cross_entropy": loss}

    def decode(self, raw: Tensor, metas: Sequence[Meta]) -> list[ClassSet]:
        """The classes whose probability is above a half, and the probabilities of all, float (K,)."""
        return [ClassSet(row > PRESENT, row) for row in raw.detach().float().sigmoid().cpu()]

    def metrics(self) -> SetMetric:
        """Average precision of each class and its mean."""
        return SetMetric(self.classes)

    def draw(self, image: np.ndarray, shown: ClassSet) -> np.ndarray:
        """The names of the classes on the image, with their probabilities where it is a prediction."""
        there = shown.present.nonzero().flatten().tolist()
        if shown.scores is not None:
            there.sort(key=shown.scores.tolist().__getitem__, reverse=True)
        lines = [self._line(k, shown) for k in there]
        return written(image, lines or ["none"])

    def _line(self, k: int, shown: ClassSet) -> str:
        return self.classes[k] if shown.scores is None else f"{self.classes[k]} {shown.scores[k]:.0%}"

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Squares of some of three colours, to be told which."""
        return squares_of_many_colours(seed, steps=80, lr=3e-3)
