"""Search results as a web page in one file: every query with its nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sslkit.page import Page, Tile
from sslkit.retrieval.artifact import Hit


@dataclass(frozen=True)
class Query:
    """A query as it is shown: its name, its picture uint8 (H, W, 3), its neighbours, most similar first."""

    name: str
    image: NDArray[np.uint8]
    hits: Sequence[Hit]


def write_gallery(
    path: Path,
    queries: Sequence[Query],
    picture_of: Callable[[Hit], NDArray[np.uint8] | None],
    *,
    title: str,
    subtitle: str = "",
    classes: Sequence[str] = (),
) -> None:
    """Write the page; `picture_of` gives the picture of a hit, or None when it is no longer there."""
    page = Page(title, subtitle)
    for query in queries:
        tiles = [Tile(query.image, "query", first=True)]
        for hit in query.hits:
            label = "" if hit.label is None else f"\n{_class_name(hit.label, classes)}"
            tiles.append(Tile(picture_of(hit), f"{hit.similarity:.3f}", hit.name + label, hit.similarity))
        page.heading(query.name).images(tiles)
    page.write(path)


def _class_name(label: int, classes: Sequence[str]) -> str:
    return classes[label] if label < len(classes) else f"class {label}"
