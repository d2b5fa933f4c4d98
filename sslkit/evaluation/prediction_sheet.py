"""One picture to look through: images beside what is true and what was predicted."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sslkit.errors import ConfigError

Row = tuple[np.ndarray, np.ndarray, np.ndarray, str]

_TITLES = ("image", "truth", "prediction")
_CELL = 320  # pixels of a picture's longer side at most
_MARGIN, _GAP, _TEXT = 20, 12, 15
_LINE = _TEXT + 9
_PAPER, _INK, _PALE = (255, 255, 255), (34, 34, 34), (96, 96, 96)


def draw_sheet(rows: Sequence[Row], path: Path) -> None:
    """Write a PNG with a row for each (image, truth, prediction, caption), pictures uint8 RGB (H, W, 3).

    Large pictures are shrunk, small ones enlarged by a whole factor. Raises ConfigError for no row, or where
    nothing can be written.
    """
    if not rows:
        raise ConfigError("a sheet of no rows shows nothing; give at least one sample")
    font = ImageFont.load_default(_TEXT)
    pictures = [[_fitted(picture) for picture in row[:3]] for row in rows]
    width = max(picture.width for row in pictures for picture in row)
    pitch = max(width, round(max(font.getlength(title) for title in _TITLES))) + _GAP
    heights = [max(picture.height for picture in row) for row in pictures]
    sides = (2 * _MARGIN + 3 * pitch - _GAP, 2 * _MARGIN + _LINE + sum(heights) + len(rows) * (_LINE + _GAP))
    sheet = Image.new("RGB", sides, _PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, title in enumerate(_TITLES):
        pen.text((_MARGIN + column * pitch, _MARGIN), title, fill=_INK, font=font)
    top = _MARGIN + _LINE
    for shown, height, (*_, caption) in zip(pictures, heights, rows, strict=True):
        pen.text((_MARGIN, top), shortened(caption, font, sides[0] - 2 * _MARGIN), fill=_PALE, font=font)
        for column, picture in enumerate(shown):
            sheet.paste(picture, (_MARGIN + column * pitch, top + _LINE))
        top += _LINE + height + _GAP
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, "PNG")
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}; choose another place") from error


def _fitted(pixels: np.ndarray) -> Image.Image:
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    longer = max(picture.size)
    if longer * 2 <= _CELL:
        times = _CELL // longer
        return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    picture.thumbnail((_CELL, _CELL), Image.Resampling.LANCZOS)
    return picture


def shortened(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, room: int) -> str:
    """One line, cut off where it is wider than the room."""
    line = " ".join(text.split())
    if font.getlength(line) <= room:
        return line

    def width(count: int) -> int:
        return math.ceil(font.getlength(f"{line[:count]}…"))

    kept = bisect_right(range(len(line)), room, key=width) - 1
    return f"{line[: max(0, kept)]}…"
