"""A picture of what a probe said: samples with their class and the one that was said, or their neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sslkit.contracts import Features, Judged, Source
from sslkit.data.pictures import picture
from sslkit.errors import DecodeError
from sslkit.evaluation.prediction_sheet import shortened

_SIDE, _GAP, _TEXT = 112, 10, 13
_COLUMNS, _ROWS = 6, 4
_PAPER, _INK = (255, 255, 255), (34, 34, 34)
_RIGHT, _WRONG = (42, 157, 124), (217, 102, 43)


def draw_embeddings(path: Path, test: Features, source: Source, judged: Judged) -> None:
    """Write a PNG of test samples: right and wrong classes, or each query with its nearest others.

    A frame tells right from wrong, and so do the words below. Nothing is written where no sample has a class.
    """
    known = (test.labels >= 0).nonzero()[:, 0]
    if not len(known):
        return
    labels = test.labels[known]
    if judged.predicted is not None and len(judged.predicted) == len(known):
        cells = _classified(known, labels, judged.predicted, test, source)
    else:
        cells = _neighbours(known, labels, test, source)
    _draw(path, cells)


Cell = tuple[NDArray[np.uint8] | None, str, bool | None]


def _classified(known: Tensor, labels: Tensor, said: Tensor, test: Features, source: Source) -> list[Cell]:
    """Every k-th sample, whatever was said of it: the sheet shows errors as often as there are."""
    count = min(_COLUMNS * _ROWS, len(known))
    cells: list[Cell] = []
    for place in torch.linspace(0, len(known) - 1, count).long().tolist():
        truth, claim = int(labels[place]), int(said[place])
        words = (
            source.classes[truth]
            if truth == claim
            else f"{source.classes[truth]}: said {source.classes[claim]}"
        )
        cells.append((_picture(source, int(test.ids[known[place]])), words, truth == claim))
    return cells


def _neighbours(known: Tensor, labels: Tensor, test: Features, source: Source) -> list[Cell]:
    unit = F.normalize(test.embeddings[known], dim=1)
    cells: list[Cell] = []
    for place in torch.linspace(0, len(known) - 1, min(_ROWS, len(known))).long().tolist():
        near = unit @ unit[place]
        near[place] = -2.0
        cells.append(
            (
                _picture(source, int(test.ids[known[place]])),
                f"query: {source.classes[int(labels[place])]}",
                None,
            )
        )
        for other in near.topk(min(_COLUMNS - 1, len(known) - 1)).indices.tolist():
            same = bool(labels[other] == labels[place])
            words = f"{near[other]:.2f} {source.classes[int(labels[other])]}"
            cells.append((_picture(source, int(test.ids[known[other]])), words, same))
    return cells


def _picture(source: Source, id: int) -> NDArray[np.uint8] | None:
    try:
        return picture(source[id], side=_SIDE)
    except DecodeError:
        return None


def _draw(path: Path, cells: list[Cell]) -> None:
    font = ImageFont.load_default(_TEXT)
    rows = -(-len(cells) // _COLUMNS)
    wide, high = _SIDE + _GAP, _SIDE + _GAP + _TEXT + 6
    sheet = Image.new("RGB", (_COLUMNS * wide + _GAP, rows * high + _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (pixels, words, right) in enumerate(cells):
        left, top = _GAP + number % _COLUMNS * wide, _GAP + number // _COLUMNS * high
        if pixels is not None:
            shown = Image.fromarray(pixels)
            shown = shown.resize(_fitted(shown.size), Image.Resampling.BILINEAR)
            sheet.paste(shown, (left + (_SIDE - shown.width) // 2, top + (_SIDE - shown.height) // 2))
        if right is not None:
            colour = _RIGHT if right else _WRONG
            pen.rectangle((left - 3, top - 3, left + _SIDE + 2, top + _SIDE + 2), outline=colour, width=3)
        pen.text((left, top + _SIDE + 4), shortened(words, font, _SIDE), fill=_INK, font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, "PNG")


def _fitted(size: tuple[int, int]) -> tuple[int, int]:
    scale = _SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
