"""The dense linear probe: what a frozen backbone's maps tell apart by planes alone."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import Example, FeatureInfo, HeadFeatures, HeadSpec, Task
from sslkit.errors import ConfigError
from sslkit_segmentation.canvas import on_canvas
from sslkit_segmentation.examples import learnt_by_heart
from sslkit_segmentation.options import one_of
from sslkit_segmentation.semantic import SemanticHead

MAPS = ("last", "all")
NORMS = ("batch", "none")


class LinearSeg(SemanticHead):
    """BatchNorm and a 1x1 convolution (the linear protocol of DINOv2, Oquab et al. 2024, section 7.4).

    maps: `last`, the coarsest, or `all`, set side by side at the finest stride. norm: `batch`, or `none` for
    the convolution alone. dropout: probability of whole channels, before the norm. The rest as every semantic
    head. Raises ConfigError for other options.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "linear_seg", "image", "pyramid", "semantic", "mIoU", protocol="linear-seg-frozen"
    )

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        maps: str = "last",
        norm: str = "batch",
        dropout: float = 0.0,
        loss: str = "ce",
        class_weights: str = "none",
        reduction: str = "by_weight",
    ) -> None:
        super().__init__(task, loss=loss, class_weights=class_weights, reduction=reduction)
        self.every = one_of("maps", maps, MAPS) == "all"
        channels = sum(info.channels) if self.every else info.channels[-1]
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout is {dropout!r}; it is at least 0 and less than 1, such as 0.1")
        self.drop = nn.Dropout2d(dropout)
        batch = one_of("norm", norm, NORMS) == "batch"
        self.normalise = nn.BatchNorm2d(channels) if batch else nn.Identity()
        self.classify = nn.Conv2d(channels, len(task.classes), 1)

    def forward(self, features: HeadFeatures) -> Tensor:
        """Scores of the canvas, float (N, K, H, W)."""
        chosen = features.maps if self.every else features.maps[-1:]
        size = chosen[0].values.shape[-2:]
        beside = [
            F.interpolate(part.values, size=size, mode="bilinear", align_corners=False) for part in chosen
        ]
        scores = self.classify(self.normalise(self.drop(torch.cat(beside, dim=1))))
        return on_canvas(scores, chosen[0].stride, features.canvas, features.metas)

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Shapes; a map of cells of 32 pixels could not show them, so all maps."""
        return learnt_by_heart(seed, options={"maps": "all"}, steps=80, lr=1e-2)
