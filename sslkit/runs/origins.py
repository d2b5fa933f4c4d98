"""Where the items of an index come from: their data sets, each opened once, and the pictures in them."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslkit.contracts import Item, Moment, Source
from sslkit.data.pictures import picture
from sslkit.errors import DataError, SslkitError
from sslkit.registry import open_source
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.items import IndexedItem

PICTURE_SIDE = 320
"""Pixels a side of what a person is shown, at most."""


class Origins:
    """The data sets of indexed items by address, each opened when first needed; for any number of threads.

    channels: of the images.
    """

    def __init__(self, *, channels: int = 3) -> None:
        self._channels = channels
        self._sources: dict[str, Source | str] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, index: Index) -> Origins:
        """Those of an index, whose preprocessing tells the channels."""
        return cls(channels=len(index.preprocessing.get("mean", (0, 0, 0))))

    def item(self, indexed: IndexedItem) -> Item:
        """The sample itself; DataError when its data set is gone or has another one in its place by now."""
        source = self._opened(indexed.source)
        if isinstance(source, str):
            raise DataError(
                f"the data set of {indexed.name!r}, '{indexed.source}', cannot be opened: {source}"
            )
        item = source[indexed.sample] if 0 <= indexed.sample < len(source) else None
        if item is None or item.name != indexed.name:
            raise DataError(
                f"sample {indexed.sample} of '{indexed.source}' is no longer {indexed.name!r}: the data set "
                "changed since it was indexed; embed it again"
            )
        return item

    def pixels(self, indexed: IndexedItem, side: int) -> NDArray[np.uint8]:
        """What a person sees of it, uint8 (H, W, 3), at most `side` a side; DataError where it is gone."""
        return picture(self.item(indexed), side=side, channels=self._channels)

    def picture(self, indexed: IndexedItem) -> NDArray[np.uint8] | None:
        """A small picture of it; None where it cannot be had: a wrong one would be worse."""
        try:
            return self.pixels(indexed, PICTURE_SIDE)
        except DataError:
            return None

    def file(self, indexed: IndexedItem) -> Path:
        """The image file of an item; DataError where it is none of its own."""
        content = self.item(indexed).content
        if isinstance(content, Path):
            return content
        what = "a moment of a video" if isinstance(content, Moment) else "no file of its own"
        raise DataError(
            f"{indexed.name!r} of '{indexed.source}' is {what}; a list file names images: use it with "
            "indexes of folders or lists of images"
        )

    def _opened(self, address: str) -> Source | str:
        """The data set at an address, or why there is none."""
        with self._lock:
            if address not in self._sources:
                try:
                    self._sources[address] = open_source(address) if address else "nobody said where it lies"
                except SslkitError as error:
                    self._sources[address] = str(error)
            return self._sources[address]
