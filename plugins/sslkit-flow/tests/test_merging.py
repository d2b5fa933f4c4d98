"""One map of several: a linear layer on each cell's hypercolumn."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sslkit.contracts import FeatureInfo, FeatureMap
from sslkit.errors import ModelError
from sslkit_flow.merging import Merged

INFO = FeatureInfo(("a", "b"), (3, 5), (8, 16), 16, 8, (0.5,), (0.5,))


def maps() -> list[FeatureMap]:
    generator = torch.Generator().manual_seed(0)
    fine = torch.randn(2, 3, 4, 6, generator=generator)
    return [FeatureMap(fine, 8), FeatureMap(torch.randn(2, 5, 2, 3, generator=generator), 16)]


@torch.no_grad()
def test_it_is_a_linear_layer_on_the_hypercolumn() -> None:
    merged, (fine, coarse) = Merged(INFO, channels=4, stride=8), maps()
    raised = F.interpolate(coarse.values, scale_factor=2, mode="bilinear", align_corners=False)
    column = torch.cat([fine.values, raised], dim=1)
    weight = torch.cat([convolution.weight for convolution in merged.project], dim=1)  # type: ignore[misc]
    bias = sum(convolution.bias for convolution in merged.project)  # type: ignore[misc]
    expected = F.conv2d(column, weight, bias)
    torch.testing.assert_close(merged([fine, coarse], (32, 48)), expected)


@pytest.mark.parametrize(("stride", "canvas"), [(4, (32, 48)), (8, (31, 41)), (16, (32, 48))])
def test_it_covers_the_canvas_at_the_stride_asked_for(stride: int, canvas: tuple[int, int]) -> None:
    found = Merged(INFO, channels=4, stride=stride)(maps(), canvas)
    assert found.shape == (2, 4, -(-canvas[0] // stride), -(-canvas[1] // stride))


def test_maps_of_another_network_are_refused() -> None:
    with pytest.raises(ModelError, match="built for"):
        Merged(INFO, channels=4, stride=8)(maps()[::-1], (32, 48))
