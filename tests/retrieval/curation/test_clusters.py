"""Clusters of an index: planted ones are found, and figures are those of their definitions."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from sslkit.errors import ConfigError
from sslkit.retrieval.curation import clusters, neighbours
from sslkit.retrieval.curation.clusters import (
    clustered,
    mutual_information,
    purity,
    silhouette,
    silhouettes,
)
from sslkit.retrieval.filters import Where
from tests.retrieval.curation.made_index import blobs, index_of

SIZES = [50, 40, 30, 20, 15]
VECTORS = blobs(SIZES)
TRUTH = np.repeat(np.arange(5), SIZES)


def test_planted_groups_come_back_largest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "BLOCK", 33)
    order = np.random.default_rng(0).permutation(155)
    with index_of(tmp_path / "index", VECTORS[order]) as index:
        found = clustered(index, 5)
    assert found.sizes.tolist() == SIZES
    assert found.of.tolist() == TRUTH[order].tolist()
    np.testing.assert_allclose(
        found.similarities, (VECTORS[order] * found.centres[found.of]).sum(1), atol=1e-6
    )
    members = found.members(3)
    assert set(members.tolist()) == set(np.flatnonzero(TRUTH[order] == 3).tolist())
    assert (np.diff(found.similarities[members]) <= 0).all()


@pytest.mark.parametrize("sizes", [SIZES, [60, 60], [40] * 9])
def test_auto_finds_the_planted_number(tmp_path: Path, sizes: list[int]) -> None:
    with index_of(tmp_path / "index", blobs(sizes, spread=0.3)) as index:
        found = clustered(index, None)
    assert len(found.sizes) == len(sizes)
    assert max(found.trials, key=lambda count: found.trials[count]) == len(sizes)
    assert clusters.MOST >= max(found.trials) > 2


def test_a_handful_of_items_is_one_cluster(tmp_path: Path) -> None:
    with index_of(tmp_path / "index", VECTORS[:8]) as index:
        assert clustered(index, None).sizes.tolist() == [8]


def test_a_condition_limits_the_items(tmp_path: Path) -> None:
    with index_of(tmp_path / "index", VECTORS) as index:
        found = clustered(index, 2, where=Where(sql="id < 90"))
        with pytest.raises(ConfigError, match="91 clusters of 90 items"):
            clustered(index, 91, where=Where(sql="id < 90"))
    assert found.ids.tolist() == list(range(90))
    assert found.sizes.tolist() == [50, 40]


def test_the_silhouette_in_plain_loops() -> None:
    vectors, centres = blobs([20, 20, 20], spread=0.8), blobs([1, 1, 1], spread=0.0)
    total = 0.0
    for vector in vectors.astype(np.float64):
        near, next_one = sorted(1 - float(vector @ centre) for centre in centres.astype(np.float64))[:2]
        total += (next_one - near) / max(near, next_one)
    assert silhouette(vectors, centres) == pytest.approx(total / 60, abs=1e-6)
    with pytest.raises(ConfigError, match="two at least"):
        silhouette(vectors, centres[:1])


def test_numbers_beside_the_best_are_tried_too() -> None:
    tried = silhouettes(blobs([60] * 7, spread=0.3))
    assert {2, 3, 4, 6, 8, 11, 16, 23, 32} <= set(tried)
    assert 7 in tried
    assert max(tried, key=lambda count: tried[count]) == 7


def test_purity_and_mutual_information_by_definition() -> None:
    generator = np.random.default_rng(4)
    of, labels = generator.integers(0, 4, 200), generator.integers(0, 3, 200)
    labels[:120] = of[:120] % 3
    pairs = Counter(zip(of.tolist(), labels.tolist(), strict=True))
    assert purity(of, labels) == sum(max(pairs[c, k] for k in range(3)) for c in range(4)) / 200
    a, b = Counter(of.tolist()), Counter(labels.tolist())
    mutual = sum(n / 200 * math.log(200 * n / (a[c] * b[k])) for (c, k), n in pairs.items())
    entropy = sum(-n / 200 * math.log(n / 200) for counts in (a, b) for n in counts.values())
    assert mutual_information(of, labels) == pytest.approx(mutual / (entropy / 2), rel=1e-5)
    assert mutual_information(of, labels) == pytest.approx(normalized_mutual_info_score(labels, of), rel=1e-5)


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with index_of(tmp_path / "index", VECTORS) as index:
        clustered(index, 3, progress=lambda done, total: told.append((done, total)))
    assert told == [(155, 155)]
    assert neighbours.BLOCK >= 155
