"""Embedding sets whose vectors follow from their names, so that a wrong pairing shows."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sslkit.retrieval.embed import EmbeddingSet

DIM = 8
HASH = "abc123"


def vector_of(name: str, version: int = 0, dim: int = DIM) -> NDArray[np.float32]:
    """The vector that belongs to a name and to how often it was updated, float32 (D,)."""
    seed = zlib.crc32(f"{name}/{version}".encode("utf-8", "surrogateescape"))
    return np.random.default_rng(seed).standard_normal(dim).astype(np.float32)


def unit_of(name: str, version: int = 0, dim: int = DIM) -> NDArray[np.float64]:
    """The same at unit length, float64 (D,)."""
    vector = vector_of(name, version, dim).astype(np.float64)
    return np.asarray(vector / np.linalg.norm(vector))


def embeddings(names: Sequence[str], version: int = 0, **changed: Any) -> EmbeddingSet:
    """An embedding set of `names` with ids from 0 on, all of address "set"."""
    dim = changed.pop("dim", DIM)
    count = len(names)
    given: dict[str, Any] = {
        "vectors": np.stack([vector_of(name, version, dim) for name in names])
        if count
        else np.zeros((0, dim), "f4"),
        "ids": np.arange(count, dtype=np.int64),
        "names": list(names),
        "labels": np.full(count, -1, np.int64),
        "model_hash": HASH,
        "address": "set",
    }
    return EmbeddingSet(**{**given, **changed})


def names_of(first: int, stop: int) -> list[str]:
    """photo FIRST.jpg and so on."""
    return [f"photo {number}.jpg" for number in range(first, stop)]
