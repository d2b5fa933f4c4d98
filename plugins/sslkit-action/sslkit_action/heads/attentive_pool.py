"""A learnt query that attends to what matters in a clip."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import Example, FeatureInfo, HeadFeatures, HeadSpec, Task
from sslkit.errors import ConfigError
from sslkit_action.action import ActionHead
from sslkit_action.examples import moving_squares
from sslkit_action.options import one_of, whole
from sslkit_action.picture_cells import mean_of_frames, shares

TOKENS = ("frames", "cells")


class AttentivePool(ActionHead):
    """The attentive probe of V-JEPA: cross-attention of one learnt query, a residual MLP, a plane.

    Bardes et al. 2024, "Revisiting Feature Prediction for Learning Visual Representations from Video",
    section 4.3; the pooling by attention is of Lee et al. 2019, "Set Transformer", section 3.2. Tokens know
    their time through sines and cosines (Vaswani et al. 2017, section 3.5) of the frame they stand for.

    tokens: `cells` of the last map, each counting by how much of it is picture, or `frames`, their means.
    heads: of the attention; width: of the tokens, a multiple of twice the heads.
    """

    spec: ClassVar[HeadSpec] = HeadSpec(
        "attentive_pool", "clip", "map", "label", "top1", protocol="attentive-pool-frozen"
    )

    def __init__(
        self,
        info: FeatureInfo,
        task: Task,
        *,
        tokens: str = "cells",
        heads: int = 8,
        width: int = 256,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(task, label_smoothing=label_smoothing)
        if whole("width", width) % (2 * whole("heads", heads)):
            raise ConfigError(
                f"width is {width} with {heads} heads; it is a multiple of {2 * heads}, such as {32 * heads}"
            )
        self.cells = one_of("tokens", tokens, TOKENS) == "cells"
        self.heads = heads
        self.embed = nn.Sequential(nn.LayerNorm(info.channels[-1]), nn.Linear(info.channels[-1], width))
        self.query = nn.Parameter(0.02 * torch.randn(width))
        self.ask = nn.Linear(width, width)
        self.answer = nn.Linear(width, 2 * width)  # keys and values
        self.mix = nn.Linear(width, width)
        self.refine = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.normalise = nn.LayerNorm(width)
        self.classify = self.classifier(width, dropout)

    def forward(self, features: HeadFeatures) -> Tensor:
        """The last map (N, T', C, h, w) to logits (N, K)."""
        last = features.maps[-1]
        clips, frames = last.values.shape[:2]
        if self.cells:
            parts = last.values.flatten(3).transpose(2, 3)  # (N, T', h * w, C)
            votes = shares(last, features.metas).flatten(1)[:, None].expand(-1, frames, -1)
        else:
            parts = mean_of_frames(last, features.metas)[:, :, None]  # (N, T', 1, C)
            votes = parts.new_ones(clips, frames, 1)
        tokens = self.embed(parts) + times(frames, last.temporal_stride, self.query)[:, None]
        pooled = self.query + self.mix(self._attend(tokens.flatten(1, 2), votes.flatten(1)))
        logits: Tensor = self.classify(self.normalise(pooled + self.refine(pooled)))
        return logits

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        """Clips of which each is another one played backwards."""
        return moving_squares(seed, reversible=True, options={"width": 64, "heads": 4}, steps=90, lr=3e-3)

    def _attend(self, tokens: Tensor, votes: Tensor) -> Tensor:
        """Tokens (N, L, W), counting as `votes` (N, L) of one each, to what the query takes, (N, W)."""
        clips, length, width = tokens.shape
        query = self.ask(self.query).view(1, self.heads, 1, -1).expand(clips, -1, -1, -1)
        pairs = self.answer(tokens).view(clips, length, 2, self.heads, -1)
        keys, values = pairs.permute(2, 0, 3, 1, 4)  # (N, heads, L, W / heads) each
        # A share s of a token: its weight exp(score) times s, which is exp(score + log s).
        mask = votes.log().to(query.dtype)[:, None, None]
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=mask).reshape(clips, width)


def times(frames: int, stride: int, like: Tensor) -> Tensor:
    """Sines and cosines of frame t * stride for t = 0..frames - 1, (frames, W) as wide as `like`."""
    steps = torch.arange(frames, device=like.device, dtype=torch.float32) * stride
    half = like.shape[-1] // 2
    rates = torch.exp(torch.arange(half, device=like.device) * (-math.log(10_000) / half))
    angles = steps[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
