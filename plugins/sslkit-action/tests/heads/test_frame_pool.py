"""The mean of frames against its parts."""

from __future__ import annotations

import pytest
import torch

from sslkit.contracts import FeatureInfo, HeadFeatures, Meta, Task
from sslkit.errors import ConfigError
from sslkit_action.heads.frame_pool import FramePool

INFO = FeatureInfo((), (), (), 8, 8, (0.5,) * 3, (0.5,) * 3, embedding_dim=6)
TASK = Task("label", ("sit", "stand", "walk"), (32, 32), frames=8)


def given(frames: int) -> HeadFeatures:
    vector = torch.randn(5, frames, 6, generator=torch.Generator().manual_seed(frames))
    return HeadFeatures(vector, (), (32, 32), (Meta(0, "", (32, 32), (32, 32), (32, 32)),) * 5)


@pytest.mark.parametrize("frames", [1, 3, 8])
def test_it_is_a_plane_through_the_mean_of_however_many_frames(frames: int) -> None:
    head, features = FramePool(INFO, TASK), given(frames)
    assert features.vector is not None
    mean = sum(features.vector[:, time] for time in range(frames)) / frames
    plane = head.classify[1]
    torch.testing.assert_close(head(features), mean @ plane.weight.T + plane.bias)


def test_batch_norm_has_no_parameters_and_goes_before_the_plane() -> None:
    head, features = FramePool(INFO, TASK, norm="batch"), given(3)
    assert features.vector is not None
    mean = features.vector.mean(dim=1)
    normal = (mean - mean.mean(dim=0)) / (mean.var(dim=0, unbiased=False) + 1e-5).sqrt()
    plane = head.classify[1]
    torch.testing.assert_close(head(features), normal @ plane.weight.T + plane.bias)
    assert {name for name, _ in head.named_parameters()} == {"classify.1.weight", "classify.1.bias"}


def test_a_norm_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match="norm is 'layer'; it is one of none, batch"):
        FramePool(INFO, TASK, norm="layer")
