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
from sslkit.neighbours.picker import Wanted
from sslkit.retrieval.artifact import Hit, Index
from sslkit.retrieval.embed import EmbeddingSet
from sslkit.retrieval.filters import Where

NAMES = [f"photo {row}.jpg" for row in range(17)] + [
    'a "quoted", name',
    "two\nlines \udce9",
    "Größe's 写真.png",
]


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
        "address": "photos",
    }
    return EmbeddingSet(**{**given, **changed})


def few(*names: str, **changed: Any) -> EmbeddingSet:
    count = len(names)
    rows = np.random.default_rng(count).standard_normal((count, 6)).astype(np.float32)
    given = {"vectors": rows, "ids": np.arange(count), "names": list(names), "labels": np.full(count, -1)}
    return embeddings(**{**given, **changed})


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index.build(embeddings(), tmp_path / "index")


def test_each_vector_finds_its_own_item_first(index: Index) -> None:
    found = index.search(vectors(), 3, model_hash="abc123")
    assert [hits[0].id for hits in found] == [row * 10 for row in range(20)]
    assert [hits[0].name for hits in found] == NAMES
    assert [hits[0].label for hits in found] == [None if row % 3 == 0 else row % 3 - 1 for row in range(20)]
    assert {(hits[0].source, hits[0].sample) for hits in found} == {("photos", row * 10) for row in range(20)}
    assert all(hits[0].similarity == pytest.approx(1, abs=1e-5) for hits in found)
    assert all(a.similarity >= b.similarity for hits in found for a, b in pairwise(hits))


@pytest.mark.parametrize("exact", [False, True])
def test_hits_are_the_rows_of_largest_cosine(index: Index, exact: bool) -> None:
    query = np.linspace(-1, 1, 6, dtype=np.float32)[None]
    bank = vectors().astype(np.float64)
    cosines = bank @ query[0] / np.linalg.norm(bank, axis=1) / np.linalg.norm(query)
    (hits,) = index.search(query, 5, model_hash="abc123", exact=exact)
    assert [hit.id for hit in hits] == (np.argsort(-cosines)[:5] * 10).tolist()
    np.testing.assert_allclose([hit.similarity for hit in hits], -np.sort(-cosines)[:5], atol=1e-6)
    ids, similarities = index.nearest(query, 5, model_hash="abc123", exact=exact)
    assert (ids.dtype, similarities.dtype, ids.shape) == (np.int64, np.float32, (1, 5))
    assert ids[0].tolist() == [hit.id for hit in hits]
    assert similarities[0].tolist() == [hit.similarity for hit in hits]


def test_k_is_a_limit(index: Index) -> None:
    assert [len(hits) for hits in index.search(vectors(2), 100, model_hash="abc123")] == [20, 20]
    ids, similarities = index.nearest(vectors(2), 100, model_hash="abc123")
    assert (ids[:, 20:] == -1).all()
    assert np.isneginf(similarities[:, 20:]).all()
    for k in (0, -1):
        with pytest.raises(ConfigError, match=f"k={k}"):
            index.search(vectors(2), k, model_hash="abc123")


def test_loading_gives_the_same_answers_and_description(index: Index) -> None:
    with Index.load(str(index.path)) as loaded:
        assert loaded.search(vectors(), 4, model_hash="abc123") == index.search(
            vectors(), 4, model_hash="abc123"
        )
        assert (len(loaded), loaded.dim, loaded.model_hash) == (20, 6, "abc123")
        assert (loaded.classes, loaded.preprocessing) == (("cat", "dog"), {"size": 32})
        assert loaded.passport == json.loads((index.path / "index.json").read_text())
        assert loaded.passport["search"]["kind"] == "flat"
    with pytest.raises(ConfigError, match="was closed"):
        loaded.search(vectors(), 4, model_hash="abc123")


def test_a_set_in_float16_is_indexed_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslkit.retrieval.generation._ROWS", 7)
    monkeypatch.setattr("sslkit.retrieval.arrivals._ROWS", 3)
    shuffled = np.random.default_rng(1).permutation(20)
    given = embeddings(vectors=vectors().astype(np.float16), ids=shuffled)
    index = Index.build(given, tmp_path / "half")
    assert [hits[0].id for hits in index.search(vectors(), 1, model_hash="abc123")] == shuffled.tolist()
    assert index.ids().tolist() == list(range(20))
    index.verify()


