"""The neighbours of all items: the true ones, never the item itself, never outside of what is meant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sslkit.errors import ArtifactError, ConfigError, DataError
from sslkit.retrieval.curation import neighbours
from sslkit.retrieval.curation.neighbours import (
    labels_of,
    meant_ids,
    nearest_of,
    neighbour_graph,
    vectors_of,
)
from sslkit.retrieval.filters import Where
from tests.retrieval.curation.made_index import blobs, graph_of, index_of

VECTORS = blobs([30, 20, 10])


def test_the_graph_is_that_of_brute_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 7)  # several blocks, the last one shorter
    ids = np.arange(60, dtype=np.int64)[::-1] * 3 + 5
    order = np.argsort(ids)
    with index_of(tmp_path / "index", VECTORS, ids=ids) as index:
        graph = neighbour_graph(index, 4)
    truth = graph_of(VECTORS[order], 4)
    assert graph.ids.tolist() == ids[order].tolist()
    assert graph.places.tolist() == truth.places.tolist()
    np.testing.assert_allclose(graph.similarities, truth.similarities, atol=1e-6)


def test_copies_are_each_others_neighbours_and_never_their_own(tmp_path: Path) -> None:
    copies = np.repeat(VECTORS[:1], 9, axis=0)
    with index_of(tmp_path / "index", np.concatenate([copies, VECTORS[30:]])) as index:
        graph = neighbour_graph(index, 3)
    assert (graph.places != np.arange(len(graph))[:, None]).all()
    assert (graph.places[:9] < 9).all()
    np.testing.assert_allclose(graph.similarities[:9], 1, atol=1e-6)


def test_an_item_that_was_not_found_itself_loses_its_farthest() -> None:
    found, near = np.array([[5, 6, 7], [8, 1, 9]]), np.array([[0.9, 0.8, 0.7], [0.6, 0.5, 0.4]], np.float32)
    places, similarities = neighbours._without_self(found, near, np.array([0, 1]))
    assert places.tolist() == [[5, 6], [8, 9]]
    np.testing.assert_allclose(similarities, [[0.9, 0.8], [0.6, 0.4]])


def test_a_condition_limits_who_asks_and_who_is_found(tmp_path: Path) -> None:
    with index_of(tmp_path / "index", VECTORS) as index:
        where = Where(sql="id % 2 = 1")
        graph = neighbour_graph(index, 2, where=where)
        assert meant_ids(index, where).tolist() == list(range(1, 60, 2))
    truth = graph_of(VECTORS[1::2], 2)
    assert graph.ids.tolist() == list(range(1, 60, 2))
    assert graph.places.tolist() == truth.places.tolist()


def test_removed_items_take_no_part_and_later_segments_do(tmp_path: Path) -> None:
    with (
        index_of(tmp_path / "index", VECTORS[:50], address="a") as index,
        index_of(tmp_path / "other", VECTORS[50:], address="b", ids=np.arange(10)) as other,
    ):
        from sslkit.retrieval.embed import EmbeddingSet

        more = EmbeddingSet(
            VECTORS[50:],
            np.arange(10),
            [f"b{row}" for row in range(10)],
            np.full(10, -1),
            other.model_hash,
            (),
            {},
            "",
            "b",
        )
        index.add(more)
        index.remove([0, 7])
        graph = neighbour_graph(index, 3)
        rest = np.delete(VECTORS, [0, 7], axis=0)
        assert graph.places.tolist() == graph_of(rest, 3).places.tolist()
        np.testing.assert_allclose(vectors_of(index, graph.ids), rest, atol=1e-6)


def test_too_many_neighbours_and_nothing_meant_are_refused(tmp_path: Path) -> None:
    with index_of(tmp_path / "index", VECTORS[:5]) as index:
        with pytest.raises(
            ConfigError, match="5 neighbours of each asked among 5 items; there may be 1 to 4"
        ):
            neighbour_graph(index, 5)
        with pytest.raises(DataError, match="the condition means no item"):
            neighbour_graph(index, 1, where=Where(path="nothing/*"))


def test_an_index_that_changes_meanwhile_is_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 20)
    with index_of(tmp_path / "index", VECTORS) as index:
        asked = nearest_of(index, index.ids(), 2)
        next(asked)
        index.remove([59])
        with pytest.raises(ArtifactError, match="changed while it was looked at"):
            next(asked)


def test_progress_is_told_of_all_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", 25)
    told: list[tuple[int, int]] = []
    with index_of(tmp_path / "index", VECTORS) as index:
        neighbour_graph(index, 1, progress=lambda done, total: told.append((done, total)))
    assert told == [(25, 60), (50, 60), (60, 60)]


def test_vectors_of_a_large_set_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_IN_MEMORY", 100)
    with index_of(tmp_path / "index", VECTORS) as index:
        held = vectors_of(index, index.ids())
    assert isinstance(held, np.memmap)
    np.testing.assert_allclose(held, VECTORS, atol=1e-6)


def test_labels_by_id_with_minus_one_for_none(tmp_path: Path) -> None:
    labels = np.arange(60) % 3 - 1
    with index_of(tmp_path / "index", VECTORS, labels=labels, classes=("cat", "dog")) as index:
        assert labels_of(index, np.array([5, 3, 4])).tolist() == [1, -1, 0]
