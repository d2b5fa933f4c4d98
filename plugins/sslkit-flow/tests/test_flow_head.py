"""What flow heads share: frames apart, predictions and pictures in pixels of the original."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslkit.contracts import FeatureInfo, FeatureMap, FlowField, HeadFeatures, Meta
from sslkit.errors import ModelError
from sslkit_flow.flow_head import FlowHead, folded
from sslkit_flow.levels import FlowLevel

INFO = FeatureInfo(("a",), (3,), (4,), 4, 4, (0.5,), (0.5,))


def test_the_last_level_is_the_prediction_in_pixels_of_the_original() -> None:
    meta = Meta(0, "", (16, 48), (8, 12), (16, 16))
    levels = [FlowLevel(torch.full((1, 2, 2, 2), 9.0), 8), FlowLevel(torch.full((1, 2, 4, 4), 1.5), 4)]
    (found,) = FlowHead(INFO).decode(levels, [meta])
    torch.testing.assert_close(found.vectors, torch.tensor([6.0, 3.0]).view(2, 1, 1).expand(2, 16, 48))


def test_the_loss_names_its_levels_by_stride() -> None:
    level = FlowLevel(torch.zeros(1, 2, 4, 4, requires_grad=True), 4)
    truth = FlowField(torch.tensor([3.0, 4.0]).view(2, 1, 1).expand(2, 16, 16))
    ((name, value),) = FlowHead(INFO).loss([level], [truth]).items()
    assert (name, float(value.detach())) == ("epe_4", 5.0)


def test_frames_become_rows_pair_by_pair() -> None:
    values = torch.arange(4.0).view(2, 2, 1, 1, 1)
    (part,) = folded(HeadFeatures(None, (FeatureMap(values, 4),), (4, 4), ()))
    assert part.values.flatten().tolist() == [0, 1, 2, 3]
    with pytest.raises(ModelError, match=r"\(2, 1, 1, 1\)"):
        folded(HeadFeatures(None, (FeatureMap(values[:, 0], 4),), (4, 4), ()))


def test_a_prediction_is_drawn_on_one_frame_or_beside_both() -> None:
    frames = np.full((2, 64, 64, 3), 90, dtype=np.uint8)
    shown = FlowField(torch.full((2, 64, 64), 5.0))
    one, both = FlowHead(INFO).draw(frames[0], shown), FlowHead(INFO).draw_frames(frames, shown)
    assert one.shape == (64, 64, 3)
    assert bool((one != frames[0]).any())
    assert both.dtype == np.uint8
    assert both.shape[0] > 64
    nowhere = FlowField(shown.vectors, torch.zeros(64, 64, dtype=torch.bool))
    assert np.array_equal(FlowHead(INFO).draw(frames[0], nowhere), frames[0])
