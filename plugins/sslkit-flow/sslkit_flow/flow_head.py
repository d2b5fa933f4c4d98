"""What every flow head shares: the frames of a pair, its predictions, how it is judged and drawn.

A head adds `forward(features) -> list[FlowLevel]`, the best last, and its loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from sslkit.contracts import FeatureInfo, FeatureMap, FlowField, HeadFeatures, HeadSpec, Meta
from sslkit.errors import ModelError
from sslkit_flow.levels import FlowLevel, to_original
from sslkit_flow.losses.endpoint import stacked
from sslkit_flow.losses.multi_scale import multi_scale_epe
from sslkit_flow.metrics.flow import FlowMetric
from sslkit_flow.pictures import draw_flow, draw_pair


class FlowHead(nn.Module):
    """A head that tells where every pixel of the first frame of a pair lies in the second.

    Its loss is FlowNet's, over all levels. Raises ModelError for a network that makes one map of two frames.
    """

    spec: ClassVar[HeadSpec]

    def __init__(self, info: FeatureInfo) -> None:
        super().__init__()
        if any(stride > 1 for stride in info.temporal_strides):
            raise ModelError(
                f"flow is between two frames, and this network has temporal strides {info.temporal_strides}, "
                "so that one map stands for both; build it with temporal strides of 1, or not inflated"
            )

    def loss(self, raw: Sequence[FlowLevel], targets: Sequence[FlowField]) -> dict[str, Tensor]:
        """The weighted endpoint error of each level, named by its stride."""
        return multi_scale_epe(raw, *stacked(targets, raw[-1].vectors.device))

    def decode(self, raw: Sequence[FlowLevel], metas: Sequence[Meta]) -> list[FlowField]:
        """The last level, in pixels of the originals."""
        return [
            FlowField(to_original(vectors, raw[-1].stride, meta).cpu())
            for vectors, meta in zip(raw[-1].vectors, metas, strict=True)
        ]

    def metrics(self) -> FlowMetric:
        """Endpoint error and its kin."""
        return FlowMetric()

    def draw(self, image: np.ndarray, shown: FlowField) -> np.ndarray:
        """Arrows on the first frame."""
        valid = None if shown.valid is None else shown.valid.cpu().numpy()
        return draw_flow(image, shown.vectors.cpu().numpy(), valid)

    def draw_frames(self, frames: np.ndarray, shown: FlowField) -> np.ndarray:
        """Both frames and the vectors between them."""
        return draw_pair(frames, shown)


def folded(features: HeadFeatures) -> list[FeatureMap]:
    """Maps of pairs (N, 2, C, h, w) with the frames as rows, (2 N, C, h, w), pair by pair.

    Raises ModelError for maps that are not of two frames.
    """
    for part in features.maps:
        if part.values.dim() != 5 or part.values.shape[1] != 2:
            raise ModelError(
                f"a flow head was given maps of shape {tuple(part.values.shape)}; those of pairs are "
                "(N, 2, C, h, w)"
            )
    return [FeatureMap(part.values.flatten(0, 1), part.stride) for part in features.maps]


def paired(rows: Tensor) -> Tensor:
    """Rows of frames (2 N, C, h, w), pair by pair, to pairs (N, 2, C, h, w)."""
    return rows.view(-1, 2, *rows.shape[1:])


def pixels_of(features: HeadFeatures, asking: str) -> Tensor:
    """The normalised pixels of pairs, (N, 2, C, H, W); raises ModelError where features were kept alone."""
    if features.pixels is None:
        raise ModelError(
            f"{asking} looks at pixels, and features that were kept come without; use training.cache=false"
        )
    return features.pixels
