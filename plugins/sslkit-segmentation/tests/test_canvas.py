"""Scores of cells to scores of pixels."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.contracts import Meta
from sslkit_segmentation.canvas import on_canvas, valid_cells


def meta(valid: tuple[int, int], canvas: tuple[int, int]) -> Meta:
    return Meta(0, "", valid, valid, canvas)


def slowly(scores: Tensor, stride: float, valid: tuple[int, int], row: int, column: int) -> Tensor:
    """Of one pixel: every cell votes by its distance, if its centre lies in the image."""
    votes, weights = torch.zeros(scores.shape[0]), 0.0
    for i in range(scores.shape[1]):
        for j in range(scores.shape[2]):
            centre = (i + 0.5) * stride, (j + 0.5) * stride
            if centre[0] >= valid[0] or centre[1] >= valid[1]:
                continue
            away = abs(row + 0.5 - centre[0]) / stride, abs(column + 0.5 - centre[1]) / stride
            weight = max(0, 1 - away[0]) * max(0, 1 - away[1])
            votes += weight * scores[:, i, j]
            weights += weight
    return votes / weights


@pytest.mark.parametrize("stride", [4, 3, 3.5])
@pytest.mark.parametrize("valid", [(20, 14), (15, 17)])
def test_pixels_are_between_the_centres_of_the_valid_cells(stride: float, valid: tuple[int, int]) -> None:
    scores = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    found = on_canvas(scores, stride, (21, 20), [meta(valid, (21, 20))])
    assert found.shape == (1, 2, 21, 20)
    for row in range(2, valid[0], 3):
        for column in range(2, valid[1], 3):
            expected = slowly(scores[0], stride, valid, row, column)
            torch.testing.assert_close(found[0, :, row, column], expected)


def test_without_padding_it_is_plain_interpolation() -> None:
    scores = torch.randn(2, 3, 4, 5)
    found = on_canvas(scores, 8, (32, 40), [meta((32, 40), (32, 40))] * 2)
    expected = F.interpolate(scores, scale_factor=8, mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, expected)


def test_what_lies_in_the_padding_has_no_vote() -> None:
    scores = torch.randn(1, 3, 8, 8)
    small = on_canvas(scores[..., :5, :3], 4, (20, 12), [meta((20, 12), (20, 12))])
    scores[..., 5:, :] = torch.inf
    scores[..., 3:] = torch.nan
    large = on_canvas(scores, 4, (32, 32), [meta((20, 12), (32, 32))])
    torch.testing.assert_close(large[..., :20, :12], small)
    assert large.isfinite().all()


def test_a_cell_counts_by_its_centre_and_the_first_one_always() -> None:
    def counted(valid: tuple[int, int]) -> list[int]:
        mask = valid_cells([meta(valid, (32, 32))], (4, 4), 8)[0, 0]
        return [int(mask[:, 0].sum()), int(mask[0].sum())]

    assert counted((32, 32)) == [4, 4]
    assert counted((12, 13)) == [1, 2]  # the second centre lies at 12
    assert counted((1, 3)) == [1, 1]
