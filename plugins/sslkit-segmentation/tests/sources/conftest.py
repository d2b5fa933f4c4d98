"""Small folders of images and masks made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeFolder = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Writes a mask (an array or Pillow's) or, of a size (width, height), an image, below the folder."""

    def write(
        name: str,
        what: np.ndarray | Image.Image | tuple[int, int] = (4, 3),
        *,
        orientation: int | None = None,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, tuple):
            what = Image.new("RGB", what, (90, 120, 60))
        image = Image.fromarray(what) if isinstance(what, np.ndarray) else what
        exif = Image.Exif()
        if orientation is not None:
            exif[0x0112] = orientation
        image.save(path, exif=exif)
        return path

    return write


@pytest.fixture
def make(tmp_path: Path, put: Callable[..., Path]) -> MakeFolder:
    """Writes images/KEY.jpg and masks/KEY.png for each keyword, 3 rows of 4 of one id or as given."""

    def written(**masks: int | np.ndarray | None) -> Path:
        for key, mask in masks.items():
            ids = np.full((3, 4), mask, np.uint8) if isinstance(mask, int) else mask
            put(f"images/{key}.jpg", (4, 3) if ids is None else ids.shape[1::-1])
            if ids is not None:
                put(f"masks/{key}.png", ids)
        return tmp_path

    return written
