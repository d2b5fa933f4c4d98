"""Figures of an index against brute force in float64 and the definitions of `retrieval_values`."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sslkit.errors import ArtifactError, ConfigError
from sslkit.evaluation.retrieval_figures import retrieval_values
from sslkit.neighbours.picker import Wanted
from sslkit.retrieval.artifact import Index
from sslkit.retrieval.embed import EmbeddingSet
from sslkit.retrieval.filters import Where
from sslkit.runs.index_eval import _sampled, evaluate_index

COUNT, DIM, CLASSES = 240, 8, 7


def made(count: int = COUNT, *, dim: int = DIM, noise: float = 1.0) -> EmbeddingSet:
    """Vectors that know a little of their classes, of many sizes; one in nine has no label. Ids have gaps."""
    random = np.random.default_rng(0)
    labels = (random.random(count) ** 2 * CLASSES).astype(np.int64)
    centres = random.standard_normal((CLASSES, dim))
    vectors = centres[labels] + noise * random.standard_normal((count, dim))
    labels[::9] = -1
    return EmbeddingSet(
        vectors.astype(np.float32),
        np.arange(count, dtype=np.int64) * 3 + 5,
        [f"{'query' if row % 4 == 0 else 'rest'}/{row}.jpg" for row in range(count)],
        labels,
        "abc",
        tuple(f"class {number}" for number in range(CLASSES)),
        address="photos",
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.build(made(), tmp_path_factory.mktemp("flat") / "index")


@pytest.fixture(scope="module")
def rough(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """An index that misses some neighbours."""
    wanted = Wanted(kind="ivf_sq8", recall=0.3, k=1)
    return Index.build(
        made(3000, dim=24, noise=3.0), tmp_path_factory.mktemp("rough") / "index", wanted=wanted
    )


def unit(vectors: NDArray[Any]) -> NDArray[np.float64]:
    rows = vectors.astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def slow_figures(
    similar: NDArray[np.float64], own: list[int], labels: list[int], itself: list[int | None], depth: int
) -> list[dict[str, float]]:
    """Figures of each query in plain loops, from its similarities to the gallery; of those with R > 0."""
    figures = []
    for query, label in enumerate(own):
        rows = [row for row in range(len(labels)) if row != itself[query]]
        ranked = sorted(rows, key=lambda row: (-similar[query, row], row))
        alike = [label >= 0 and labels[row] == label for row in ranked]
        relevant = sum(alike)
        if relevant == 0:
            continue
        seen, average = 0, 0.0
        for rank, hit in enumerate(alike[:relevant], start=1):
            seen += hit
            average += seen / rank if hit else 0.0
        first = alike.index(True) + 1
        figures.append(
            {
                "recall@1": float(alike[0]),
                "recall@10": float(any(alike[:10])),
                "map_at_r": average / relevant,
                "r_precision": seen / relevant,
                "mrr": 1 / first if first <= depth else 0.0,
            }
        )
    return figures


def means(figures: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(one[name] for one in figures) / len(figures) for name in figures[0]}


def test_each_item_among_the_others_gives_the_figures_of_brute_force(index: Index) -> None:
    given = made()
    found = evaluate_index(index, ks=(1, 10), queries=0)
    assert (found.queries, found.gallery) == (COUNT, COUNT)
    labels = given.labels.tolist()
    rows = unit(given.vectors)
    assert found.labelled is not None
    depth = max(10, max(labels.count(label) for label in range(CLASSES)) - 1)
    assert found.labelled.depth == depth
    slow = slow_figures(rows @ rows.T, labels, labels, list(range(COUNT)), depth)
    assert found.labelled.queries == len(slow) == sum(label >= 0 for label in labels)
    for figures in (found.labelled.exact, found.labelled.found):
        assert {name: share.mean for name, share in figures.items()} == pytest.approx(means(slow), abs=1e-9)
        assert all(share.low <= share.mean <= share.high for share in figures.values())
    assert {k: share.mean for k, share in found.recall.items()} == {1: 1.0, 10: 1.0}


def test_without_unlabelled_items_the_figures_are_those_of_retrieval_values(tmp_path: Path) -> None:
    given = made()
    known = np.flatnonzero(given.labels >= 0)
    part = replace(
        given,
        vectors=given.vectors[known],
        ids=given.ids[known],
        names=[given.names[row] for row in known],
        labels=given.labels[known],
    )
    with Index.build(part, tmp_path / "index") as index:
        found = evaluate_index(index, ks=(1, 10, 100), queries=0).labelled
    rows = torch.from_numpy(unit(part.vectors)).float()
    values = retrieval_values(rows, torch.from_numpy(part.labels), [1, 10, 100])
    assert found is not None
    for name, value in values.items():
        assert found.exact[name].mean == pytest.approx(float(value.mean()), abs=1e-4), name


def test_figures_by_class_are_means_over_the_queries_of_each(index: Index) -> None:
    found = evaluate_index(index, ks=(1, 10), queries=0).labelled
    assert found is not None
    counts = {name: own["queries"] for name, own in found.per_class.items()}
    labels = made().labels.tolist()
    assert counts == {f"class {label}": labels.count(label) for label in range(CLASSES)}
    for name, share in found.exact.items():
        total = sum(own["queries"] * own[name] for own in found.per_class.values())
        assert total / found.queries == pytest.approx(share.mean)


def test_queries_against_a_gallery_find_none_of_each_other(index: Index) -> None:
    given = made()
    asked = np.array([name.startswith("query/") for name in given.names])
    found = evaluate_index(
        index,
        ks=(1, 10),
        queries=0,
        queries_where="path LIKE 'query/%' -- all of them",
        where=Where("id > 20"),
    )
    asked &= (given.ids > 20) | ~asked
    rest = ~np.array([name.startswith("query/") for name in given.names]) & (given.ids > 20)
    assert (found.queries, found.asked, found.gallery) == (asked.sum(), asked.sum(), rest.sum())
    rows = unit(given.vectors)
    own, labels = given.labels[asked].tolist(), given.labels[rest].tolist()
    assert found.labelled is not None
    slow = slow_figures(rows[asked] @ rows[rest].T, own, labels, [None] * len(own), found.labelled.depth)
    assert {name: share.mean for name, share in found.labelled.exact.items()} == pytest.approx(means(slow))
    assert "among the rest" in found.to_text()
    assert "id > 20" in found.to_text()


def test_what_a_condition_leaves_open_is_in_the_gallery(index: Index) -> None:
    found = evaluate_index(index, ks=(1,), queries_where="label = 'class 0'", queries=0)
    unlabelled = int((made().labels < 0).sum())
    assert found.queries + found.gallery == COUNT
    assert found.gallery > unlabelled
    assert found.labelled is None  # no class 0 is left to find


def test_recall_is_the_share_of_true_neighbours_that_the_index_finds(rough: Index) -> None:
    found = evaluate_index(rough, ks=(1, 10), queries=150)
    assert found.structures[0].startswith("IVF")
    ids = rough.ids()
    rows = unit(rough.vectors(ids))
    labels = made(3000).labels
    shares: dict[int, list[float]] = {1: [], 10: []}
    firsts = []
    for row in np.searchsorted(ids, _sampled(ids, 150, 0)).tolist():
        similar = rows @ rows[row]
        ranked = sorted((other for other in range(len(ids)) if other != row), key=lambda at: -similar[at])
        for k in shares:
            (near,), _ = rough.nearest(rough.vectors([int(ids[row])]), k + 1, model_hash="abc")
            answer = [id for id in near.tolist() if id not in (-1, int(ids[row]))][:k]
            shares[k].append(len(set(answer) & set(ids[ranked[:k]].tolist())) / k)
            if k == 1 and labels[row] >= 0:
                firsts.append(float(labels[np.searchsorted(ids, answer[0])] == labels[row]))
    for k, own in shares.items():
        assert found.recall[k].mean == pytest.approx(np.mean(own), abs=1e-9)
        assert found.recall[k].low < found.recall[k].mean < found.recall[k].high
    assert found.recall[10].mean < 0.99
    assert found.labelled is not None
    assert found.labelled.found["recall@1"].mean == pytest.approx(np.mean(firsts))


def test_the_sample_is_keyed_and_changes_little_as_an_index_grows(index: Index) -> None:
    few, more = np.arange(1000), np.arange(1100)
    assert _sampled(few, 100, 0).tolist() == _sampled(few, 100, 0).tolist()
    assert _sampled(few, 100, 0).tolist() != _sampled(few, 100, 1).tolist()
    kept = set(_sampled(few, 100, 0).tolist()) & set(_sampled(more, 100, 0).tolist())
    assert len(kept) > 75
    assert evaluate_index(index, ks=(1,), queries=30).queries == 30


def test_equal_vectors_count_as_found_whichever_they_are(tmp_path: Path) -> None:
    given = made(60)
    twins = replace(given, vectors=np.repeat(given.vectors[:12], 5, axis=0))
    with Index.build(twins, tmp_path / "index") as index:
        found = evaluate_index(index, ks=(1, 3, 100), queries=0)
    assert {k: share.mean for k, share in found.recall.items()} == {1: 1.0, 3: 1.0, 100: 1.0}


def test_many_queries_in_small_blocks_give_the_same(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate_index(index, queries=0).to_dict()
    monkeypatch.setattr("sslkit.runs.index_eval._BLOCK", 1000)
    parted = evaluate_index(index, queries=0).to_dict()
    for name in ("recall", "labelled"):
        assert json.dumps(parted[name]) == json.dumps(whole[name])


def test_an_index_without_labels_has_recall_and_times(tmp_path: Path) -> None:
    given = replace(made(30), labels=np.full(30, -1), classes=())
    with Index.build(given, tmp_path / "index") as index:
        found = evaluate_index(index, ks=(5,))
    assert found.labelled is None
    assert found.recall[5].mean == 1
    assert 0 < found.searched.one < 1000
    assert "Recall@" not in found.to_text()


def test_a_query_alone_in_its_class_is_counted_and_left_out(tmp_path: Path) -> None:
    labels = np.array([0, 0, 1, -1, 2, 2], np.int64)
    given = replace(made(6), labels=labels)
    with Index.build(given, tmp_path / "index") as index:
        found = evaluate_index(index, ks=(1,), queries=0)
    assert found.labelled is not None
    assert (found.labelled.queries, found.labelled.alone) == (4, 1)
    assert "1 left out" in found.to_text()


def test_text_json_and_page_say_the_same(index: Index, tmp_path: Path) -> None:
    found = evaluate_index(index, ks=(1, 10), queries=50)
    plain = json.loads(json.dumps(found.to_dict()))
    share = plain["recall"]["10"]
    assert f"{share['mean']:.4f}" in found.to_text()
    found.write_page(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert f"{plain['labelled']['exact']['map_at_r']['mean']:.4f}" in page
    assert "mAP@R" in page
    assert "class 3" in page
    assert not math.isnan(plain["searched"]["batch"])


def test_wrong_questions_are_refused(index: Index, tmp_path: Path) -> None:
    for wrong, message in (
        ({"ks": ()}, "numbers of neighbours"),
        ({"ks": (0, 1)}, "numbers of neighbours"),
        ({"queries": -1}, "queries=-1"),
        ({"where": Where("id < 0")}, "0 queries among 0 items"),
        ({"where": Where("id = 5")}, "1 queries among 1 items"),
        ({"queries_where": "1"}, "240 queries among 0 items"),
        ({"queries_where": "nope = 1"}, "cannot be used"),
        ({"queries_where": "1) OR (1"}, "cannot be turned round"),
    ):
        with pytest.raises(ConfigError, match=message):
            evaluate_index(index, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match="no index folder"):
        evaluate_index(tmp_path)
