"""Regions and the pieces of torchvision that detectors here stand on."""

import math

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms, roi_pool

from sslkit.contracts import FeatureMap
from sslkit_detection.regions import RegionPool


def ramp(stride: int, cells: int = 16) -> FeatureMap:
    """A map whose two channels are the x and y, in pixels, of the middle of each cell."""
    middles = stride * (torch.arange(cells) + 0.5)
    return FeatureMap(torch.stack(torch.meshgrid(middles, middles, indexing="xy"))[None], stride)


@pytest.mark.parametrize("stride", [4, 6, 8])
def test_aligned_regions_of_a_linear_ramp_are_exact(stride) -> None:
    box = torch.tensor([[10.3, 12.9, 37.7, 41.2]])
    pooled = RegionPool(size=5, samples=2, canonical=224.0)([ramp(stride)], [box])
    left, top, right, bottom = box[0].tolist()
    across = torch.tensor([left + (right - left) * (i + 0.5) / 5 for i in range(5)])
    down = torch.tensor([top + (bottom - top) * (i + 0.5) / 5 for i in range(5)])
    torch.testing.assert_close(pooled[0, 0], across.expand(5, 5), atol=1e-3, rtol=0)
    torch.testing.assert_close(pooled[0, 1], down[:, None].expand(5, 5), atol=1e-3, rtol=0)


def test_pooled_regions_are_quantised_and_aligned_ones_are_not() -> None:
    level = ramp(8)
    boxes = torch.tensor([[0.0, 16, 16, 48, 48], [0.0, 18, 18, 50, 50]])  # less than half a cell apart
    first, second = roi_pool(level.values, boxes, 4, spatial_scale=1 / 8)
    assert torch.equal(first, second)
    rows = [boxes[:1, 1:], boxes[1:, 1:]]
    first, second = (RegionPool(size=4, samples=2, canonical=224.0)([level], [row])[0] for row in rows)
    torch.testing.assert_close(second - first, torch.full_like(first, 2.0))


def test_larger_boxes_are_cut_from_coarser_levels() -> None:
    pool, strides = RegionPool(size=2, samples=2, canonical=224.0), (4, 8, 16, 32)
    for side in (5, 55, 57, 111, 113, 223, 224, 447, 449, 2000):
        box = torch.tensor([[0.0, 0, side, side]])
        level = (
            min(max(math.floor(4 + math.log2(side / 224) + 1e-6), 2), 5) - 2
        )  # Lin et al. 2017, equation 1
        assert pool.levels(box, strides).item() == level, side


def test_regions_keep_the_order_of_samples_and_boxes_and_may_be_none() -> None:
    maps = [ramp(8), ramp(16, 8)]
    maps = [FeatureMap(torch.cat([level.values, -level.values]), level.stride) for level in maps]
    boxes = [torch.tensor([[40.0, 40, 60, 60], [0, 0, 120, 120]]), torch.tensor([[8.0, 8, 24, 24]])]
    pooled = RegionPool(size=1, samples=4, canonical=64.0)(maps, boxes)
    assert pooled[:, 0, 0, 0].tolist() == pytest.approx([50, 60, -16], abs=1e-3)
    assert RegionPool(size=1, samples=2, canonical=64.0)(maps, [boxes[0][:0]] * 2).shape == (0, 2, 1, 1)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_decoding_a_box_undoes_its_encoding(weights) -> None:
    coder, generator = BoxCoder(weights), torch.Generator().manual_seed(0)
    corners = 200 * torch.rand(2, 500, 2, generator=generator)
    boxes, anchors = torch.cat(
        [corners, corners + 4 + 60 * torch.rand(2, 500, 2, generator=generator)], dim=2
    )
    back = coder.decode_single(coder.encode_single(boxes, anchors), anchors)
    torch.testing.assert_close(back, boxes, atol=1e-4, rtol=1e-4)


def test_a_wild_code_is_clamped() -> None:
    (box,) = BoxCoder((1.0,) * 4).decode_single(
        torch.tensor([[0.0, 0, 99, 99]]), torch.tensor([[0.0, 0, 16, 16]])
    )
    torch.testing.assert_close(box[2:] - box[:2], torch.tensor([1000.0, 1000.0]))


def test_suppression_is_by_class_keeps_the_best_and_has_no_gradient() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 10, 10], [0, 0, 10, 9]], requires_grad=True)
    scores = torch.tensor([0.5, 0.9, 0.5], requires_grad=True)
    kept = batched_nms(boxes, scores, torch.tensor([0, 0, 1]), 0.5)
    assert kept.tolist() == [1, 2]
    assert not kept.requires_grad
