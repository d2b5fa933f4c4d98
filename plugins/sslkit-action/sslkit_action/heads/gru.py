"""A recurrent network over the embeddings of frames."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from sslkit.contracts import Example, FeatureInfo, HeadFeatures, HeadSpec, Task
from sslkit_action.action import ActionHead
from sslkit_action.examples import moving_squares
from sslkit_action.options import whole


class GRU(ActionHead):
    """Gated recurrent units over frames; the last state tells the class.

    Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder", section 2.3, over the
    features of frames as in Donahue et al. 2015, "Long-term Recurrent Convolutional Networks", section 4.

    layers: 1 or 2. width: of the state. bidirectional: a second one reads the clip backwards; its last state
    stands beside the other's.
    """

    spec: ClassVar[HeadSpec] = HeadSpec("gru", "clip", "vector", "label", "top1", protocol="gru-frozen")

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        layers: int = 1,
        width: int = 256,
        bidirectional: bool = False,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(task, label_smoothing=label_smoothing)
        self.directions = 2 if bidirectional else 1
        self.normalise = nn.LayerNorm(info.embedding_dim)
        self.recur = nn.GRU(
            info.embedding_dim,
            whole("width", width),
            whole("layers", layers, most=2),
            batch_first=True,
            bidirectional=bidirectional,
        )
        self.classify = self.classifier(self.directions * width, dropout)

    def forward(self, features: HeadFeatures) -> Tensor:
        """Embeddings of frames (N, T', D) to logits (N, K)."""
        frames = cast(Tensor, features.vector)
        # Errors add up from frame to frame, and a GRU on a CPU takes no numbers but those of its weights.
        with torch.autocast(frames.device.type, enabled=False):
            states = self.recur(self.normalise(frames.float()))[1]  # (layers * directions, N, W)
        last = torch.cat(states[-self.directions :].unbind(), dim=1)
        logits: Tensor = self.classify(last)
        return logits

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Clips of which each is another one played backwards."""
        return moving_squares(seed, reversible=True, options={"width": 32}, steps=45, lr=3e-3)
