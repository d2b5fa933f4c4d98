"""Retrieval: embed a data set, build an index, search it by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.contracts import Source
from sslkit.data.pictures import picture
from sslkit.data.sources.files import FilesSource
from sslkit.errors import ArtifactError, ConfigError, DataError, DecodeError, SslkitError
from sslkit.registry import open_source
from sslkit.retrieval.artifact import Hit, Index
from sslkit.retrieval.embed import read_embeddings, write_embeddings
from sslkit.retrieval.gallery import Query, write_gallery
from sslkit.runs.embedder import Embedder, open_embedder

PICTURE_SIDE = 320


@dataclass(frozen=True)
class SearchResult:
    """The neighbours of one query image, most similar first."""

    query: str
    hits: Sequence[Hit]
    classes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"query": self.query, "hits": [asdict(hit) for hit in self.hits]}

    def to_text(self) -> str:
        """One line a neighbour: similarity, class, name."""
        lines = [f"  {hit.similarity:6.3f}  {self._class_of(hit)}{hit.name}" for hit in self.hits]
        return "\n".join([self.query, *lines])

    def _class_of(self, hit: Hit) -> str:
        if hit.label is None or hit.label >= len(self.classes):
            return ""
        return f"[{self.classes[hit.label]}]  "


def embed(
    model: str | Path, data: str | Path, out: str | Path, *, overwrite: bool = False, progress: bool = True
) -> Path:
    """Write the embedding of every image of `data` into folder `out`; returns it.

    Samples that cannot be decoded have no row; the ids of the others stay what they are.
    Raises ConfigError when `out` exists, DataError when nothing decodes.
    """
    embedder = open_embedder(model)
    source = open_source(str(data))
    _write(embedder, source, str(data), Path(out), overwrite=overwrite, progress=progress)
    return Path(out)


def build_index(
    source: str | Path,
    data: str | Path | None,
    out: str | Path,
    *,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Build an index from an embeddings folder, or from a model and the `data` to embed; returns its folder.

    In the second case the embeddings are kept beside it, in OUT.embeddings.
    """
    out = Path(out)
    if data is None:
        if not (Path(source) / "embed.json").is_file():
            raise ConfigError(f"{source} is no embeddings folder; name the images to embed after the model")
        Index.build(read_embeddings(Path(source)), out, overwrite=overwrite)
        return out
    kept = out.with_name(f"{out.name}.embeddings")
    embed(source, data, kept, overwrite=overwrite, progress=progress)
    Index.build(read_embeddings(kept), out, overwrite=overwrite)
    return out


def index_info(index: str | Path) -> dict[str, Any]:
    """What an index holds and which model it belongs to."""
    opened = Index.load(index)
    return {
        "index": str(opened.path),
        "items": len(opened),
        "dimensions": opened.dim,
        "classes": list(opened.classes),
        "model_hash": opened.model_hash,
        **opened.preprocessing,
    }


def search(
    index: str | Path,
    images: Sequence[str | Path],
    *,
    k: int = 10,
    html: str | Path | None = None,
    model: str | Path | None = None,
) -> list[SearchResult]:
    """Find the k indexed images nearest to each query image; html: a gallery page to write.

    model: the run or timm name to embed queries with; default: the one the index remembers. Raises
    ArtifactError when its weights are not those of the index, DecodeError for a query that cannot be read.
    """
    opened = Index.load(index)
    embedder = _embedder_of(opened, model)
    queries = FilesSource(images)
    for number in range(len(queries)):
        # Names the one that cannot be read before anything is computed.
        picture(queries[number], side=PICTURE_SIDE, channels=embedder.backbone.channels)
    found = embedder.features(queries, progress=False)
    hits = opened.search(found.embeddings.numpy(), k, model_hash=embedder.model_hash)
    results = [
        SearchResult(str(image), neighbours, opened.classes)
        for image, neighbours in zip(images, hits, strict=True)
    ]
    if html is not None:
        _draw(Path(html), opened, queries, results)
    return results


def _write(
    embedder: Embedder, source: Source, data: str, out: Path, *, overwrite: bool, progress: bool
) -> None:
    located = str(Path(data).resolve()) if Path(data).exists() else data
    write_embeddings(
        out,
        embedder.stream(source, progress=progress),
        lambda id: source[id].name,
        dtype="float32",
        model_hash=embedder.model_hash,
        preprocessing={**embedder.preprocessing, "model": embedder.model, "data": located},
        source_fingerprint=source.fingerprint,
        classes=source.classes,
        overwrite=overwrite,
    )


def _embedder_of(index: Index, model: str | Path | None) -> Embedder:
    remembered = index.preprocessing.get("model")
    chosen = model if model is not None else remembered
    if chosen is None:
        raise ConfigError(f"index {index.path} does not remember its model; name it with --model RUN")
    try:
        return open_embedder(chosen)
    except SslkitError as error:
        if model is not None:
            raise
        raise ArtifactError(
            f"the model of index {index.path} was {remembered} and cannot be loaded ({error}); "
            "where did it go? name it with --model RUN"
        ) from error


def _draw(path: Path, index: Index, queries: Source, results: Sequence[SearchResult]) -> None:
    indexed = _indexed_source(index)

    def picture_of(hit: Hit) -> NDArray[np.uint8] | None:
        try:
            return None if indexed is None else picture(indexed[hit.id], side=PICTURE_SIDE)
        except (DecodeError, IndexError):
            return None

    shown = [
        Query(result.query, picture(queries[number], side=PICTURE_SIDE), result.hits)
        for number, result in enumerate(results)
    ]
    write_gallery(
        path,
        shown,
        picture_of,
        title="Nearest neighbours",
        subtitle=f"{len(index)} images, model {index.model_hash}",
        classes=index.classes,
    )


def _indexed_source(index: Index) -> Source | None:
    """Where the indexed images lie, or None when they are no longer there: then names are shown alone."""
    try:
        return open_source(str(index.preprocessing.get("data", "")))
    except (DataError, ConfigError):
        return None
