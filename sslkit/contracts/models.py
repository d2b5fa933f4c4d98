"""What a backbone offers. Shapes: N samples, C channels, H x W pixels, D embedding width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class FeatureMap:
    """A backbone's intermediate output: values (N, C, H, W), one cell every `stride` input pixels."""

    values: Tensor
    stride: int


@dataclass(frozen=True)
class FeatureInfo:
    """What a backbone offers.

    names, channels, strides: its feature maps, fine to coarse. size_divisor: input sides must be its
    multiples (`feature_maps` pads). minimum_side: smallest side accepted. mean, std: expected normalisation
    of pixels in [0, 1]. weights: where they come from ("random", "timm:TAG" or a run's hash).
    loaded_fraction: share of the backbone's tensors filled from those weights. embedding_dim: width D of the
    embedding.
    """

    names: tuple[str, ...]
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    size_divisor: int
    minimum_side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: str = "random"
    loaded_fraction: float = 0.0
    embedding_dim: int = 0


class BackboneLike(Protocol):
    """The network kept after pretraining: what objectives, heads and embedding see of it (an nn.Module)."""

    embedding_dim: int

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (N, C, H, W) to embeddings (N, D)."""
        ...

    def feature_maps(self, pixels: Tensor) -> dict[str, FeatureMap]:
        """Normalised pixels (N, C, H, W) to named maps, NCHW, fine to coarse."""
        ...

    @property
    def info(self) -> FeatureInfo: ...
