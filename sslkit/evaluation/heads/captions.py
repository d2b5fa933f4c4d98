"""Words on pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_LIGHT, _DARK = (255, 255, 255), (0, 0, 0)


def written(image: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """A copy of an image uint8 RGB (H, W, 3) with lines of text at its top left."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    text = max(8, min(20, image.shape[0] // 12))
    font, pen = ImageFont.load_default(text), ImageDraw.Draw(picture)
    for place, line in enumerate(lines):
        pen.text((3, 1 + place * (text + 3)), line, _LIGHT, font, stroke_width=1, stroke_fill=_DARK)
    return np.asarray(picture).copy()
