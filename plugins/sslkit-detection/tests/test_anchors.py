"""Anchors stand around the centres of cells, at the strides the maps have."""

import math

import pytest
import torch

from sslkit.contracts import FeatureMap
from sslkit.errors import ConfigError
from sslkit_detection.anchors import Anchors, inside_crowd, octave_sizes


def maps(*shapes: tuple[int, int, int]) -> list[FeatureMap]:
    return [FeatureMap(torch.zeros(1, 2, rows, columns), stride) for rows, columns, stride in shapes]


def test_every_cell_has_every_size_and_ratio_around_its_centre() -> None:
    sizes, ratios, shapes = [(16.0, 20.0), (40.0, 64.0)], (0.5, 1.0, 2.0), ((3, 4, 8), (2, 2, 24))
    levels = Anchors((8, 24), sizes, ratios)(maps(*shapes))
    for (rows, columns, stride), own, boxes in zip(shapes, sizes, levels, strict=True):
        expected = [
            (
                stride * (column + 0.5) + sign_x * round(size / math.sqrt(ratio) / 2),
                stride * (row + 0.5) + sign_y * round(size * math.sqrt(ratio) / 2),
            )
            for row in range(rows)
            for column in range(columns)
            for ratio in ratios
            for size in own
            for sign_x, sign_y in ((-1, -1), (1, 1))
        ]
        torch.testing.assert_close(boxes.view(-1, 2), torch.tensor(expected, dtype=torch.float32))


def test_the_stride_is_the_maps_own_where_the_canvas_is_no_multiple_of_it() -> None:
    # A canvas of 33 pixels has 2 cells of stride 32; 33 // 2 would put the second at 24.
    (level,) = Anchors((32,), [(8.0,)], (1.0,))(maps((2, 2, 32)))
    assert ((level[:, :2] + level[:, 2:]) / 2).tolist() == [[16, 16], [48, 16], [16, 48], [48, 48]]


def test_sizes_grow_by_octaves() -> None:
    sizes = octave_sizes((8, 16), 4.0, 3)
    assert sizes[0] == pytest.approx((32, 40.317, 50.797), abs=1e-3)
    assert sizes[1] == pytest.approx(tuple(2 * size for size in sizes[0]))


def test_a_tuple_of_sizes_is_needed_for_each_level() -> None:
    with pytest.raises(ConfigError, match=r"1 tuples of anchor sizes for 2 pyramid levels \(strides 8, 16\)"):
        Anchors((8, 16), [(32.0,)], (1.0,))
    with pytest.raises(ConfigError, match="above 0"):
        Anchors((8,), [(32.0,)], (0.0,))
    with pytest.raises(ConfigError, match="as many on every level"):
        _ = Anchors((8, 16), [(32.0,), (64.0, 80.0)], (1.0,)).per_cell


def test_the_table_tells_strides_and_shapes() -> None:
    table = Anchors((8, 16), [(32.0,), (64.0,)], (0.5, 1.0)).table().splitlines()
    assert len(table) == 3
    assert table[1].split() == ["0", "8", "32.0", "22x46", "32x32"]
    assert table[2].split()[:2] == ["1", "16"]


def test_what_lies_half_in_a_crowd_is_told() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [6, 0, 16, 10], [20, 20, 30, 30]])
    crowd = torch.tensor([[0.0, 0, 10, 40], [25, 25, 26, 26]])
    assert inside_crowd(boxes, crowd).tolist() == [True, True, False, False]
    assert inside_crowd(boxes, crowd[:0]).tolist() == [False] * 4
