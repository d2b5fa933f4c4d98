"""Contact sheets: the right pictures at the right places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sslkit.data.views.contact_sheet import contact_sheet, operations_sheet, views_sheet, write_sheet
from sslkit.data.views.operations import OPERATIONS
from sslkit.data.views.policy import build_views
from sslkit.keyed_random import Keys


def painted(level: int, rows: int = 2) -> torch.Tensor:
    """A colour no grey letter has: (level, 10, 10)."""
    images = torch.full((rows, 3, 8, 8), 10, dtype=torch.uint8)
    images[:, 0] = level
    return images


def where(sheet: np.ndarray, level: int) -> np.ndarray:
    shown: np.ndarray = np.all(sheet == (level, 10, 10), axis=2)
    return shown


def test_each_column_shows_its_images_whole_and_in_order() -> None:
    columns = [painted(60), painted(130), painted(200).float() / 255]
    sheet = contact_sheet(columns, ["a", "b", "c"], ["first", "second"], cell=16)
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3
    for level in (60, 130, 200):
        shown = where(sheet, level)
        assert shown.sum() == 2 * 16 * 16
        assert np.ptp(np.nonzero(shown)[1]) == 15
    starts = [np.nonzero(where(sheet, level))[1].min() for level in (60, 130, 200)]
    assert starts == sorted(starts)


def test_one_channel_is_shown_grey() -> None:
    sheet = contact_sheet([painted(90)[:, :1]], ["a"], cell=16)
    assert (sheet[-32:-16, 16:32] == 90).all()


def test_a_long_name_does_not_widen_the_sheet() -> None:
    short = contact_sheet([painted(90)], ["a"], ["b", "c"], cell=16)
    long = contact_sheet([painted(90)], ["a" * 300], ["b" * 300, "c"], cell=16)
    assert short.shape == long.shape
    assert where(long, 90).sum() == 2 * 16 * 16


def test_views_are_drawn_over_epochs_with_normalisation_undone(tmp_path: Path) -> None:
    views = build_views([[{"op": "flip"}], [{"op": "original"}]], size=16, mean=(0.5,) * 3, std=(0.1,) * 3)
    pixels, rectangles = painted(77, rows=3).repeat(1, 1, 2, 2), torch.tensor([[0, 0, 16, 16]] * 3)
    out = tmp_path / "new" / "sheet.png"
    keys = Keys(0, 4, torch.arange(3))
    write_sheet(views_sheet(views, pixels, rectangles, keys, ["x", "y", "z"], epochs=2), out)
    sheet = np.asarray(Image.open(out))
    assert where(sheet, 77).sum() == 3 * (1 + 2 * 2) * 128**2


def test_smaller_views_are_drawn_smaller_in_proportion() -> None:
    views = build_views(
        [[{"op": "original"}], {"size": 8, "operations": [{"op": "flip"}]}],
        size=16,
        mean=(0.5,) * 3,
        std=(0.1,) * 3,
    )
    pixels, rectangles = painted(77, rows=2).repeat(1, 1, 2, 2), torch.tensor([[0, 0, 16, 16]] * 2)
    sheet = views_sheet(views, pixels, rectangles, Keys(0, 0, torch.arange(2)), ["x", "y"], epochs=1)
    assert where(sheet, 77).sum() == 2 * (128**2 + 128**2 + 64**2)


def test_every_operation_has_its_column() -> None:
    pixels, rectangles = painted(77, rows=1).repeat(1, 1, 4, 4), torch.tensor([[0, 0, 32, 32]])
    sheet = operations_sheet(pixels, rectangles, Keys(0, 0, torch.arange(1)), size=32)
    assert sheet.shape[1] >= len(OPERATIONS) * 128
