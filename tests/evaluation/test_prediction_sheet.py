"""The sheet shows every picture where its title says, on light ground."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit.errors import ConfigError
from sslkit.evaluation.prediction_sheet import draw_sheet

RED, GREEN, BLUE = (200, 0, 0), (0, 160, 0), (0, 0, 200)


def plain(colour: tuple[int, int, int], height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def sheet_of(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
        return np.asarray(picture)


def extent(sheet: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the pixels of a colour."""
    rows, columns = np.nonzero((sheet == colour).all(axis=-1))
    return rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [((640, 480), (320, 240)), ((200, 320), (200, 320)), ((16, 32), (160, 320)), ((40, 30), (320, 240))],
)
def test_image_truth_and_prediction_stand_side_by_side(
    tmp_path: Path, shape: tuple[int, int], drawn: tuple[int, int]
) -> None:
    draw_sheet([(plain(RED, *shape), plain(GREEN, *shape), plain(BLUE, *shape), "x.jpg")], tmp_path / "a.png")
    sheet = sheet_of(tmp_path / "a.png")
    found = [extent(sheet, colour) for colour in (RED, GREEN, BLUE)]
    assert [one[2:] for one in found] == [drawn] * 3
    assert found[0][0] == found[1][0] == found[2][0]
    assert found[0][1] + drawn[1] < found[1][1]
    assert found[1][1] + drawn[1] < found[2][1]
    assert (sheet[[0, -1]] == 255).all()
    assert (sheet[:, [0, -1]] == 255).all()
    assert (sheet[: found[0][0]].min(axis=-1) < 120).any()  # dark text above


def test_rows_of_several_shapes_stand_one_below_the_other(tmp_path: Path) -> None:
    shapes = {RED: (300, 100), GREEN: (50, 90), BLUE: (8, 8)}
    draw_sheet(
        [(*(plain(colour, *shape) for _ in range(3)), "") for colour, shape in shapes.items()],
        tmp_path / "new/a.png",
    )
    sheet = sheet_of(tmp_path / "new/a.png")
    tops = [extent(sheet, colour) for colour in shapes]
    for upper, lower in pairwise(tops):
        assert upper[0] + upper[2] < lower[0]
    assert len({one[1] for one in tops}) == 1


def test_a_long_caption_stays_on_the_sheet(tmp_path: Path) -> None:
    row = (plain(RED, 32, 32),) * 3
    for caption in ("short", "long\n" * 900):
        draw_sheet([(*row, caption)], tmp_path / f"{len(caption)}.png")
    short, long = (sheet_of(tmp_path / f"{count}.png") for count in (5, 4500))
    assert short.shape == long.shape
    assert (long[:, -15:] == 255).all()


def test_pictures_are_left_as_they_are(tmp_path: Path) -> None:
    picture = plain(RED, 640, 640)
    draw_sheet([(picture, picture, picture, "x")], tmp_path / "a.png")
    assert (picture == RED).all()
    assert picture.shape == (640, 640, 3)


def test_no_row_and_no_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one sample"):
        draw_sheet([], tmp_path / "a.png")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=r"cannot write .*Not a directory|File exists"):
        draw_sheet([(*(plain(RED, 8, 8),) * 3, "x")], tmp_path / "file/a.png")
