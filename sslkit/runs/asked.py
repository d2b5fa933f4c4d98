"""The three kinds of queries: images, items of the index, and vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.contracts import Item
from sslkit.data.pictures import picture
from sslkit.errors import ArtifactError, ConfigError, DataError, SslkitError
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.embed import read_embeddings
from sslkit.runs.embedder import Embedder, open_embedder
from sslkit.runs.origins import PICTURE_SIDE, Origins
from sslkit.runs.queries import Query, embed_queries, refuse_unreadable
from sslkit.runs.search_result import SearchResult


def embedder_of(index: Index, model: str | Path | None = None) -> Embedder:
    """The model of an index, ready to embed queries as its items were.

    model: where it is now; default: where it was. Raises ConfigError when the index does not know,
    ArtifactError when it is gone, or its weights are not those of the index.
    """
    remembered = index.preprocessing.get("model")
    chosen = model if model is not None else remembered
    if chosen is None:
        raise ConfigError(f"index {index.path} does not remember its model; name it with --model RUN")
    try:
        embedder = open_embedder(chosen)
    except SslkitError as error:
        if model is not None:
            raise
        raise ArtifactError(
            f"the model of index {index.path} was {remembered} and cannot be loaded ({error}); "
            "where did it go? name it with --model RUN"
        ) from error
    if embedder.model_hash != index.model_hash:  # before anything is embedded
        raise ArtifactError(
            f"the index {index.path} was made by the model {index.model_hash}, and {chosen} is "
            f"{embedder.model_hash}; name the one of the index with --model RUN, or build the index again"
        )
    return replace(embedder, size=int(index.preprocessing.get("size", embedder.size)))


Picture = tuple[NDArray[np.uint8], tuple[float, float, float, float] | None]
"""Of a query, with the box in it, as the gallery takes both."""


@dataclass(frozen=True)
class Asked:
    """Queries of one kind. results: without hits yet; vectors: float32 (Q, D); picture: of query i."""

    results: list[SearchResult]
    vectors: NDArray[np.float32]
    model_hash: str
    picture: Callable[[int], Picture | None]


def by_images(index: Index, sought: list[Query], model: str | Path | None, progress: bool) -> Asked:
    embedder = embedder_of(index, model)
    channels = embedder.backbone.channels
    refuse_unreadable(sought, channels=channels)

    def shown(number: int) -> Picture:
        query = sought[number]
        whole = picture(Item(query.content, query.name), side=PICTURE_SIDE, channels=channels)
        return whole, query.shares(channels=channels)

    results = [SearchResult.of(query, index.classes) for query in sought]
    vectors = embed_queries(embedder, sought, progress=progress)
    return Asked(results, vectors, embedder.model_hash, shown)


def by_ids(index: Index, ids: Sequence[int]) -> Asked:
    items = index.items(ids)
    picture_of = Origins.of(index).picture

    def shown(number: int) -> Picture | None:
        image = picture_of(items[number])
        return None if image is None else (image, None)

    results = [SearchResult.of_item(item, index.classes) for item in items]
    return Asked(results, index.vectors(ids), index.model_hash, shown)


def by_vectors(
    index: Index, vectors: NDArray[np.floating[Any]] | str | Path, model_hash: str | None
) -> Asked:
    names: Sequence[str] = ()
    told = "the vectors"
    if isinstance(vectors, str | Path):
        told = str(vectors)
        folder = Path(vectors) if Path(vectors).is_dir() else Path(vectors).parent
        if Path(vectors).is_dir() or (
            Path(vectors).name == "embeddings.npy" and (folder / "embed.json").is_file()
        ):
            known = read_embeddings(folder)
            vectors, names = known.vectors, known.names
            if model_hash not in (None, known.model_hash):
                raise ArtifactError(f"{told} was made by the model {known.model_hash}, not by {model_hash}")
            model_hash = known.model_hash
        else:
            vectors = _loaded(Path(vectors))
    rows = np.atleast_2d(np.asarray(vectors))
    if rows.ndim != 2 or rows.dtype.kind != "f" or not rows.size:
        raise ConfigError(f"{told}: {rows.dtype} {rows.shape}; floats of shape (Q, {index.dim}) are needed")
    if model_hash is None:
        raise ConfigError(
            f"{told} do not say which model made them, and only the index's own can be compared: if that "
            f"one did, say so with its hash, --model-hash {index.model_hash}; or name an embeddings folder"
        )
    called = names or [f"vector {number}" for number in range(len(rows))]
    results = [SearchResult(name, (), index.classes) for name in called]
    with np.errstate(over="ignore"):  # what is beyond float32 is refused by the index, which names the row
        return Asked(results, rows.astype(np.float32), model_hash, lambda number: None)


def _loaded(path: Path) -> NDArray[Any]:
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(
            f"there is no file {path}; name an .npy file of vectors, or an embeddings folder"
        ) from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is no .npy file of vectors: {error}") from error
    if not isinstance(loaded, np.ndarray):
        raise DataError(f"{path} holds several arrays; save one with numpy.save")
    return loaded


def ids_of(ids: Iterable[int] | str | Path) -> list[int]:
    """Ids as they are, or from a text file; DataError names the line that is none."""
    if not isinstance(ids, str | Path):
        found = [int(id) for id in ids]
    else:
        try:
            lines = Path(ids).read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{ids} is no text file of ids: {error}") from error
        found = []
        for number, line in enumerate(lines, start=1):
            word = line.partition("#")[0].strip()
            if word and not word.isdecimal():
                raise DataError(f"{ids}, line {number}: {line!r} is no id; write one whole number a line")
            found += [int(word)] if word else []
    if not found:
        raise DataError("no id was given; name items of the index, one id a line")
    return found
