"""The first samples of a test as pictures: the image, the truth, what the head says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sslkit.contracts import Head, LabelledSource, Meta
from sslkit.data.clip_sampling import ClipSampling
from sslkit.data.pictures import picture, pictures

SHOWN = 8
STRIP = 4
"""Frames of a clip that are shown beside what is drawn of it."""


@dataclass
class PredictionRows:
    """Collects rows of (image, truth, prediction, caption), pictures uint8 RGB (H, W, 3).

    clip: how the test looks at videos. Where a head can draw all frames, it does, beside a strip of them; of
    several views the first is shown.
    """

    source: LabelledSource
    head: Head
    clip: ClipSampling | None = None
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray, str]] = field(default_factory=list)

    def add(self, meta: Meta, prediction: Any, target: Any) -> None:
        """Draw one sample, unless enough are drawn."""
        if len(self.rows) >= SHOWN or meta.view:
            return
        item, side = self.source[meta.id], max(meta.original)
        draw: Callable[[np.ndarray, Any], np.ndarray] | None = getattr(self.head, "draw_frames", None)
        if draw is None:
            seen = image = picture(item, side=side)
            draw = self.head.draw
        else:
            seen = pictures(item, self.clip, side=side)
            image = strip(seen)
        truth, said = (draw(seen.copy(), shown) for shown in (target, prediction))
        self.rows.append((image, truth, said, meta.name))


def strip(frames: np.ndarray) -> np.ndarray:
    """Up to `STRIP` frames (T, H, W, 3), evenly spaced from the first to the last, beside each other."""
    places = np.linspace(0, len(frames) - 1, min(STRIP, len(frames))).round().astype(int)
    return np.concatenate(list(frames[places]), axis=1)
