"""Small indexes of vectors that a test makes up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.retrieval.artifact import Index
from sslkit.retrieval.curation.neighbours import Graph
from sslkit.retrieval.embed import EmbeddingSet

HASH = "abc123"


def unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def blobs(counts: list[int], *, dim: int = 16, spread: float = 0.15, seed: int = 0) -> NDArray[np.float32]:
    """Vectors around as many random directions, one blob after the other."""
    generator = np.random.default_rng(seed)
    centres = unit(generator.standard_normal((len(counts), dim)))
    noise = generator.standard_normal((sum(counts), dim)) * spread / np.sqrt(dim)
    return unit(np.repeat(centres, counts, axis=0) + noise)


def index_of(
    place: Path,
    vectors: NDArray[np.float32],
    *,
    labels: NDArray[np.int64] | None = None,
    classes: tuple[str, ...] = (),
    ids: NDArray[np.int64] | None = None,
    names: list[str] | None = None,
    address: str = "",
    model: str = HASH,
) -> Index:
    count = len(vectors)
    embeddings = EmbeddingSet(
        vectors=vectors,
        ids=np.arange(count, dtype=np.int64) if ids is None else ids,
        names=names or [f"{row:04}.jpg" for row in range(count)],
        labels=np.full(count, -1, np.int64) if labels is None else labels,
        model_hash=model,
        classes=classes,
        preprocessing={},
        address=address,
    )
    return Index.build(embeddings, place)


def graph_of(vectors: NDArray[np.float32], k: int) -> Graph:
    """The nearest others by brute force in float64, one item after the other."""
    places, similarities = [], []
    for row in range(len(vectors)):
        cosines = vectors.astype(np.float64) @ vectors[row].astype(np.float64)
        others = [other for other in np.argsort(-cosines, kind="stable").tolist() if other != row][:k]
        places.append(others)
        similarities.append(cosines[others])
    return Graph(np.arange(len(vectors)), np.array(places), np.array(similarities, np.float32))
