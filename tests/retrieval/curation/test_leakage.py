"""What of one set another one holds too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sslkit.errors import ArtifactError, ConfigError, DataError
from sslkit.retrieval.curation.leakage import leaks
from sslkit.retrieval.filters import Where
from tests.retrieval.curation.made_index import index_of, unit


def two_sets(shared: int) -> tuple[np.ndarray, np.ndarray]:
    """80 and 50 random vectors; the first of the second are nearly those from row 20 of the first."""
    generator = np.random.default_rng(1)
    one, other = unit(generator.standard_normal((80, 24))), unit(generator.standard_normal((50, 24)))
    other[:shared] = unit(one[20 : 20 + shared] + 0.01 * generator.standard_normal((shared, 24)))
    return one, other


def test_planted_leaks_are_found_and_no_others(tmp_path: Path) -> None:
    one, other = two_sets(7)
    with index_of(tmp_path / "a", one) as a, index_of(tmp_path / "b", other, ids=np.arange(50) + 1000) as b:
        found = leaks(a, b)
    assert sorted(found.ids[found.rows].tolist()) == list(range(20, 27))
    assert found.nearest[20:27].tolist() == list(range(1000, 1007))
    assert (np.diff(found.similarities[found.rows]) <= 1e-5).all()
    cosines = one.astype(np.float64) @ other.T.astype(np.float64)
    np.testing.assert_allclose(found.similarities, cosines.max(1), atol=1e-6)
    assert found.nearest.tolist() == (cosines.argmax(1) + 1000).tolist()
    assert (found.others, found.count(0.9), found.count(-1)) == (50, 7, 80)


def test_two_parts_of_one_index(tmp_path: Path) -> None:
    one, other = two_sets(4)
    names = [f"train/{row}" for row in range(80)] + [f"test/{row}" for row in range(50)]
    with index_of(tmp_path / "index", np.concatenate([one, other]), names=names) as index:
        found = leaks(index, index, where=Where(path="train/*"), other_where=Where(path="test/*"))
        assert sorted(found.ids[found.rows].tolist()) == [20, 21, 22, 23]
        assert found.nearest[20:24].tolist() == [80, 81, 82, 83]
        with pytest.raises(ConfigError, match="50 items are in both parts"):
            leaks(index, index, other_where=Where(path="test/*"))


def test_copies_count_at_a_threshold_of_one(tmp_path: Path) -> None:
    one, _ = two_sets(0)
    with index_of(tmp_path / "a", one) as a, index_of(tmp_path / "b", one[30:35]) as b:
        assert leaks(a, b, threshold=1.0).rows.tolist() == [30, 31, 32, 33, 34]


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    one, other = two_sets(0)
    with index_of(tmp_path / "a", one) as a, index_of(tmp_path / "b", other, model="fff") as b:
        with pytest.raises(ArtifactError, match=r"abc123 and .* by fff"):
            leaks(a, b)
        with pytest.raises(ConfigError, match="-1 to 1"):
            leaks(a, b, threshold=2)
        with pytest.raises(DataError, match="means no item"):
            leaks(a, a, where=Where(sql="id < 5"), other_where=Where(sql="id > 500"))
