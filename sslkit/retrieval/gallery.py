"""Search results as a web page in one file: every query with its nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sslkit.page import Page, Tile
from sslkit.retrieval.artifact import Hit
from sslkit.retrieval.filters import Where
from sslkit.retrieval.items import IndexedItem
from sslkit.retrieval.times import told_span

_KEYS = 8  # of the metadata of one item that are shown
_LONGEST = 80  # characters of one value


@dataclass(frozen=True)
class Query:
    """A query as it is shown, with its neighbours, most similar first.

    image: uint8 (H, W, 3); None where there is none, as of a vector. box: the part that was searched by, as
    shares 0..1 of width and height: left, top, width, height. note: soft lines below the picture.
    """

    name: str
    image: NDArray[np.uint8] | None
    hits: Sequence[Hit]
    box: tuple[float, float, float, float] | None = None
    note: str = ""


def write_gallery(
    path: Path,
    queries: Iterable[Query],
    picture_of: Callable[[Hit], NDArray[np.uint8] | None],
    *,
    title: str,
    subtitle: str = "",
    classes: Sequence[str] = (),
) -> None:
    """Write the page; `picture_of` gives the picture of a hit, or None when it is no longer there."""
    page = Page(title, subtitle)
    for query in queries:
        page.heading(query.name)
        image = query.image if query.image is None or query.box is None else _boxed(query.image, query.box)
        tiles = [] if image is None and not query.note else [Tile(image, "query", query.note, first=True)]
        for hit in query.hits:
            note = "\n".join(item_lines(hit, classes))
            tiles.append(Tile(picture_of(hit), f"{hit.similarity:.3f}", note, hit.similarity))
        page.images(tiles)
        if not query.hits:
            page.text("Nothing was found.")
    page.write(path)


def item_lines(item: IndexedItem, classes: Sequence[str]) -> list[str]:
    """What is known of an item, line by line: its name, its time in the video, its class, its metadata."""
    lines = [item_name(item)]
    if time := item_time(item):
        lines.append(time)
    if item.label is not None:
        lines.append(class_name(item.label, classes))
    lines += [f"{_cut(key)}: {_cut(str(value))}" for key, value in list(item.metadata.items())[:_KEYS]]
    return [*lines, "..."] if len(item.metadata) > _KEYS else lines


def item_name(item: IndexedItem) -> str:
    """The file of an item; its time, which the name of a moment of a video repeats, is left out."""
    return item.name if item.start is None else item.name.removesuffix(f" @ {round(item.start, 3)} s")


def item_time(item: IndexedItem) -> str:
    """From when to when an item lasts in its video; nothing for a still."""
    return "" if item.start is None or item.stop is None else told_span(item.start, item.stop)


def class_name(label: int, classes: Sequence[str]) -> str:
    """The name of a class, or its number where it has none."""
    return classes[label] if label < len(classes) else f"class {label}"


def told_where(where: Where) -> str:
    """The condition in one line."""
    parts = [f"class {where.label}"] if where.label is not None else []
    parts += [f"path {where.path}"] if where.path is not None else []
    parts += [f"time {told_span(*where.time)}"] if where.time is not None else []
    parts += [where.sql.strip()] if where.sql.strip() else []
    return ", ".join(parts)


def _boxed(image: NDArray[np.uint8], box: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    """The picture with a frame, dark around light so that it is seen on anything, and dim outside of it."""
    height, width = image.shape[:2]
    left, top = round(box[0] * width), round(box[1] * height)
    right = max(left + 1, round((box[0] + box[2]) * width))
    below = max(top + 1, round((box[1] + box[3]) * height))
    drawn = (image * 0.5).astype(np.uint8)
    drawn[top:below, left:right] = image[top:below, left:right]
    picture = Image.fromarray(drawn)
    line = max(1, round(max(width, height) / 100))
    frame = ImageDraw.Draw(picture)
    for grow, colour in ((2 * line, "black"), (line, "white")):
        frame.rectangle(
            (left - grow, top - grow, right - 1 + grow, below - 1 + grow), outline=colour, width=line
        )
    return np.asarray(picture)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
