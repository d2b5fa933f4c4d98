"""Searching an index by pictures, moments of videos, its own items, or vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ConfigError, UnknownNameError
from sslkit.retrieval import gallery
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.filters import Where
from sslkit.runs.asked import Picture, by_ids, by_images, by_vectors, ids_of
from sslkit.runs.origins import Origins
from sslkit.runs.queries import box_of
from sslkit.runs.query_names import queries_of
from sslkit.runs.search_result import SearchResult

__all__ = ["SearchResult", "search"]

_DRAWN = 200  # queries in a gallery; a page of more is slow to open


def search(
    index: Index | str | Path,
    queries: str | Path | NDArray[np.uint8] | Iterable[str | Path | NDArray[np.uint8]] = (),
    *,
    k: int = 10,
    where: Where | None = None,
    box: str | Sequence[int] | None = None,
    exact: bool = False,
    ids: Iterable[int] | str | Path | None = None,
    vectors: NDArray[np.floating[Any]] | str | Path | None = None,
    model_hash: str | None = None,
    html: str | Path | None = None,
    model: str | Path | None = None,
    progress: bool = False,
) -> list[SearchResult]:
    """Find the k indexed items nearest to each query, by cosine; one result a query, in their order.

    queries: files, folders, file:// addresses, moments of videos, or pixels, as `queries_of` reads them. box:
    x, y, width and height of the part of each image that counts, in pixels of the original. Or ids: items of
    the index, or a text file of them, one a line; none of them finds itself. Or vectors: (Q, D), an .npy file
    of them, or an embeddings folder, which knows its model; for others `model_hash` says it.

    where: only items that it means are found. exact: look at every vector. html: a gallery page to write.
    model: the run or timm name to embed with; default: the one the index remembers.

    Raises ConfigError for options that do not go together, DataError for queries that are not there,
    DecodeError for those that cannot be read (before anything is computed), ArtifactError for a damaged
    index, or one of another model; the message names both hashes.
    """
    if isinstance(queries, str | Path | np.ndarray):
        queries = [queries]
    given = list(queries)
    if k < 1:
        raise ConfigError(f"k={k} neighbours asked for; at least 1 is needed")
    if sum((bool(given), ids is not None, vectors is not None)) > 1:
        raise ConfigError("name images, or ids, or vectors: one kind of query at a time")
    if (ids is not None or vectors is not None) and (box is not None or model is not None):
        raise ConfigError("a box and a model are for images; ids and vectors are searched by as they are")
    if model_hash is not None and vectors is None:
        raise ConfigError("a model hash is for vectors; images are embedded with the model of the index")
    with nullcontext(index) if isinstance(index, Index) else Index.load(index) as opened:
        meant = len(opened) if where is None else _meant(opened, where)
        if ids is not None:
            asked = by_ids(opened, ids_of(ids))
        elif vectors is not None:
            asked = by_vectors(opened, vectors, model_hash)
        else:
            sought = queries_of(given, None if box is None else box_of(box))
            asked = by_images(opened, sought, model, progress)
        # An item is its own nearest neighbour: one more is found, and it is left out.
        found = opened.search(
            asked.vectors, k + (ids is not None), model_hash=asked.model_hash, where=where, exact=exact
        )
        results = [
            replace(result, hits=[hit for hit in hits if hit.id != result.id][:k])
            for result, hits in zip(asked.results, found, strict=True)
        ]
        if html is not None:
            _draw(Path(html), opened, results, asked.picture, _subtitle(opened, where, meant, exact))
    return results


def _meant(index: Index, where: Where) -> int:
    """How many items a condition means; raises what is wrong with it before anything is computed."""
    if where.label is not None and where.label not in index.classes:
        raise UnknownNameError("class", where.label, index.classes)
    return len(index.select(where))


def _subtitle(index: Index, where: Where | None, meant: int, exact: bool) -> str:
    told = f"{len(index):,} items, model {index.model_hash}"
    told += ", every vector compared" if exact else ""
    return told if where is None else f"{told}\nOnly {gallery.told_where(where)}: {meant:,} items"


def _draw(
    path: Path,
    index: Index,
    results: Sequence[SearchResult],
    picture_of: Callable[[int], Picture | None],
    subtitle: str,
) -> None:
    if len(results) > _DRAWN:
        subtitle += f"\nThe first {_DRAWN} of {len(results):,} queries"

    def queries() -> Iterator[gallery.Query]:
        for number, result in enumerate(results[:_DRAWN]):
            image, box = picture_of(number) or (None, None)
            yield gallery.Query(result.query, image, result.hits, box, result.note)

    gallery.write_gallery(
        path,
        queries(),
        Origins.of(index).picture,
        title="Nearest neighbours",
        subtitle=subtitle,
        classes=index.classes,
    )
