"""The INDEX folder: search finds the right items, and nothing damaged or foreign is searched."""

from __future__ import annotations

import json
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sslkit.errors import ArtifactError, ConfigError
from sslkit.retrieval.artifact import Hit, Index
from sslkit.retrieval.embed import EmbeddingSet

NAMES = [f"photo {row}.jpg" for row in range(18)] + ['a "quoted", name', "two\nlines \udce9"]


def vectors(count: int = 20, dim: int = 6) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((count, dim)).astype(np.float32)


def embeddings(**changed: Any) -> EmbeddingSet:
    given: dict[str, Any] = {
        "vectors": vectors(),
        "ids": np.arange(20, dtype=np.int64) * 10,
        "names": NAMES,
        "labels": np.arange(20, dtype=np.int64) % 3 - 1,
        "model_hash": "abc123",
        "classes": ("cat", "dog"),
        "preprocessing": {"size": 32},
    }
    return EmbeddingSet(**{**given, **changed})


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index.build(embeddings(), tmp_path / "index")


def test_each_vector_finds_its_own_item_first(index: Index) -> None:
    found = index.search(vectors(), 3, model_hash="abc123")
    assert [hits[0].id for hits in found] == [row * 10 for row in range(20)]
    assert [hits[0].name for hits in found] == NAMES
    assert [hits[0].label for hits in found] == [None if row % 3 == 0 else row % 3 - 1 for row in range(20)]
    assert all(hits[0].similarity == pytest.approx(1, abs=1e-5) for hits in found)
    assert all(a.similarity >= b.similarity for hits in found for a, b in pairwise(hits))


def test_hits_are_the_rows_of_largest_cosine(index: Index) -> None:
    query = np.linspace(-1, 1, 6, dtype=np.float32)[None]
    bank = vectors().astype(np.float64)
    cosines = bank @ query[0] / np.linalg.norm(bank, axis=1) / np.linalg.norm(query)
    (hits,) = index.search(query, 5, model_hash="abc123")
    assert [hit.id for hit in hits] == (np.argsort(-cosines)[:5] * 10).tolist()
    np.testing.assert_allclose([hit.similarity for hit in hits], np.sort(cosines)[::-1][:5], atol=1e-6)


def test_k_is_a_limit(index: Index) -> None:
    assert [len(hits) for hits in index.search(vectors(2), 100, model_hash="abc123")] == [20, 20]
    with pytest.raises(ConfigError, match="k=0"):
        index.search(vectors(2), 0, model_hash="abc123")


def test_loading_gives_the_same_answers_and_description(index: Index) -> None:
    loaded = Index.load(str(index.path))
    assert loaded.search(vectors(), 4, model_hash="abc123") == index.search(vectors(), 4, model_hash="abc123")
    assert (len(loaded), loaded.dim, loaded.model_hash) == (20, 6, "abc123")
    assert (loaded.classes, loaded.preprocessing) == (("cat", "dog"), {"size": 32})


def test_a_set_in_float16_is_indexed_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslkit.retrieval.artifact._ROWS", 7)
    index = Index.build(embeddings(vectors=vectors().astype(np.float16)), tmp_path / "half")
    assert [hits[0].id for hits in index.search(vectors(), 1, model_hash="abc123")] == list(range(0, 200, 10))


def test_queries_of_another_model_are_refused_with_both_hashes(index: Index) -> None:
    with pytest.raises(ArtifactError, match=r"model other, .* from model abc123"):
        index.search(vectors(), 1, model_hash="other")


def test_queries_that_cannot_be_searched_are_refused(index: Index) -> None:
    broken = vectors(3)
    broken[1] = np.nan
    with pytest.raises(ArtifactError, match="rows 1"):
        index.search(broken, 1, model_hash="abc123")
    with pytest.raises(ConfigError, match="5 dimensions"):
        index.search(vectors(3, dim=5), 1, model_hash="abc123")


def test_bad_embeddings_leave_no_index(tmp_path: Path) -> None:
    broken = vectors()
    broken[[3, 17]] = np.nan
    with pytest.raises(ArtifactError, match="rows 3, 17"):
        Index.build(embeddings(vectors=broken), tmp_path / "index")
    with pytest.raises(ArtifactError, match="more than once: 5"):
        embeddings(ids=np.where(np.arange(20) == 7, 5, np.arange(20)))
    with pytest.raises(ArtifactError, match="'names': 19"):
        embeddings(names=NAMES[1:])
    empty = np.empty(0, np.int64)
    with pytest.raises(ArtifactError, match="no embeddings"):
        Index.build(embeddings(vectors=vectors(0), ids=empty, names=[], labels=empty), tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_index_is_kept_unless_overwritten_and_still_serves_who_opened_it(index: Index) -> None:
    before = index.search(vectors(), 2, model_hash="abc123")
    with pytest.raises(ConfigError, match="would be lost"):
        Index.build(embeddings(), index.path)
    new = Index.build(embeddings(model_hash="new"), index.path, overwrite=True)
    assert new.model_hash == Index.load(index.path).model_hash == "new"
    assert index.search(vectors(), 2, model_hash="abc123") == before


@pytest.mark.parametrize("name", ["index.faiss", "items.sqlite"])
@pytest.mark.parametrize("how", ["cut", "flipped", "missing", "empty"])
def test_a_damaged_file_is_refused_by_name(index: Index, name: str, how: str) -> None:
    path = index.path / name
    whole = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        path.write_bytes({"cut": whole[:-10], "flipped": flipped, "empty": b""}[how])
    with pytest.raises(ArtifactError, match=rf"{name} is (missing|not the file).*build the index again"):
        Index.load(index.path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", 2, "reads up to 1"),
        ("count", 19, "index.json says 19"),
        ("dim", 7, "of 7"),
        ("files", {}, "not the file"),
        ("model_hash", None, "no valid 'model_hash'"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    index: Index, key: str, value: object, message: str
) -> None:
    path = index.path / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ArtifactError, match=message):
        Index.load(index.path)


def test_a_folder_that_is_no_index_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ArtifactError, match="no index folder"):
            Index.load(folder)


def test_threads_may_search_together(index: Index) -> None:
    expected = index.search(vectors(), 3, model_hash="abc123")
    found: list[list[list[Hit]]] = []
    threads = [
        threading.Thread(target=lambda: found.append(index.search(vectors(), 3, model_hash="abc123")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4
