"""Contact sheets: the right pictures at the right places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sslkit.data.views import contact_sheet as module
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


def clips(levels: list[list[list[int]]]) -> torch.Tensor:
    """Clips (N, M, T, 3, 16, 16), each frame of a colour that no grey letter has: (level, 10, 10)."""
    pixels = torch.full((len(levels), len(levels[0]), len(levels[0][0]), 3, 16, 16), 10, dtype=torch.uint8)
    pixels[:, :, :, 0] = torch.tensor(levels, dtype=torch.uint8)[..., None, None]
    return pixels


def places(sheet: np.ndarray, level: int) -> list[tuple[int, int]]:
    """Top left corners of the squares of a colour, from left to right, then downwards."""
    shown = np.pad(where(sheet, level), ((1, 0), (1, 0)))
    corners = shown[1:, 1:] & ~shown[:-1, 1:] & ~shown[1:, :-1]
    return sorted((int(left), int(top)) for top, left in zip(*np.nonzero(corners), strict=True))


UNCHANGED = [[{"op": "flip"}], [{"op": "original"}]]


def sheet_of_clips(pixels: torch.Tensor, spec: object = UNCHANGED, **options: object) -> np.ndarray:
    channels, count = pixels.shape[3], len(pixels)
    views = build_views(spec, size=16, mean=(0.5,) * channels, std=(0.1,) * channels)  # type: ignore[arg-type]
    rectangles = torch.tensor([[0, 0, 16, 16]] * count)
    keys = Keys(0, 0, torch.arange(count))
    names = ["x"] * count
    return views_sheet(views, pixels, rectangles, keys, names, **options)  # type: ignore[arg-type]


def test_frames_of_a_clip_stand_side_by_side_and_views_one_below_the_other() -> None:
    sheet = sheet_of_clips(clips([[[60, 80, 100], [120, 140, 160]]]), epochs=1)
    first = [places(sheet, level) for level in (60, 80, 100)]
    second = [places(sheet, level) for level in (120, 140, 160)]
    side = 80
    # The original, then the view; both rows of strips are level, and frames follow each other.
    for strip in (first, second):
        assert [len(found) for found in strip] == [2, 2, 2]
        for column in (0, 1):
            lefts = [found[column][0] for found in strip]
            assert lefts == [lefts[0], lefts[0] + side + 1, lefts[0] + 2 * side + 2]
        assert len({top for found in strip for _, top in found}) == 1
    assert first[0][0][0] == second[0][0][0]
    assert second[0][0][1] >= first[0][0][1] + side
    assert where(sheet, 60).sum() == 2 * side**2


def test_a_pair_of_moments_is_drawn_large() -> None:
    sheet = sheet_of_clips(clips([[[60], [120]], [[80], [140]]]), epochs=2)
    for level in (60, 80, 120, 140):
        assert where(sheet, level).sum() == 3 * 128**2
    (left, top), *_ = places(sheet, 60)
    assert [place[0] for place in places(sheet, 60)] == [place[0] for place in places(sheet, 120)]
    assert places(sheet, 120)[0][1] > top + 128
    assert places(sheet, 80)[0][0] == left


def test_of_a_long_clip_frames_from_end_to_end_are_drawn() -> None:
    levels = list(range(100, 120))
    sheet = sheet_of_clips(clips([[levels]]), [[{"op": "original"}]], epochs=1)
    drawn = [level for level in levels if where(sheet, level).any()]
    assert (len(drawn), drawn[0], drawn[-1]) == (8, 100, 119)
    assert sheet.shape[0] > sheet_of_clips(clips([[levels[:8]]]), [[{"op": "original"}]], epochs=1).shape[0]


def test_smaller_clip_views_have_a_column_of_their_own() -> None:
    spec = [[{"op": "original"}], {"size": 8, "operations": [{"op": "original"}]}]
    sheet = sheet_of_clips(clips([[[60, 80]]]), spec, epochs=1)
    assert where(sheet, 60).sum() == 2 * 80**2 + 40**2
    assert len({left for left, _ in places(sheet, 60)}) == 3


def test_seconds_are_told() -> None:
    pixels = clips([[[60], [120]], [[80], [140]]])
    silent = sheet_of_clips(pixels, epochs=1)
    early = sheet_of_clips(pixels, epochs=1, times=torch.tensor([[1.0, 2.0], [3.0, 2.5]]))
    late = sheet_of_clips(pixels, epochs=1, times=torch.tensor([[1.0, 2.0], [3.0, 3.5]]))
    assert silent.shape == early.shape == late.shape
    differing = np.nonzero((early != late).any(axis=(1, 2)))[0]
    assert places(late, 80)[0][1] + 128 <= differing[0]
    assert differing[-1] < places(late, 140)[0][1]
    assert module._clip_labels(2, 2, torch.tensor([[1.0, 2.0], [3.0, 2.5]])) == [
        ["clip 1, 1.00 s", "clip 2, +1.00 s"],
        ["clip 1, 3.00 s", "clip 2, -0.50 s"],
    ]


def test_channels_beyond_three_are_left_out_and_that_is_said() -> None:
    three = clips([[[60, 80]]])
    plain = sheet_of_clips(three, epochs=1)
    many = sheet_of_clips(torch.cat([three, 255 - three[:, :, :, :2]], dim=3), epochs=1)
    assert places(many, 60) == places(plain, 60)
    assert where(many, 80).sum() == where(plain, 80).sum()
    assert many.shape[0] > plain.shape[0]
    grey = sheet_of_clips(three[:, :, :, :1], epochs=1)
    two = sheet_of_clips(three[:, :, :, :2], epochs=1)
    assert grey.shape == plain.shape
    assert two.shape == many.shape
    for sheet in (grey, two):
        assert np.all(sheet == 60, axis=2).sum() >= 3 * 80**2


def test_padding_of_a_clip_does_not_show() -> None:
    pixels = clips([[[60, 60]], [[80, 80]]])
    pixels[1, ..., 8:] = 0
    views = build_views(UNCHANGED, size=16, mean=(0.5,) * 3, std=(0.1,) * 3)
    rectangles = torch.tensor([[0, 0, 16, 16], [4, 0, 8, 8]])
    sheet = views_sheet(views, pixels, rectangles, Keys(0, 0, torch.arange(2)), ["x", "y"], epochs=1)
    assert where(sheet, 60).sum() == where(sheet, 80).sum() == 3 * 2 * 80**2
