"""A map resampled to another stride says of each cell what was true at its centre."""

import math

import pytest
import torch

from sslkit.contracts import FeatureInfo, FeatureMap
from sslkit.errors import ModelError
from sslkit.models.alignment import cells, check_maps, nearest_stride, resampled


def centres(rows: int, columns: int, stride: int) -> torch.Tensor:
    """A map whose two channels are the pixel coordinates (y, x) of its cells' centres."""
    down = (torch.arange(rows) + 0.5) * stride
    across = (torch.arange(columns) + 0.5) * stride
    return torch.stack(torch.meshgrid(down, across, indexing="ij"))[None]


@pytest.mark.parametrize(
    ("old", "new"),
    [(4, 8), (8, 4), (16, 4), (14, 16), (16, 14), (3, 4), (6, 8), (12, 16), (7, 8), (4, 4), (3, 8)],
)
def test_every_cell_away_from_the_border_keeps_its_place(old, new) -> None:
    canvas = (150, 203)
    given = FeatureMap(centres(*cells(canvas, old), old), old)
    made = resampled(given, new, canvas)
    expected = centres(*cells(canvas, new), new)
    assert made.stride == new
    assert made.values.shape == expected.shape
    edge = math.ceil(2 * max(old, new) / new)  # where borders are repeated the ramp is not straight
    inside = (..., slice(edge, -edge), slice(edge, -edge))
    filtered = new > 2 * old and new % old  # the antialiasing filter is even about few of its centres
    torch.testing.assert_close(
        made.values[inside], expected[inside], rtol=0, atol=0.02 * new if filtered else 1e-3
    )


def test_shrinking_is_antialiased() -> None:
    """Stripes two cells wide are grey at four times the stride; a sample of the middle keeps a colour."""
    stripes = torch.tensor([1.0, 0.0, 0.0, 1.0]).repeat(8).expand(1, 1, 32, 32)
    made = resampled(FeatureMap(stripes, 4), 16, (128, 128))
    torch.testing.assert_close(made.values[..., 1:-1, 1:-1], torch.full((1, 1, 6, 6), 0.5))


def test_cells_beyond_the_map_repeat_its_border() -> None:
    given = FeatureMap(torch.arange(3.0).view(1, 1, 1, 3), 8)  # covers 8 x 24 pixels
    made = resampled(given, 8, (8, 24))
    assert torch.equal(made.values, given.values)
    coarse = resampled(given, 32, (8, 24)).values
    assert coarse.shape == (1, 1, 1, 1)
    assert 0 < float(coarse) < 2
    fine = resampled(given, 4, (8, 22)).values
    assert fine.shape == (1, 1, 2, 6)
    assert float(fine[..., -1].max()) == 2.0


def test_a_larger_map_than_the_canvas_is_cropped() -> None:
    given = FeatureMap(torch.randn(2, 3, 8, 8), 4)
    assert torch.equal(resampled(given, 4, (17, 9)).values, given.values[..., :5, :3])


def test_half_precision_stays_half() -> None:
    given = FeatureMap(torch.randn(1, 2, 8, 8).bfloat16(), 4)
    assert resampled(given, 8, (32, 32)).values.dtype == torch.bfloat16


def test_maps_that_do_not_cover_the_canvas_are_refused() -> None:
    info = FeatureInfo(("only",), (1,), (8,), 8, 8, (0.5,) * 3, (0.5,) * 3)
    check_maps([FeatureMap(torch.zeros(1, 1, 4, 4), 8)], info, (31, 32))
    with pytest.raises(ModelError, match="4x4 cells at stride 8 does not cover a canvas of 33x32"):
        check_maps([FeatureMap(torch.zeros(1, 1, 4, 4), 8)], info, (33, 32))


@pytest.mark.parametrize(
    ("strides", "stride", "nearest"),
    [((4, 8, 16), 8, 8), ((3, 6, 12), 4, 3), ((3, 6, 12), 16, 12), ((14,), 4, 14), ((4, 16), 8, 4)],
)
def test_the_nearest_stride_is_near_in_proportion(strides, stride, nearest) -> None:
    assert nearest_stride(strides, stride) == nearest
