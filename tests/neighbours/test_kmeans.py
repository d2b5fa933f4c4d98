"""Spherical k-means: the steps of its definition, from first centres drawn by key."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sslkit.errors import ConfigError
from sslkit.neighbours.kmeans import drawn, first_centres, spherical_kmeans


def unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def planted(groups: int, each: int, seed: int = 0) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    centres = unit(generator.standard_normal((groups, 24)))
    return unit(np.repeat(centres, each, axis=0) + 0.05 * generator.standard_normal((groups * each, 24)))


def steps_by_hand(
    vectors: NDArray[np.float32], centres: NDArray[np.float32], steps: int
) -> NDArray[np.float64]:
    rows, means = vectors.astype(np.float64), centres.astype(np.float64)
    for _ in range(steps):
        of = (rows @ means.T).argmax(1)
        for cluster in range(len(means)):
            if (of == cluster).any():
                total = rows[of == cluster].sum(0)
                means[cluster] = total / np.linalg.norm(total)
    return means


@pytest.mark.parametrize("count", [3, 8, 15])
def test_planted_groups_are_found(count: int) -> None:
    vectors = planted(count, 40)
    of = (vectors @ spherical_kmeans(vectors, count).T).argmax(1).reshape(count, 40)
    assert (of == of[:, :1]).all()
    assert len(set(of[:, 0].tolist())) == count


def test_centres_follow_the_definition_from_the_same_start() -> None:
    vectors = unit(np.random.default_rng(2).standard_normal((400, 8)))
    found = spherical_kmeans(vectors, 6, seed=3, iterations=5)
    expected = steps_by_hand(vectors, first_centres(vectors, 6, 3), 5)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_the_seed_alone_decides() -> None:
    vectors = unit(np.random.default_rng(2).standard_normal((300, 8)))
    first = spherical_kmeans(vectors, 5, seed=1)
    np.random.seed(7)  # the global generator must not matter
    np.testing.assert_array_equal(spherical_kmeans(vectors, 5, seed=1), first)
    assert not np.array_equal(spherical_kmeans(vectors, 5, seed=2), first)


def test_first_centres_are_spread_as_the_rule_says() -> None:
    """Of a large group and a single one far away each gets a centre."""
    vectors = np.zeros((101, 3), np.float32)
    vectors[:100, 0], vectors[100, 1] = 1, 1
    for seed in range(20):
        both = first_centres(vectors, 2, seed)
        assert both[:, :2].sum(0).tolist() == [1, 1]


def test_copies_alone_still_give_as_many_centres() -> None:
    copies = np.repeat(planted(1, 1), 10, axis=0)
    assert spherical_kmeans(copies, 3).shape == (3, 24)
    assert np.isfinite(spherical_kmeans(copies, 3)).all()


def test_as_many_clusters_as_vectors_are_the_vectors() -> None:
    vectors = unit(np.random.default_rng(0).standard_normal((7, 5)))
    found = spherical_kmeans(vectors, 7)
    np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(vectors, axis=0))


def test_a_sample_is_drawn_by_key() -> None:
    assert drawn(5, 9, 0).tolist() == [0, 1, 2, 3, 4]
    some = drawn(1000, 10, 4)
    assert len(set(some.tolist())) == 10
    assert some.tolist() == sorted(some.tolist()) == drawn(1000, 10, 4).tolist()


@pytest.mark.parametrize("count", [0, 8])
def test_impossible_numbers_are_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=f"{count} clusters of 7 items; there may be 1 to 7"):
        spherical_kmeans(planted(1, 7), count)
