"""The searchable index on disk: the INDEX folder.

index.faiss     the vectors, of unit length
items.sqlite    id, name and label of every vector
index.json      which model made the vectors, and the size and SHA-256 of both files
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.errors import ArtifactError
from sslkit.neighbours.flat import FlatIndex
from sslkit.retrieval.embed import EmbeddingSet
from sslkit.retrieval.folder import read_description, write_description, written_aside
from sslkit.retrieval.items import ItemRow, count_items, read_items, write_items
from sslkit.version import __version__

FORMAT = 1
_DATA = ("index.faiss", "items.sqlite")
_KEYS = {"model_hash": str, "dim": int, "count": int, "classes": list, "preprocessing": dict, "files": dict}
_ROWS = 16384  # vectors converted to float32 at a time


@dataclass(frozen=True)
class Hit:
    """One neighbour. id: of the sample in its source; label: class number or None; similarity: cosine."""

    id: int
    name: str
    label: int | None
    similarity: float


class Index:
    """Nearest-neighbour search over the embeddings of one model."""

    def __init__(self, path: Path, vectors: FlatIndex, described: dict[str, Any]) -> None:
        self.path = path
        self._vectors = vectors
        self._described = described

    @classmethod
    def build(cls, embeddings: EmbeddingSet, out: Path, *, overwrite: bool = False) -> Index:
        """Build the INDEX folder of an embedding set, whole or not at all, and load it.

        Raises:
            ConfigError: `out` exists and `overwrite` is false, or the place cannot be written to.
            ArtifactError: there is no vector, or one is not finite or all zero; the message names the rows.
        """
        if len(embeddings) == 0:
            raise ArtifactError("an index of no embeddings; embed a data set with at least one sample first")
        with written_aside(out, (*_DATA, "index.json"), overwrite=overwrite) as folder:
            vectors = FlatIndex(embeddings.vectors.shape[1])
            for start in range(0, len(embeddings), _ROWS):
                vectors.add(np.asarray(embeddings.vectors[start : start + _ROWS], np.float32))
            vectors.save(folder / "index.faiss")
            triples = zip(embeddings.ids.tolist(), embeddings.names, embeddings.labels.tolist(), strict=True)
            items = (ItemRow(id, name, label if label >= 0 else None) for id, name, label in triples)
            write_items(folder / "items.sqlite", items)
            described = {
                "format": FORMAT,
                "model_hash": embeddings.model_hash,
                "metric": vectors.metric,
                "factory": vectors.factory,
                "dim": vectors.dim,
                "count": len(vectors),
                "classes": list(embeddings.classes),
                "preprocessing": dict(embeddings.preprocessing or {}),
                "source_fingerprint": embeddings.source_fingerprint,
                "files": {name: _fingerprint(folder / name) for name in _DATA},
                "sslkit": __version__,
            }
            write_description(folder / "index.json", described)
        return cls.load(out)

    @classmethod
    def load(cls, path: Path | str) -> Index:
        """Open an INDEX folder after checking every byte of it; the vectors stay in the file until searched.

        Raises ArtifactError when a file is missing, cut short or changed, or a newer sslkit wrote it.
        """
        path = Path(path)
        described = read_description(path / "index.json", "index", FORMAT, _KEYS)
        for name in _DATA:
            _check_file(path / name, described["files"].get(name))
        vectors = FlatIndex.open(path / "index.faiss", mapped=True)
        found = (len(vectors), vectors.dim, count_items(path / "items.sqlite"))
        if found != (described["count"], described["dim"], described["count"]):
            raise ArtifactError(
                f"{path} holds {found[0]} vectors of {found[1]} dimensions and {found[2]} items; "
                f"index.json says {described['count']} of {described['dim']}; build the index again"
            )
        return cls(path, vectors, described)

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self._vectors.dim

    @property
    def model_hash(self) -> str:
        """Hash of the weights that made the vectors; only their queries can be searched."""
        return str(self._described["model_hash"])

    @property
    def classes(self) -> Sequence[str]:
        """Class names of the labels; empty without labels."""
        return tuple(self._described["classes"])

    @property
    def preprocessing(self) -> dict[str, Any]:
        """How pixels were prepared before the model, as the embedding set recorded it."""
        return dict(self._described["preprocessing"])

    def search(self, vectors: NDArray[np.float32], k: int, *, model_hash: str) -> list[list[Hit]]:
        """Up to k nearest items for each query of float32 (Q, D), most similar first; fewer when len < k.

        model_hash: of the weights that made the queries.

        Raises:
            ArtifactError: another model made the queries (both hashes are named), or one is not finite.
            ConfigError: k < 1, or the queries have another width or type.
        """
        if model_hash != self.model_hash:
            raise ArtifactError(
                f"the queries come from model {model_hash}, the index {self.path} from model "
                f"{self.model_hash}; embeddings of two models cannot be compared: embed the queries with the "
                "index's model, or build an index with theirs"
            )
        rows, similarities = self._vectors.search(vectors, min(k, len(self)))
        items = read_items(self.path / "items.sqlite", rows.ravel().tolist())
        hits = [Hit(*item, value) for item, value in zip(items, similarities.ravel().tolist(), strict=True)]
        width = rows.shape[1]
        return [hits[start : start + width] for start in range(0, len(hits), width)]


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _check_file(path: Path, expected: object) -> None:
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; build the index again or copy the whole folder")
    found = _fingerprint(path)
    if found != expected:
        raise ArtifactError(
            f"{path} is not the file that was built: it has {found['bytes']} bytes, sha256 "
            f"{found['sha256'][:12]}; index.json says {expected}; "
            "copy the folder again or build the index again"
        )