def test_queries_of_another_model_are_refused_with_both_hashes(index: Index) -> None:
    with pytest.raises(ArtifactError, match=r"model other, .* of model abc123"):
        index.search(vectors(), 1, model_hash="other")
    with pytest.raises(ArtifactError, match=r"model other, .* of model abc123"):
        index.add(few("new.jpg", model_hash="other"))
    assert len(index) == 20


def test_queries_that_cannot_be_searched_are_refused(index: Index) -> None:
    for value in (np.nan, np.inf, 0):
        broken = vectors(3)
        broken[1] = value
        with pytest.raises(ArtifactError, match="rows 1"):
            index.search(broken, 1, model_hash="abc123")
    with pytest.raises(ConfigError, match="5 dimensions"):
        index.search(vectors(3, dim=5), 1, model_hash="abc123")
    with pytest.raises(ConfigError, match="float64"):
        index.nearest(vectors(3).astype(np.float64), 1, model_hash="abc123")  # type: ignore[arg-type]


def test_bad_embeddings_leave_no_index(tmp_path: Path) -> None:
    broken = vectors()
    broken[[3, 17]] = np.nan
    with pytest.raises(ArtifactError, match=r"rows 3, 17, the first of 'photo 3.jpg'"):
        Index.build(embeddings(vectors=broken), tmp_path / "index")
    with pytest.raises(ArtifactError, match="ids from -1"):
        Index.build(embeddings(ids=np.arange(20) - 1), tmp_path / "index")
    with pytest.raises(ArtifactError, match="no embeddings"):
        Index.build(few(vectors=vectors(0)), tmp_path / "index")
    with pytest.raises(ArtifactError, match="label 1 among embeddings of 1 classes"):
        Index.build(embeddings(classes=("cat",)), tmp_path / "index")
    with pytest.raises(ArtifactError, match=r"of shape \(20,\)"):
        Index.build(embeddings(vectors=vectors()[:, 0]), tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


def test_items_come_in_the_order_asked_for_and_unknown_ones_are_named(index: Index) -> None:
    assert [item.name for item in index.items([190, 0, 190])] == [NAMES[19], NAMES[0], NAMES[19]]
    bank = vectors() / np.linalg.norm(vectors(), axis=1, keepdims=True)
    np.testing.assert_allclose(index.vectors([190, 0, 190]), bank[[19, 0, 19]], atol=1e-6)
    assert index.vectors([]).shape == (0, 6)
    for ask in (index.items, index.vectors):
        with pytest.raises(ArtifactError, match="no item 5"):
            ask([0, 5])


def test_what_is_added_gets_new_ids_and_what_is_updated_keeps_its_own(index: Index) -> None:
    assert index.add(few("new.jpg", "newer.jpg")).tolist() == [191, 192]
    with pytest.raises(
        ArtifactError, match=r"2 of 3 samples of 'photos' are .* already: 'new.jpg', 'photo 3.jpg'"
    ):
        index.add(few("new.jpg", "photo 3.jpg", "newest.jpg"))
    assert index.add(few("new.jpg", address="other")).tolist() == [193]
    changed = few(
        "photo 3.jpg", "newest.jpg", "two\nlines \udce9", labels=np.array([1, 0, -1]), classes=("owl", "cat")
    )
    assert index.add(changed, update=True).tolist() == [30, 194, 180]
    (hits,) = index.search(changed.vectors[:1], 1, model_hash="abc123")
    assert (hits[0].id, hits[0].label, hits[0].similarity) == (30, 0, pytest.approx(1, abs=1e-6))
    assert index.classes == ("cat", "dog", "owl")
    assert index.items([194])[0].label == 2
    assert len(index) == 24
    index.verify()


def test_an_item_keeps_its_metadata_unless_it_is_given_new_ones(tmp_path: Path) -> None:
    own = {"größe": 1.5, "tags": ["a", {"b": None}], "who": 'O\'Hara "x"\n\udce9', "ok": True}
    index = Index.build(
        embeddings(), tmp_path / "index", metadata={NAMES[0]: own, NAMES[18]: {"who": "写真"}}
    )
    assert [item.metadata for item in index.items([0, 10, 180])] == [own, {}, {"who": "写真"}]
    index.add(few(NAMES[0], NAMES[18]), update=True, metadata={NAMES[18]: {"year": 2011}})
    assert [item.metadata for item in index.items([0, 10, 180])] == [own, {}, {"year": 2011}]
    assert index.keys == ("größe", "ok", "tags", "who", "year")
    assert index.select(Where("größe > 1 AND ok")).tolist() == [0]
    assert index.select(Where("who LIKE 'O''Hara %'")).tolist() == [0]
    hash(index.items([0])[0])


@pytest.mark.parametrize(
    ("own", "error", "message"),
    [
        ({"x": float("nan")}, ArtifactError, "no JSON values"),
        ({"x": object()}, ArtifactError, "no JSON values"),
        ({"x": "\ud800"}, ArtifactError, "no text that can be kept"),
        ({'a"b': 1}, ConfigError, "the key 'a\"b'"),
        ({" ": 1}, ConfigError, "the key ' '"),
        ({7: 1}, ConfigError, "the key 7"),
        ({"Label": 1}, ConfigError, "rename it, for example to 'own_Label'"),
        ({"year": 1, "Year": 2}, ConfigError, "SQL takes for one"),
    ],
)
def test_metadata_that_cannot_be_kept_are_refused(
    index: Index, own: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        index.add(few("new.jpg"), metadata={"new.jpg": own})
    assert (len(index), index.generation, index.keys) == (20, 1, ())
    index.verify()


def test_removed_items_are_not_found_and_their_ids_never_given_again(index: Index) -> None:
    assert index.remove([190, 0, 0]) == 2
    assert index.search(vectors(1), 1, model_hash="abc123")[0][0].id != 0
    with pytest.raises(ArtifactError, match=r"2 of 3 ids are not in .*: 0, 7; none was removed"):
        index.remove([10, 0, 7])
    assert len(index) == 18
    assert index.add(few(NAMES[5]), update=True).tolist() == [50]
    assert index.add(few(NAMES[19])).tolist() == [191]
    assert index.remove([]) == 0


def test_an_empty_index_says_so_and_can_grow_again(index: Index) -> None:
    index.remove(index.ids())
    assert (len(index), index.ids().tolist(), list(index.blocks())) == (0, [], [])
    with pytest.raises(ArtifactError, match="is empty"):
        index.search(vectors(1), 1, model_hash="abc123")
    index.compact()
    index.verify()
    assert index.add(few("new.jpg")).tolist() == [191]
    assert index.search(vectors(1), 3, model_hash="abc123")[0][0].name == "new.jpg"
    assert index.add(few()).tolist() == []


def test_compaction_keeps_ids_and_answers_and_may_want_something_else(index: Index) -> None:
    index.add(few("new.jpg", "newer.jpg"))
    index.remove([0, 10])
    before = index.search(vectors(), 5, model_hash="abc123")
    index.compact(wanted=Wanted(kind="flat", recall=0.5))
    assert index.search(vectors(), 5, model_hash="abc123") == before
    assert index.passport["wanted"]["recall"] == 0.5
    assert [segment["count"] for segment in index.passport["segments"]] == [20]
    index.verify()


def test_moments_of_one_video_are_told_apart_by_their_start(index: Index) -> None:
    times = np.array([[0.0, 1.0], [1.0, 2.5], [np.nan, np.nan]])
    moments = few("walk.avi", "walk.avi", "still.jpg", times=times)
    assert index.add(moments).tolist() == [191, 192, 193]
    assert [(item.start, item.stop) for item in index.items([191, 192, 193])] == [
        (0, 1),
        (1, 2.5),
        (None, None),
    ]
    assert index.add(moments, update=True).tolist() == [191, 192, 193]
    with pytest.raises(ArtifactError, match=r"come more than once, such as 'walk.avi'"):
        index.add(few("walk.avi", "walk.avi", address="other"))
    assert index.select(Where(time=(2, 9))).tolist() == [192]


def test_labels_without_class_names_are_not_mixed_with_named_ones(index: Index, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="labels without class names for an index of labels with"):
        index.add(few("new.jpg", labels=np.array([0]), classes=()))
    assert index.add(few("new.jpg", classes=())).tolist() == [191]
    plain = Index.build(embeddings(classes=()), tmp_path / "plain")
    assert plain.items([20])[0].label == 1
    with pytest.raises(ArtifactError, match="labels with class names for an index of labels without"):
        plain.add(few("new.jpg", labels=np.array([0])))


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
