"""An index with an approximate structure: removal, growth, filters and compaction keep its answers right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sslkit.errors import ArtifactError
from sslkit.neighbours.picker import Wanted
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.embed import EmbeddingSet
from sslkit.retrieval.filters import Where
from tests.retrieval.named_vectors import HASH

COUNT, DIM = 2_000, 16


def clustered(seed: int, count: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((20, DIM))
    near = centres[draw.integers(0, 20, count)] + 0.4 * draw.standard_normal((count, DIM))
    return (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)


def made(first: int, vectors: np.ndarray) -> EmbeddingSet:
    ids = np.arange(first, first + len(vectors))
    return EmbeddingSet(vectors, ids, [f"n{id}" for id in ids], np.full(len(ids), -1), HASH, address="set")


@pytest.mark.parametrize("kind", ["hnsw", "ivf_fastscan", "ivf_rabitq", "ivf_sq8"])
def test_answers_stay_right_while_it_grows_and_shrinks(tmp_path: Path, kind: str) -> None:
    bank = clustered(1, COUNT)
    wanted = Wanted(kind=kind, recall=0.9)  # type: ignore[arg-type]
    with Index.build(made(0, bank), tmp_path / "index", wanted=wanted) as index:
        assert index.passport["segments"][0]["factory"] != "Flat"
        late = clustered(2, 300)
        assert index.add(made(COUNT, late)).tolist() == list(range(COUNT, COUNT + 300))
        gone = np.arange(0, COUNT, 3)
        index.remove(gone)
        held = {
            id: vector
            for id, vector in enumerate(np.concatenate([bank, late]))
            if id not in set(gone.tolist())
        }
        queries = clustered(3, 50)
        for _ in range(2):
            check(index, held, queries, None)
            check(index, held, queries, Where("id % 7 = 1"))
            check(index, held, queries, Where("id BETWEEN 10 AND 12 OR id = 2100"))
            index.verify()
            index.compact()
            assert len(index.passport["segments"]) == 1
    structure = next((tmp_path / "index").glob("search-*.faiss"))
    whole = structure.read_bytes()
    for harmed in (whole[:-9], whole[:5000] + b"\xff" * 64 + whole[5064:], bytes(len(whole))):
        structure.write_bytes(harmed)
        with pytest.raises(ArtifactError, match=r"search-\d+.faiss"), Index.load(tmp_path / "index") as index:
            index.nearest(queries, 3, model_hash=HASH)
    structure.write_bytes(whole)
    with Index.load(tmp_path / "index") as index:
        check(index, held, queries, None)


def check(index: Index, held: dict[int, np.ndarray], queries: np.ndarray, where: Where | None) -> None:
    meant = index.ids() if where is None else index.select(where)
    assert set(meant.tolist()) <= set(held)
    cosines = queries.astype(np.float64) @ np.stack([held[id] for id in meant.tolist()]).astype(np.float64).T
    for exact, least in ((True, 1.0), (False, 0.85)):
        ids, similarities = index.nearest(queries, 10, model_hash=HASH, where=where, exact=exact)
        shares = []
        for found, near, own in zip(ids, similarities, cosines, strict=True):
            there = found[found >= 0]
            assert len(there) == min(10, len(meant)) == len(set(there.tolist()))
            places = np.searchsorted(meant, there)
            assert (meant[places] == there).all()
            np.testing.assert_allclose(near[: len(there)], own[places], atol=1e-5)
            edge = np.sort(own)[::-1][: len(there)][-1]
            shares.append((own[places] >= edge - 2e-6).mean())
        assert np.mean(shares) >= least
