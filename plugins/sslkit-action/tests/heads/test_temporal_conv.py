"""Convolutions along time against plain loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sslkit.contracts import FeatureInfo, HeadFeatures, Meta, Task
from sslkit.errors import ConfigError
from sslkit_action.heads.temporal_conv import TemporalConv

INFO = FeatureInfo((), (), (), 8, 8, (0.5,) * 3, (0.5,) * 3, embedding_dim=6)
TASK = Task("label", ("sit", "stand", "walk"), (32, 32), frames=8)


def given(frames: int) -> HeadFeatures:
    vector = torch.randn(2, frames, 6, generator=torch.Generator().manual_seed(frames))
    return HeadFeatures(vector, (), (32, 32), (Meta(0, "", (32, 32), (32, 32), (32, 32)),) * 2)


def slow(head: TemporalConv, clip: Tensor, kernel: int) -> Tensor:
    """One clip (T', D) to logits (K,), frame by frame and tap by tap."""
    frames = [head.embed(frame) for frame in clip]
    for block in head.blocks:
        conv, norm = block[0], block[1]  # type: ignore[index]
        seen = []
        for time in range(len(frames)):
            total = conv.bias.clone()
            for tap in range(kernel):
                place = time + tap - kernel // 2
                if 0 <= place < len(frames):
                    total = total + conv.weight[:, :, tap] @ frames[place]
            seen.append(total)
        together = torch.stack(seen)
        mean, spread = together.mean(), together.var(unbiased=False)
        normal = [(row - mean) / (spread + 1e-5).sqrt() * norm.weight + norm.bias for row in seen]
        if head.residual:
            normal = [old + new for old, new in zip(frames, normal, strict=True)]
        frames = [row.clamp(min=0) for row in normal]
    pooled: Tensor = sum(frames) / len(frames)  # type: ignore[assignment]
    logits: Tensor = head.classify(pooled)
    return logits


@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize(("kernel", "layers", "residual"), [(3, 1, True), (5, 2, True), (3, 2, False)])
def test_it_is_the_sum_over_taps(frames: int, kernel: int, layers: int, residual: bool) -> None:
    head = TemporalConv(INFO, TASK, kernel=kernel, layers=layers, residual=residual, width=5)
    features = given(frames)
    assert features.vector is not None
    expected = torch.stack([slow(head, clip, kernel) for clip in features.vector])
    torch.testing.assert_close(head(features), expected, atol=1e-5, rtol=1e-4)


def test_what_cannot_be_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match="kernel is 4; it is odd"):
        TemporalConv(INFO, TASK, kernel=4)
    with pytest.raises(ConfigError, match="layers is 0; it is a whole number, at least 1"):
        TemporalConv(INFO, TASK, layers=0)
