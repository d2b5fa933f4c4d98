"""Convolutions along time over the embeddings of frames."""

from __future__ import annotations

from typing import ClassVar, cast

import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import Example, FeatureInfo, HeadFeatures, HeadSpec, Task
from sslkit.errors import ConfigError
from sslkit_action.action import ActionHead
from sslkit_action.examples import moving_squares
from sslkit_action.options import whole


class TemporalConv(ActionHead):
    """1-D convolutions over frames, ReLU and the mean over time, after temporal convolutional networks.

    Lea et al. 2017, "Temporal Convolutional Networks for Action Segmentation and Detection", section 2,
    without its pooling, since clips are short; with residual connections (Bai et al. 2018, "An Empirical
    Evaluation of Generic Convolutional and Recurrent Networks", section 3.4), neither dilated nor causal.

    kernel: frames each convolution sees, odd. layers: how many follow each other. width: their channels.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "temporal_conv", "clip", "vector", "label", "top1", protocol="temporal-conv-frozen"
    )

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        kernel: int = 3,
        layers: int = 2,
        width: int = 256,
        residual: bool = True,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(task, label_smoothing=label_smoothing)
        if whole("kernel", kernel) % 2 == 0:
            raise ConfigError(
                f"kernel is {kernel}; it is odd, so that frames stay in their places, such as 3"
            )
        whole("layers", layers)
        whole("width", width)
        self.residual = residual
        self.embed = nn.Sequential(nn.LayerNorm(info.embedding_dim), nn.Linear(info.embedding_dim, width))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv1d(width, width, kernel, padding=kernel // 2), nn.GroupNorm(1, width))
            for _ in range(layers)
        )
        self.classify = self.classifier(width, dropout)

    def forward(self, features: HeadFeatures) -> Tensor:
        """Embeddings of frames (N, T', D) to logits (N, K)."""
        frames = self.embed(cast(Tensor, features.vector)).transpose(1, 2)  # (N, W, T')
        for block in self.blocks:
            seen = block(frames)
            frames = F.relu(frames + seen if self.residual else seen)
        logits: Tensor = self.classify(frames.mean(dim=2))
        return logits

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Clips of which each is another one played backwards."""
        return moving_squares(seed, reversible=True, options={"width": 32}, steps=45, lr=3e-3)
