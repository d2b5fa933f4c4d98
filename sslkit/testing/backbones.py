"""A backbone small enough for a test of milliseconds, with everything a real one has."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslkit.contracts import FeatureInfo, FeatureMap


class TinyBackbone(nn.Module):
    """Two strided convolutions with BatchNorm: embeddings (N, 16), maps at strides 2 and 4.

    seed: its weights are a function of it.
    """

    embedding_dim = 16

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.first = _block(3, 8)
        self.second = _block(8, 16)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                bound = parameter[0].numel() ** -0.5
                nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 16)."""
        embedding: Tensor = self.second(self.first(pixels)).mean(dim=(2, 3))
        return embedding

    def feature_maps(self, pixels: Tensor) -> dict[str, FeatureMap]:
        """(N, 3, H, W), sides multiples of 4, to "first" (N, 8, H/2, W/2), "second" (N, 16, H/4, W/4)."""
        fine = self.first(pixels)
        return {"first": FeatureMap(fine, 2), "second": FeatureMap(self.second(fine), 4)}

    @property
    def info(self) -> FeatureInfo:
        """What it offers."""
        return FeatureInfo(("first", "second"), (8, 16), (2, 4), 4, 4, (0.5,) * 3, (0.5,) * 3)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
