"""What a backbone offers. Shapes: N samples, T frames, C channels, H x W pixels, D embedding width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True)
class FeatureMap:
    """A backbone's intermediate output: values (N, C, H, W), one cell every `stride` input pixels.

    Of clips (N, T', C, H, W), one map every `temporal_stride` input frames.
    """

    values: Tensor
    stride: int
    temporal_stride: int = 1


@dataclass(frozen=True)
class FeatureInfo:
    """What a backbone offers.

    names, channels, strides: its feature maps, fine to coarse. size_divisor: input sides must be its
    multiples (`feature_maps` pads). minimum_side: smallest side accepted. mean, std: expected normalisation
    of pixels in [0, 1]. weights: where they come from ("random", "timm:TAG" or a run's hash).
    loaded_fraction: share of the backbone's tensors filled from those weights. embedding_dim: width D of the
    embedding. temporal_strides: of the maps, in frames; empty where each frame is seen alone.
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
    temporal_strides: tuple[int, ...] = ()


@dataclass
class ClipRows:
    """How the rows of a running batch are the frames of clips; all layers that look along time share one.

    clips: N, so that a layer given R rows sees clips of R / N frames. history: while frames come one by one,
    what layers keep of earlier ones, each under a key of its own; None where clips come whole.
    """

    clips: int = 1
    history: dict[Any, Any] | None = None


class VideoNetwork(Protocol):
    """A network with timm's interface that looks along time.

    Its input (N * T, C, H, W), its pooled output and its maps (N * T', ...) hold frames as rows, clip by
    clip.
    temporal_strides: input frames for one row of each stage of `feature_info`; the pooled output has the
    last. causal: whether no row depends on frames later than those it stands for. One that needs clips of a
    certain length says so by `minimum_frames`.
    """

    clip_rows: ClipRows
    temporal_strides: Sequence[int]
    causal: bool


class BackboneLike(Protocol):
    """The network kept after pretraining: what objectives, heads and embedding see of it (an nn.Module)."""

    embedding_dim: int

    def __call__(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (N, C, H, W), or of clips (N, T, C, H, W), to embeddings (N, D)."""
        ...

    def embed_frames(self, clips: Tensor) -> Tensor:
        """Normalised pixels (N, T, C, H, W) to one embedding each temporal stride, (N, T', D)."""
        ...

    def feature_maps(self, pixels: Tensor) -> dict[str, FeatureMap]:
        """Normalised pixels (N, C, H, W), or of clips (N, T, C, H, W), to named maps, fine to coarse."""
        ...

    @property
    def info(self) -> FeatureInfo: ...
