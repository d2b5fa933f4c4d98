"""Pictures of indexed items, as JPEG of a bounded size; nothing else of their data is ever given."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sslkit.retrieval.items import IndexedItem
from sslkit.runs.origins import PICTURE_SIDE, Origins

WHOLE = 1280
"""Pixels a side, at most, of a picture to draw a box on."""

_CACHED = 64 * 2**20  # bytes of tiles


class Tiles:
    """Small pictures of items, kept up to a bound; for any number of threads."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins
        self._tiles: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def tile(self, item: IndexedItem) -> bytes:
        """A small JPEG; DataError when the picture cannot be had."""
        key = (item.source, item.sample)
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
                return self._tiles[key]
        made = encoded(self._origins.pixels(item, PICTURE_SIDE))
        with self._lock:
            if key not in self._tiles:
                self._tiles[key] = made
                self._size += len(made)
            while self._size > _CACHED:
                self._size -= len(self._tiles.popitem(last=False)[1])
        return made


def encoded(pixels: NDArray[np.uint8]) -> bytes:
    """JPEG of pixels uint8 (H, W, C); of more than three channels the first three."""
    shown = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., 0]
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shown)).save(stream, "JPEG", quality=85)
    return stream.getvalue()
