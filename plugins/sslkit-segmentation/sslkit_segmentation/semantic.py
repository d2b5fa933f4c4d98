"""What every semantic head shares: its losses, its predictions, how it is judged and drawn.

A head adds `forward(features) -> scores on the canvas, float (N, K, H, W)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sslkit.contracts import HeadSpec, Meta, SemanticMap, Task
from sslkit.errors import ConfigError
from sslkit_segmentation.drawing import overlay
from sslkit_segmentation.losses.named import SemanticLoss
from sslkit_segmentation.metrics.semantic import SemanticMetric

MOST_CLASSES = 255
"""Labels are bytes, of which 255 means ignored."""


class SemanticHead(nn.Module):
    """A head that gives every pixel one of K classes; padding and pixels of label 255 have no say.

    loss: `ce`, `dice`, `lovasz` or a sum such as `ce+dice`. class_weights: of the cross-entropy, `none`,
    `inverse` or `median_frequency` of the counts of the task. reduction: what its weighted sum is divided
    by, `by_weight` or `by_count`. Raises ConfigError for other options and for fewer than two classes.
    """

    spec: ClassVar[HeadSpec]

    def __init__(self, task: Task, *, loss: str, class_weights: str, reduction: str) -> None:
        super().__init__()
        if not 2 <= len(task.classes) <= MOST_CLASSES:
            raise ConfigError(
                f"a semantic head was given {len(task.classes)} classes; it needs 2 to {MOST_CLASSES}, "
                "the background being one of them"
            )
        self.classes = task.classes
        self.criterion = SemanticLoss(task, loss, class_weights=class_weights, reduction=reduction)

    def loss(self, raw: Tensor, targets: Sequence[SemanticMap]) -> dict[str, Tensor]:
        """Scores (N, K, H, W) and labels of the canvas to the terms of the loss by name."""
        labels = torch.stack([target.labels for target in targets]).to(raw.device, torch.int64)
        terms: dict[str, Tensor] = self.criterion(raw, labels)
        return terms

    def decode(self, raw: Tensor, metas: Sequence[Meta]) -> list[SemanticMap]:
        """The class of highest score in every pixel of the originals."""
        return [
            SemanticMap(meta.map_to_original(scores).argmax(dim=0).to(torch.uint8).cpu())
            for scores, meta in zip(raw, metas, strict=True)
        ]

    def metrics(self) -> SemanticMetric:
        """Mean intersection over union and its kin."""
        return SemanticMetric(self.classes)

    def draw(self, image: np.ndarray, shown: SemanticMap) -> np.ndarray:
        """Regions in the colours of their classes, with outlines; ignored pixels as they are."""
        return overlay(image, shown.labels.cpu().numpy(), len(self.classes))
