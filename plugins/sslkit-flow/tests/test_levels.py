"""Cells to pixels of the original: lengths scale with the sides, padding has no say."""

from __future__ import annotations

import pytest
import torch

from sslkit.contracts import Meta
from sslkit_flow.levels import FlowLevel, on_canvas, to_original

WHOLE = Meta(0, "", (16, 24), (16, 24), (16, 24))


def test_pixels_of_an_original_of_the_same_size_are_as_they_were() -> None:
    vectors = torch.randn(2, 16, 24, generator=torch.Generator().manual_seed(0))
    assert torch.equal(to_original(vectors, 1, WHOLE), vectors)


def test_vectors_grow_with_the_sides_of_the_original() -> None:
    vectors = torch.tensor([3.0, 5.0]).view(2, 1, 1).expand(2, 16, 24)
    found = to_original(vectors, 1, Meta(0, "", (32, 72), (16, 24), (16, 24)))
    assert found.shape == (2, 32, 72)
    torch.testing.assert_close(found, torch.tensor([9.0, 10.0]).view(2, 1, 1).expand(2, 32, 72))


def test_a_ramp_of_cells_is_a_ramp_of_pixels_centre_by_centre() -> None:
    centres = (torch.arange(6) + 0.5) * 4
    fine = on_canvas(FlowLevel(centres.view(1, 1, 1, 6).expand(1, 2, 4, 6), 4), (16, 24))[0, 0, 0]
    torch.testing.assert_close(fine[2:-2], (torch.arange(24) + 0.5)[2:-2])


@pytest.mark.parametrize("stride", [1, 4, 8])
def test_what_lies_in_the_padding_does_not_matter(stride: int) -> None:
    cells = (32 // stride, 48 // stride)
    vectors = torch.randn(2, *cells, generator=torch.Generator().manual_seed(1))
    wide = Meta(0, "", (16, 24), (16, 24), (32, 48))
    other = vectors.clone()
    other[:, 16 // stride :] = 1e6
    other[:, :, 24 // stride :] = float("nan")
    assert torch.equal(to_original(vectors, stride, wide), to_original(other, stride, wide))
    tight = vectors[:, : 16 // stride, : 24 // stride]
    assert torch.equal(to_original(tight, stride, WHOLE), to_original(vectors, stride, wide))


def test_a_canvas_that_is_no_multiple_of_the_stride_is_cut() -> None:
    assert on_canvas(FlowLevel(torch.zeros(1, 2, 3, 4), 8), (19, 30)).shape == (1, 2, 19, 30)
