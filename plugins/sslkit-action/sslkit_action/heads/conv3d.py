"""Convolutions over space and time on the last map, meant for inflated backbones."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from sslkit.contracts import Example, FeatureInfo, HeadFeatures, HeadSpec, Task
from sslkit_action.action import ActionHead
from sslkit_action.examples import moving_squares
from sslkit_action.options import whole
from sslkit_action.picture_cells import shares


class Conv3d(ActionHead):
    """3x3x3 convolutions with BatchNorm and ReLU on the last map, the mean over picture and time, a plane.

    The kernels are those of C3D (Tran et al. 2015, "Learning Spatiotemporal Features with 3D Convolutional
    Networks", section 3.2), here on a map instead of pixels; the pooling is I3D's (Carreira and Zisserman
    2017, "Quo Vadis, Action Recognition?", figure 3). Padding of the canvas is zero to each convolution and
    has no vote.

    layers: how many convolutions; with 0 it is the classifier of I3D alone. width: their channels.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "conv3d", "clip", "map", "label", "top1", protocol="conv3d-inflated-finetune"
    )

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        layers: int = 1,
        width: int = 256,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(task, label_smoothing=label_smoothing)
        channels = [info.channels[-1], *[whole("width", width)] * whole("layers", layers, least=0)]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm3d(width), nn.ReLU()
            )
            for inputs in channels[:-1]
        )
        self.classify = self.classifier(channels[-1], dropout)

    def forward(self, features: HeadFeatures) -> Tensor:
        """The last map (N, T', C, h, w) to logits (N, K)."""
        last = features.maps[-1]
        weights = shares(last, features.metas)[:, None, None]  # (N, 1, 1, h, w)
        picture = weights > 0
        values = last.values.transpose(1, 2)  # (N, C, T', h, w)
        for block in self.blocks:
            values = block(values * picture)
        pooled = (values * weights).sum(dim=(3, 4)) / weights.sum(dim=(3, 4))  # (N, W, T')
        logits: Tensor = self.classify(pooled.mean(dim=2))
        return logits

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Clips of which each is another one played backwards."""
        return moving_squares(seed, reversible=True, options={"width": 32}, steps=45, lr=3e-3)
