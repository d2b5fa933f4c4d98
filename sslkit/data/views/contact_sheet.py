"""Pictures of what a policy does: samples beside their views, and one sample under every operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sslkit.data.views.operations import CROPS, OPERATIONS
from sslkit.data.views.plain import evaluation_view
from sslkit.data.views.policy import ViewPolicy, build_views
from sslkit.keyed_random import Keys

_GAP, _MARGIN, _TEXT = 4, 16, 13
_PAPER, _INK, _PALE = (255, 255, 255), (34, 34, 34), (120, 120, 120)


def contact_sheet(
    columns: Sequence[Tensor],
    titles: Sequence[str],
    names: Sequence[str] = (),
    *,
    cell: int = 128,
) -> np.ndarray:
    """A labelled grid, uint8 RGB (height, width, 3): one column of images (N, C, H, W) for each title.

    Images are uint8, or float in [0, 1]. names: a caption below the first image of each of the N rows. cell:
    the side in pixels of the largest images on the sheet, others are drawn in proportion; pixels are repeated
    when enlarging, averaged when reducing.
    """
    rows = columns[0].shape[0]
    small = ImageFont.load_default(_TEXT)
    across = cell + _GAP
    below = cell + (_TEXT + 2 * _GAP if names else _GAP)
    top = _MARGIN + _TEXT + 2 * _GAP
    width = 2 * _MARGIN + len(columns) * across - _GAP
    sheet = Image.new("RGB", (width, top + rows * below - _GAP + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(sheet)
    largest = max(images.shape[-1] for images in columns)
    for column, (images, title) in enumerate(zip(columns, titles, strict=True)):
        left = _MARGIN + column * across
        pen.text((left, _MARGIN), _fitted(title, small, cell), fill=_INK, font=small)
        side = max(1, round(cell * images.shape[-1] / largest))
        for row in range(rows):
            sheet.paste(_picture(images[row], side), (left, top + row * below))
    for row, name in enumerate(names):
        caption = _fitted(name, small, 2 * across)
        pen.text((_MARGIN, top + row * below + cell + _GAP), caption, fill=_PALE, font=small)
    return np.asarray(sheet)


def views_sheet(
    views: ViewPolicy,
    pixels: Tensor,
    rectangles: Tensor,
    keys: Keys,
    names: Sequence[str],
    *,
    epochs: int = 3,
) -> np.ndarray:
    """Each sample, then its views in `epochs` epochs from `keys.epoch` on: uint8 RGB (height, width, 3).

    pixels: uint8 (N, C, S, S). rectangles: int64 (N, 4). names: one caption a sample.
    """
    columns, titles = [_plain(pixels, rectangles, views.size)], ["original"]
    for epoch in range(keys.epoch, keys.epoch + epochs):
        for number, view in enumerate(views(pixels, rectangles, replace(keys, epoch=epoch)), start=1):
            columns.append(views.displayable(view))
            titles.append(f"epoch {epoch}, view {number}")
    return contact_sheet(columns, titles, names, cell=_cell(views.size))


def operations_sheet(pixels: Tensor, rectangles: Tensor, keys: Keys, *, size: int = 224) -> np.ndarray:
    """Each sample under every operation alone, applied for certain: uint8 RGB (height, width, 3).

    pixels: uint8 (N, 3, S, S). rectangles: int64 (N, 4).
    """
    columns, titles = [], sorted(OPERATIONS, key=lambda name: (name != "original", name not in CROPS, name))
    for name in titles:
        certain = {} if name in ("crop_resize", "original") else {"p": 1.0}
        policy = build_views([[{"op": name, **certain}]], size=size, mean=(0, 0, 0), std=(1, 1, 1))
        columns.append(policy.displayable(policy(pixels, rectangles, keys)[0]))
    return contact_sheet(columns, titles, cell=_cell(size))


def _plain(pixels: Tensor, rectangles: Tensor, size: int) -> Tensor:
    nothing, one = [0.0] * pixels.shape[1], [1.0] * pixels.shape[1]
    return evaluation_view(pixels, rectangles, size=size, mean=nothing, std=one, crop=1.0)


def _cell(size: int) -> int:
    """Small images enlarged by a whole factor, large ones shown at most at 144 pixels."""
    return 144 if size > 144 else size * max(1, 128 // size)


def _picture(image: Tensor, side: int) -> Image.Image:
    values = image.detach().cpu()
    if values.dtype != torch.uint8:
        values = values.clamp(0, 1).mul(255).round().to(torch.uint8)
    picture = Image.fromarray(values.expand(3, *values.shape[1:]).permute(1, 2, 0).contiguous().numpy())
    enlarging = side >= max(picture.size)
    return picture.resize((side, side), Image.Resampling.NEAREST if enlarging else Image.Resampling.LANCZOS)


def _fitted(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, room: int) -> str:
    """The text, its middle cut out where it is wider than the room."""
    if font.getlength(text) <= room:
        return text
    kept = len(text)
    while kept > 2 and font.getlength(f"{text[: kept // 2]}…{text[-(kept // 2) :]}") > room:
        kept -= 1
    return f"{text[: kept // 2]}…{text[-(kept // 2) :]}"


def write_sheet(sheet: np.ndarray, out: Path) -> None:
    """Write a sheet as a PNG file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(out)
