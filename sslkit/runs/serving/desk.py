"""Answers what the page asks of one index: searches, items, pictures, the map; for any number of threads."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.contracts import Content, Frames, Moment, Refused
from sslkit.data.decode.image import Still
from sslkit.errors import DecodeError
from sslkit.retrieval.artifact import Hit, Index
from sslkit.retrieval.filters import Where
from sslkit.retrieval.items import IndexedItem
from sslkit.retrieval.times import told_span
from sslkit.runs.asked import embedder_of
from sslkit.runs.embedder import Embedder
from sslkit.runs.origins import Origins
from sslkit.runs.queries import Box, Query, embed_queries
from sslkit.runs.serving.asking import Asked, Share
from sslkit.runs.serving.map import EmbeddingMap, embedding_map
from sslkit.runs.serving.tiles import WHOLE, Tiles, encoded
from sslkit.runs.serving.uploads import Uploads


class Desk:
    """What stands behind the page.

    model: the run or network of the index; default: where it was when indexed. It is loaded when first
    needed: items find each other without it.
    """

    def __init__(self, index: Index, model: str | Path | None = None) -> None:
        self.index = index
        channels = len(index.preprocessing.get("mean", (0, 0, 0)))
        self.uploads, self._origins = Uploads(channels), Origins.of(index)
        self._tiles = Tiles(self._origins)
        self._model = model
        self._embedder: Embedder | None = None
        self._embedding = threading.Lock()
        self._mapping = threading.Lock()
        self._map: tuple[int, EmbeddingMap] | None = None

    def facts(self) -> dict[str, Any]:
        """What the page says of the index and offers as conditions."""
        index = self.index
        moments = index.select(Where("start IS NOT NULL"))
        return {
            "name": index.path.resolve().name,
            "count": len(index),
            "dim": index.dim,
            "model": index.preprocessing.get("model", ""),
            "classes": list(index.classes),
            "keys": list(index.keys),
            "moments": len(moments) > 0,
        }

    def search(self, asked: Asked) -> dict[str, Any]:
        """Neighbours of a query, and what it was; an item is left out of its own.

        Raises ConfigError for what cannot be asked, DataError for a picture that cannot be read,
        ArtifactError where the model is gone or another one.
        """
        started = time.perf_counter()
        own = asked.item if asked.box is None else None
        vector, query = self._vector(asked)
        found = self.index.search(
            vector,
            asked.k + (own is not None),
            model_hash=self.index.model_hash,
            where=asked.where,
            exact=asked.exact,
        )[0]
        hits = [hit for hit in found if hit.id != own][: asked.k]
        classes = self.index.classes
        return {
            "query": query,
            "hits": [described(hit, classes) for hit in hits],
            "count": len(self.index),
            "milliseconds": round((time.perf_counter() - started) * 1000, 1),
        }

    def described(self, id: int) -> dict[str, Any]:
        """What is known of an item; ArtifactError when it is not there."""
        return described(self._item(id), self.index.classes)

    def tile(self, id: int) -> bytes:
        """A small JPEG of an item; ArtifactError when it is not there, DataError without a picture."""
        return self._tiles.tile(self._item(id))

    def whole(self, id: int) -> bytes:
        """The same, large enough to draw a box on."""
        return encoded(self._origins.pixels(self._item(id), WHOLE))

    def map(self) -> EmbeddingMap:
        """The map of the items as they are now; made once, others who ask meanwhile wait for it."""
        with self._mapping:
            generation = self.index.generation
            if self._map is None or self._map[0] != generation:
                self._map = generation, embedding_map(self.index)
            return self._map[1]

    def _item(self, id: int) -> IndexedItem:
        return self.index.items([id])[0]

    def _vector(self, asked: Asked) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """The query float32 (1, D), and what the page shows of it."""
        if asked.item is not None:
            item = self._item(asked.item)
            shown = described(item, self.index.classes)
            if asked.box is None:
                return self.index.vectors([item.id]), shown
            content = _one_of(self._origins.item(item).content, item.name)
            return self._embedded(Query(item.name, content), asked.box), shown
        uploaded = self.uploads.get(str(asked.picture))
        return self._embedded(Query("the picture", uploaded.content), asked.box), {"picture": uploaded.key}

    def _embedded(self, query: Query, share: Share | None) -> NDArray[np.float32]:
        with self._embedding:  # one at a time: a network takes all cores
            if self._embedder is None:
                self._embedder = embedder_of(self.index, self._model)
            if share is not None:
                size = query.size(channels=self._embedder.backbone.channels)
                query = Query(query.name, query.content, _box_of(share, size))
            return embed_queries(self._embedder, [query])


def described(item: IndexedItem, classes: Any) -> dict[str, Any]:
    """What the page shows of an item; where its data lie is not told."""
    shown = {
        "id": item.id,
        "name": item.name,
        "label": None if item.label is None else classes[item.label],
        "time": None if item.start is None else told_span(item.start, item.stop or item.start),
        "metadata": dict(item.metadata),
    }
    return shown | {"similarity": round(item.similarity, 4)} if isinstance(item, Hit) else shown


def _one_of(content: Content, name: str) -> Still | Moment:
    if isinstance(content, Frames):
        content = content.images[0]
    if isinstance(content, Refused | Frames):
        raise DecodeError(f"{name} has no picture to take a part of")
    return content


def _box_of(share: Share, size: tuple[int, int]) -> Box:
    """The box in pixels of a picture (width, height); of a pixel at least."""
    corners = [round(share[axis] * size[axis]) for axis in (0, 1)]
    corners = [min(corner, side - 1) for corner, side in zip(corners, size, strict=True)]
    ends = [round((share[axis] + share[axis + 2]) * size[axis]) for axis in (0, 1)]
    sides = [max(1, min(end, side) - corner) for end, side, corner in zip(ends, size, corners, strict=True)]
    return Box(*corners, *sides)
