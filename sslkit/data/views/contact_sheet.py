"""Pictures of what a policy does: samples beside their views, and one sample under every operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sslkit.contracts import Views
from sslkit.data.views.operations import CROPS, OPERATIONS
from sslkit.data.views.plain import evaluation_view
from sslkit.data.views.policy import build_views
from sslkit.keyed_random import Keys

_GAP, _MARGIN, _TEXT = 4, 16, 13
_LINE = _TEXT + 2 * _GAP
_PAPER, _INK, _PALE = (255, 255, 255), (34, 34, 34), (120, 120, 120)
_FRAMES = 8  # shown of a clip at most
_FRAME = 80  # pixels of a frame's side on the sheet, about

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


class DrawableViews(Views, Protocol):
    """Views whose normalisation can be undone."""

    def displayable(self, view: Tensor) -> Tensor:
        """A view (..., C, s, s) in [0, 1]."""
        ...


@dataclass(frozen=True)
class Strips:
    """A column of a sheet: for each sample, strips of frames one below the other, (N, R, T, C, H, W).

    title: above the column. labels: above each strip, R for each of the N samples; empty for none.
    """

    frames: Tensor
    title: str
    labels: Sequence[Sequence[str]] = ()


def contact_sheet(
    columns: Sequence[Tensor],
    titles: Sequence[str],
    names: Sequence[str] = (),
    *,
    cell: int = 128,
) -> np.ndarray:
    """A labelled grid, uint8 RGB (height, width, 3): one column of images (N, C, H, W) for each title.

    Images are uint8, or float in [0, 1]. names: a caption above each of the N rows. cell: the side in pixels
    of the largest images on the sheet, others are drawn in proportion; pixels are repeated when enlarging,
    averaged when reducing. One channel is shown as grey; of more than three the first three are shown.
    """
    pairs = zip(columns, titles, strict=True)
    return strip_sheet([Strips(images[:, None, None], title) for images, title in pairs], names, cell=cell)


def strip_sheet(
    columns: Sequence[Strips], names: Sequence[str] = (), *, cell: int = 128, note: str = ""
) -> np.ndarray:
    """A contact sheet whose cells are strips of frames: uint8 RGB (height, width, 3). note: a line below."""
    font = ImageFont.load_default(_TEXT)
    largest = max(column.frames.shape[-1] for column in columns)
    sides = [max(1, round(cell * column.frames.shape[-1] / largest)) for column in columns]
    widths = [
        max(cell, column.frames.shape[2] * (side + 1) - 1)
        for column, side in zip(columns, sides, strict=True)
    ]
    labelled = any(column.labels for column in columns)
    air = _MARGIN if labelled else 0
    lefts = list(accumulate((width + max(air, _GAP) for width in widths), initial=_MARGIN))
    # From the top of a sample to its first strip, from strip to strip, and from sample to sample.
    head, pitch = _LINE * bool(names), _LINE * labelled + cell + _GAP
    below = head + pitch * max(column.frames.shape[1] for column in columns) + air
    top = _MARGIN + _LINE + min(air, _GAP)
    bottom = top + columns[0].frames.shape[0] * below - air - _GAP
    note = " · ".join(filter(None, [note, _channels_note(columns[0].frames.shape[3])]))
    size = (lefts[-2] + widths[-1] + _MARGIN, bottom + (_LINE if note else 0) + _MARGIN)
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)

    def write(text: str, left: int, upper: int, room: int, ink: tuple[int, int, int] = _PALE) -> None:
        pen.text((left, upper), _fitted(text, font, room), fill=ink, font=font)

    for row, name in enumerate(names):
        write(name, _MARGIN, top + row * below, max(widths[0], 2 * cell), _INK if labelled else _PALE)
    for column, side, left, width in zip(columns, sides, lefts, widths, strict=False):
        write(column.title, left, _MARGIN, width, _INK)
        for row, strips in enumerate(column.frames):
            for number, strip in enumerate(strips):
                upper = top + row * below + head + number * pitch
                if column.labels:
                    write(column.labels[row][number], left, upper, width)
                for place, frame in enumerate(strip):
                    at = (left + place * (side + 1), upper + _LINE * labelled)
                    sheet.paste(_picture(frame, side), at)
    write(note, _MARGIN, bottom + 2 * _GAP, size[0])
    return np.asarray(sheet)


def views_sheet(
    views: DrawableViews,
    pixels: Tensor,
    rectangles: Tensor,
    keys: Keys,
    names: Sequence[str],
    *,
    epochs: int = 3,
    times: Tensor | None = None,
) -> np.ndarray:
    """Each sample, then its views in `epochs` epochs from `keys.epoch` on: uint8 RGB (height, width, 3).

    pixels: uint8 (N, C, S, S), or clips (N, M, T, C, S, S): up to eight frames of each are drawn side by
    side, and the views of an epoch one below the other. rectangles: int64 (N, 4). names: one caption a
    sample. times: (N, M), the seconds at which clips begin.
    """
    drawn = [(epoch, views(pixels, rectangles, replace(keys, epoch=epoch))) for epoch in _run(keys, epochs)]
    shown = [(epoch, [views.displayable(view) for view in made]) for epoch, made in drawn]
    if pixels.dim() == 6:
        return _clips_sheet(pixels, rectangles, shown, names, times, size=views.size)
    columns, titles = [_plain(pixels, rectangles, views.size)], ["original"]
    for epoch, made in shown:
        columns.extend(made)
        titles.extend(f"epoch {epoch}, view {number}" for number in range(1, len(made) + 1))
    return contact_sheet(columns, titles, names, cell=_cell(views.size))


def _run(keys: Keys, epochs: int) -> range:
    return range(keys.epoch, keys.epoch + epochs)


def _clips_sheet(
    pixels: Tensor,
    rectangles: Tensor,
    shown: Sequence[tuple[int, Sequence[Tensor]]],
    names: Sequence[str],
    times: Tensor | None,
    *,
    size: int,
) -> np.ndarray:
    samples, moments, frames = pixels.shape[:3]
    picked = torch.linspace(0, frames - 1, min(frames, _FRAMES)).round().long()
    clips = pixels[:, :, picked].flatten(0, 2)
    plain = _plain(clips, rectangles.repeat_interleave(moments * len(picked), dim=0), size)
    original = plain.view(samples, moments, len(picked), *plain.shape[1:])
    columns = [Strips(original, "original", _clip_labels(samples, moments, times))]
    for epoch, made in shown:
        labels = [f"view {v + 1}" + f" of clip {v % moments + 1}" * (moments > 1) for v in range(len(made))]
        # Views of several sides cannot lie in one tensor: those of each side are a column.
        for side in dict.fromkeys(view.shape[-1] for view in made):
            alike = [number for number, view in enumerate(made) if view.shape[-1] == side]
            strips = torch.stack([_strip(made[number], frames)[:, picked] for number in alike], dim=1)
            own = [[labels[number] for number in alike]] * samples
            columns.append(Strips(strips, f"epoch {epoch}", own))
    note = f"{len(picked)} of {frames} frames" if frames > len(picked) else ""
    return strip_sheet(columns, names, cell=_cell(size, _FRAME) if frames > 1 else _cell(size), note=note)


def _strip(view: Tensor, frames: int) -> Tensor:
    """A clip view as frames (N, T, C, s, s)."""
    return view[:, None] if frames == 1 and view.dim() == 4 else view


def _clip_labels(samples: int, moments: int, times: Tensor | None) -> list[list[str]]:
    if times is None:
        return [[f"clip {moment + 1}" for moment in range(moments)]] * samples
    return [
        [f"clip 1, {first:.2f} s"]
        + [f"clip {number}, {start - first:+.2f} s" for number, start in enumerate(later, start=2)]
        for first, *later in times.tolist()
    ]


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


def _cell(size: int, wanted: int = 128) -> int:
    """Small images enlarged by a whole factor, large ones shown at most a little larger than wanted."""
    most = wanted * 9 // 8
    return most if size > most else size * max(1, wanted // size)


def _picture(image: Tensor, side: int) -> Image.Image:
    values = _visible(image.detach().cpu())
    if values.dtype != torch.uint8:
        values = values.clamp(0, 1).mul(255).round().to(torch.uint8)
    picture = Image.fromarray(values.permute(1, 2, 0).contiguous().numpy())
    enlarging = side >= max(picture.size)
    return picture.resize((side, side), Image.Resampling.NEAREST if enlarging else Image.Resampling.LANCZOS)


def _visible(image: Tensor) -> Tensor:
    """Channels as red, green and blue, (C, H, W) to (3, H, W): the first three, or the first as grey."""
    return image[:3] if image.shape[0] >= 3 else image[:1].expand(3, *image.shape[1:])


def _channels_note(channels: int) -> str:
    if channels in (1, 3):
        return ""
    return (
        f"channel 1 of {channels}" if channels < 3 else f"channels 1 to 3 of {channels} as red, green, blue"
    )


def _fitted(text: str, font: Font, room: int) -> str:
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
