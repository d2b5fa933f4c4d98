"""Small data sets made on the spot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

MakeCoco = Callable[..., Path]


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Writes an image of a size at a place below the test's folder, by default 40 x 30."""

    def write(name: str, size: tuple[int, int] = (40, 30), *, orientation: int | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        if orientation is not None:
            exif[0x0112] = orientation
        Image.new("RGB", size, (90, 120, 60)).save(path, exif=exif)
        return path

    return write


@pytest.fixture
def make_coco(tmp_path: Path, picture: Callable[..., Path]) -> MakeCoco:
    """Writes two images of 40 x 30, "a.jpg" (id 10) and "b.jpg" (id 20), and a JSON; gives its path.

    annotations: of category 5 and a.jpg unless they say something else. Other keywords replace lists.
    """

    def write(*annotations: dict[str, Any], **lists: Any) -> Path:
        for name in ("a.jpg", "b.jpg"):
            picture(f"images/{name}")
        basis = {"image_id": 10, "category_id": 5, "bbox": [1, 2, 10, 5], "iscrowd": 0}
        document = {
            "images": [
                {"id": 10, "file_name": "a.jpg", "width": 40, "height": 30},
                {"id": 20, "file_name": "b.jpg", "width": 40, "height": 30},
            ],
            "categories": [{"id": 9, "name": "dog"}, {"id": 5, "name": "cat"}],
            "annotations": [{"id": id, **basis, **one} for id, one in enumerate(annotations, start=101)],
        }
        path = tmp_path / "annotations" / "set.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document | lists))
        return path

    return write
