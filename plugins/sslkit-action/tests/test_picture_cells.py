"""Cells of the padding are told from those of the picture."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sslkit.contracts import FeatureMap, Meta
from sslkit_action.picture_cells import mean_of_frames, shares

VALID = ((24, 16), (12, 7), (1, 1))


def metas(canvas: tuple[int, int] = (24, 24)) -> list[Meta]:
    return [Meta(place, "", valid, valid, canvas) for place, valid in enumerate(VALID)]


def by_counting(valid: tuple[int, int], stride: int, cells: tuple[int, int]) -> Tensor:
    """The share of each cell's pixels that lie in the picture, one by one."""
    inside = torch.zeros(cells[0] * stride, cells[1] * stride)
    inside[: valid[0], : valid[1]] = 1
    counted = torch.zeros(cells)
    for row in range(cells[0]):
        for column in range(cells[1]):
            down, right = row * stride, column * stride
            counted[row, column] = inside[down : down + stride, right : right + stride].mean()
    return counted


@pytest.mark.parametrize("stride", [4, 8, 6])
def test_shares_are_those_of_counted_pixels(stride: int) -> None:
    cells = (24 // stride, 24 // stride)
    found = shares(FeatureMap(torch.zeros(3, 2, 5, *cells), stride), metas())
    for share, valid in zip(found, VALID, strict=True):
        torch.testing.assert_close(share, by_counting(valid, stride, cells))


def test_the_mean_is_the_weighted_sum_over_cells() -> None:
    values = torch.randn(3, 2, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    found = mean_of_frames(FeatureMap(values, 8), metas())
    for clip, valid in enumerate(VALID):
        weights = by_counting(valid, 8, (3, 3))
        for frame in range(2):
            for channel in range(5):
                expected = (values[clip, frame, channel] * weights).sum() / weights.sum()
                assert float(found[clip, frame, channel]) == pytest.approx(float(expected), abs=1e-5)


def test_what_lies_in_the_padding_does_not_count() -> None:
    values = torch.randn(3, 2, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    loud = values.clone()
    loud[1, :, :, 2:] = 1e6
    loud[1, :, :, :, 1:] = 1e6
    expected, found = (mean_of_frames(FeatureMap(given, 8), metas()) for given in (values, loud))
    assert torch.equal(expected, found)
