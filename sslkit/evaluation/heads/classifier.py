"""One linear layer on the embedding: the linear probe of papers, and the head of a fine-tuned classifier.

Shapes: N samples, D embedding width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import ClassLabel, Example, FeatureInfo, HeadFeatures, HeadSpec, Meta, Task
from sslkit.errors import ConfigError
from sslkit.evaluation.heads.captions import written
from sslkit.evaluation.heads.class_figures import ClassMetric
from sslkit.evaluation.heads.class_weights import balanced_weights
from sslkit.evaluation.heads.example_squares import squares_of_one_colour
from sslkit.evaluation.heads.linear_layer import LinearLayer, below_one


class Classifier(nn.Module):
    """Embeddings to logits, with cross-entropy.

    normalise, batchnorm, dropout: as `LinearLayer` has them. label_smoothing: share of the target that is
    spread over all classes (Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7).

    class_weights: the loss of each sample is multiplied by a weight inverse to the frequency of its class;
    `mean` divides their sum by the number of samples, `sum` by the sum of their weights, as torch does.

    Raises ConfigError for fewer than two classes and for options that cannot work.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "classifier", "image", "vector", "label", "top1", protocol="classifier-frozen"
    )

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        normalise: bool = False,
        batchnorm: bool = False,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        class_weights: Literal["none", "mean", "sum"] = "none",
    ) -> None:
        super().__init__()
        if len(task.classes) < 2:
            raise ConfigError(f"a classifier was given {len(task.classes)} classes; it needs at least 2")
        self.classes, self.reduction = task.classes, class_weights
        self.label_smoothing = below_one("label_smoothing", label_smoothing)
        self.layer = LinearLayer(info, task, normalise=normalise, batchnorm=batchnorm, dropout=dropout)
        weights = None if class_weights == "none" else balanced_weights(task, "class_weights")
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, features: HeadFeatures) -> Tensor:
        """Embeddings (N, D) to logits (N, K)."""
        logits: Tensor = self.layer(features)
        return logits

    def loss(self, raw: Tensor, targets: Sequence[ClassLabel]) -> dict[str, Tensor]:
        """Cross-entropy of the batch."""
        labels = torch.tensor([target.label for target in targets], device=raw.device)
        loss = F.cross_entropy(
            raw.float(),
            labels,
            weight=cast("Tensor | None", self.weights),
            label_smoothing=self.label_smoothing,
            reduction="sum" if self.reduction == "mean" else "mean",  # torch's mean is over the weights
        )
        return {"cross_entropy": loss / len(labels) if self.reduction == "mean" else loss}

    def decode(self, raw: Tensor, metas: Sequence[Meta]) -> list[ClassLabel]:
        """The likeliest class of each sample, and the probabilities of all, float (K,)."""
        shares = raw.detach().float().softmax(dim=1).cpu()
        return [ClassLabel(int(row.argmax()), row) for row in shares]

    def metrics(self) -> ClassMetric:
        """Accuracy of all samples and of each class."""
        return ClassMetric(self.classes)

    def draw(self, image: np.ndarray, shown: ClassLabel) -> np.ndarray:
        """The name of the class on the image, with its probability where it is a prediction."""
        name = self.classes[shown.label]
        return written(image, [name if shown.scores is None else f"{name} {shown.scores[shown.label]:.0%}"])

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Squares whose colour is to be told."""
        return squares_of_one_colour(seed, steps=60, lr=3e-3)
