"""Outlier scores are those of the papers, and planted outliers come first."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.neighbors import LocalOutlierFactor

from sslkit.errors import ConfigError
from sslkit.retrieval.curation.neighbours import Graph
from sslkit.retrieval.curation.outliers import count_of, local_outlier_factor, mean_distance, outlier_scores
from tests.retrieval.curation.made_index import blobs, graph_of, unit


def lof_by_hand(vectors: NDArray[np.float32], k: int) -> list[float]:
    """Definitions 3 to 7 of the paper in plain loops."""
    rows = vectors.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    count = len(rows)
    d = [[float(np.linalg.norm(rows[i] - rows[j])) for j in range(count)] for i in range(count)]
    near = [sorted((j for j in range(count) if j != i), key=lambda j, i=i: d[i][j])[:k] for i in range(count)]
    kth = [d[i][near[i][-1]] for i in range(count)]
    density = [k / sum(max(kth[o], d[i][o]) for o in near[i]) for i in range(count)]
    return [sum(density[o] for o in near[i]) / k / density[i] for i in range(count)]


@pytest.mark.parametrize("k", [1, 3, 10])
def test_the_local_outlier_factor_is_that_of_the_paper_and_of_sklearn(k: int) -> None:
    vectors = blobs([20, 15, 5], spread=0.6)
    found = local_outlier_factor(graph_of(vectors, k))
    np.testing.assert_allclose(found, lof_by_hand(vectors, k), rtol=1e-4)
    oracle = LocalOutlierFactor(n_neighbors=k).fit(vectors.astype(np.float64))
    np.testing.assert_allclose(found, -oracle.negative_outlier_factor_, rtol=1e-4)


@pytest.mark.parametrize("k", [1, 5])
def test_the_mean_distance_by_hand(k: int) -> None:
    vectors = blobs([10, 10], spread=0.8)
    rows = vectors.astype(np.float64)
    expected = [np.mean(sorted(1 - rows[i] @ rows[j] for j in range(20) if j != i)[:k]) for i in range(20)]
    np.testing.assert_allclose(mean_distance(graph_of(vectors, k)), expected, atol=1e-6)


@pytest.mark.parametrize("method", ["mean", "lof"])
def test_planted_outliers_come_first(method: str) -> None:
    vectors = blobs([60, 60], spread=0.2)
    strange = unit(np.random.default_rng(9).standard_normal((5, 16)))
    scores = outlier_scores(graph_of(np.concatenate([vectors, strange]), 8), method)  # type: ignore[arg-type]
    assert set(np.argsort(-scores)[:5].tolist()) == set(range(120, 125))


def test_the_local_factor_sees_what_is_odd_beside_a_dense_group() -> None:
    dense, loose = blobs([60], spread=0.02), blobs([60], spread=0.9, seed=5)
    odd = unit(dense[:1] + 0.1 * loose[:1])
    graph = graph_of(np.concatenate([dense, loose, odd]), 8)
    assert local_outlier_factor(graph).argmax() == 120
    assert mean_distance(graph).argmax() != 120


def test_copies_are_no_outliers_and_give_no_nan() -> None:
    vectors = np.concatenate([np.repeat(blobs([1]), 20, axis=0), blobs([10], spread=1, seed=2)])
    graph = graph_of(vectors, 5)
    assert local_outlier_factor(graph)[:20] == pytest.approx(1)
    assert mean_distance(graph)[:20] == pytest.approx(0, abs=1e-6)
    for scores in (local_outlier_factor(graph), mean_distance(graph)):
        assert np.isfinite(scores).all()


def test_neighbours_that_were_not_found_are_left_out() -> None:
    full = graph_of(blobs([12], spread=1), 3)
    places, similarities = full.places.copy(), full.similarities.copy()
    places[0, 2:], similarities[0, 2:] = -1, -np.inf
    places[1], similarities[1] = -1, -np.inf
    graph = Graph(full.ids, places, similarities)
    mean, lof = mean_distance(graph), local_outlier_factor(graph)
    assert mean[0] == pytest.approx(float(np.mean(1 - full.similarities[0, :2])), abs=1e-6)
    assert (mean[1], lof[1]) == (2, np.inf)
    assert np.isfinite(lof[[0, *range(2, 12)]]).all()


def test_an_unknown_method_and_share_are_refused() -> None:
    with pytest.raises(ConfigError, match="outliers by 'forest'; it is one of mean, lof"):
        outlier_scores(graph_of(blobs([4]), 1), "forest")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="between 0 and 1"):
        count_of(1.0, 10)
    assert (count_of(0.01, 10), count_of(0.26, 10)) == (1, 3)
