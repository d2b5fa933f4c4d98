"""The mean of a clip's frames under a linear classifier: what can be told without their order."""

from __future__ import annotations

from typing import ClassVar, cast

from torch import Tensor, nn

from sslkit.contracts import Example, FeatureInfo, HeadFeatures, HeadSpec, Task
from sslkit_action.action import ActionHead
from sslkit_action.examples import moving_squares
from sslkit_action.options import one_of

NORMS = ("none", "batch")


class FramePool(ActionHead):
    """The mean of the embeddings of frames and one linear layer.

    On a network that sees each frame alone this is the consensus of frames by averaging (Wang et al. 2016,
    "Temporal Segment Networks", section 3.1); on a network of video it is the usual classifier.

    norm: `batch` puts BatchNorm without scale and shift before the classifier, as linear probes do (He et al.
    2022, "Masked Autoencoders", appendix A.1).
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "frame_pool", "clip", "vector", "label", "top1", protocol="frame-pool-frozen"
    )

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        norm: str = "none",
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(task, label_smoothing=label_smoothing)
        batch = one_of("norm", norm, NORMS) == "batch"
        self.normalise = nn.BatchNorm1d(info.embedding_dim, affine=False) if batch else nn.Identity()
        self.classify = self.classifier(info.embedding_dim, dropout)

    def forward(self, features: HeadFeatures) -> Tensor:
        """Embeddings of frames (N, T', D) to logits (N, K)."""
        clips = cast(Tensor, features.vector).mean(dim=1)
        logits: Tensor = self.classify(self.normalise(clips))
        return logits

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Clips of colours of their own: without the order of frames nothing else tells them apart."""
        return moving_squares(seed, reversible=False, steps=45, lr=3e-3)
