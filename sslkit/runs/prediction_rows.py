"""The first samples of a test as pictures: the image, the truth, what the head says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sslkit.contracts import Head, LabelledSource, Meta
from sslkit.data.pictures import picture

SHOWN = 8


@dataclass
class PredictionRows:
    """Collects rows of (image, truth, prediction, caption), pictures uint8 RGB (H, W, 3)."""

    source: LabelledSource
    head: Head
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray, str]] = field(default_factory=list)

    def add(self, meta: Meta, prediction: Any, target: Any) -> None:
        """Draw one sample, unless enough are drawn."""
        if len(self.rows) >= SHOWN:
            return
        image = picture(self.source[meta.id], side=max(meta.original))
        truth, said = (self.head.draw(image.copy(), shown) for shown in (target, prediction))
        self.rows.append((image, truth, said, meta.name))
