"""Clips and what is said of them as pictures."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sslkit.contracts import ClassLabel
from sslkit_action.metrics.action import TOP, counts

_STRIP = 320  # pixels across a film strip: what a sheet of predictions shows without shrinking
_COLUMNS, _MOST = 4, 8
_GAP = 2
_LEAST = 72  # a frame with fewer pixels down or across has room for the label alone
_PAPER, _INK, _PALE, _BAR = (255, 255, 255), (34, 34, 34), (96, 96, 96), (86, 180, 233)
_TEXT = 13


def on_frame(image: np.ndarray, shown: ClassLabel, classes: tuple[str, ...]) -> np.ndarray:
    """The class at the top of a frame, uint8 RGB (H, W, 3), and bars of the likeliest five at its foot."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    height, width = image.shape[:2]
    text = max(8, min(20, height // 12))
    font = ImageFont.load_default(text)
    pen = ImageDraw.Draw(picture)
    pen.text((3, 1), _name(shown, classes), (255, 255, 255), font, stroke_width=1, stroke_fill=(0, 0, 0))
    if shown.scores is not None and min(height, width) >= _LEAST:
        line = text + 3
        tall = min(TOP, len(classes)) * line
        pane = Image.new("RGB", (width, tall), _PAPER)
        _bars(pane, 0, shown, classes, text)
        foot = (0, height - tall, width, height)
        picture.paste(Image.blend(picture.crop(foot), pane, 0.75), foot)
    return np.asarray(picture).copy()


def film_strip(frames: np.ndarray, shown: ClassLabel, classes: tuple[str, ...]) -> np.ndarray:
    """Up to eight frames, evenly spaced, in rows of four to be read like text, and below them what they show.

    frames: uint8 RGB (T, H, W, 3). The strip is uint8 RGB, 320 pixels across and at most as tall.
    """
    count = min(_MOST, len(frames))
    chosen = frames[np.linspace(0, len(frames) - 1, count).round().astype(int)]
    columns = min(_COLUMNS, count)
    rows = -(-count // columns)
    line = _TEXT + 4
    foot = min(TOP, len(classes)) * line
    across = (_STRIP - (columns - 1) * _GAP) // columns
    # No taller than wide with all it says, so that a sheet shrinks neither truth nor prediction.
    highest = max(1, (_STRIP - line - foot) // rows - _GAP)
    height, width = frames.shape[1:3]
    across = max(1, min(across, highest * width // height))
    tall = max(1, min(highest, round(across * height / width)))
    bars = 0 if shown.scores is None else foot
    top = rows * (tall + _GAP)
    strip = Image.new("RGB", (_STRIP, top + line + bars), _PAPER)
    for place, frame in enumerate(chosen):
        small = Image.fromarray(np.ascontiguousarray(frame)).resize((across, tall), Image.Resampling.LANCZOS)
        strip.paste(small, ((place % columns) * (across + _GAP), (place // columns) * (tall + _GAP)))
    pen = ImageDraw.Draw(strip)
    pen.text((2, top), _name(shown, classes), _INK, ImageFont.load_default(_TEXT))
    if bars:
        _bars(strip, top + line, shown, classes, _TEXT)
    return np.asarray(strip).copy()


def _bars(picture: Image.Image, top: int, shown: ClassLabel, classes: tuple[str, ...], text: int) -> None:
    """The likeliest five from `top` down: a bar as long as the score, the class and the score on it."""
    assert shown.scores is not None
    scores = shown.scores.float().numpy()
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(text)
    line = text + (4 if text == _TEXT else 3)
    for label in np.argsort(-scores, kind="stable")[:TOP]:
        share = float(scores[label])
        pen.rectangle((0, top + 1, max(1, round(share * (picture.width - 1))), top + line - 2), _BAR)
        pen.text((3, top), classes[int(label)], _INK, font)
        number = f"{share:.0%}"
        pen.text((picture.width - 3 - font.getlength(number), top), number, _PALE, font)
        top += line


def _name(shown: ClassLabel, classes: tuple[str, ...]) -> str:
    return classes[shown.label] if counts(shown.label, len(classes)) else "unknown"
