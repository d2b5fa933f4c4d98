"""A part of a source is a source."""

import numpy as np
import pytest

from sslkit.data.sources.shapes import ShapesSource
from sslkit.data.subset import Subset
from sslkit.testing.source_kit import check_source


def test_a_subset_is_a_source_with_the_samples_asked_for() -> None:
    whole = ShapesSource(count=40)
    part = Subset(whole, np.array([7, 3, 30]))
    check_source(part)
    assert [part[i].name for i in range(3)] == [whole[i].name for i in (7, 3, 30)]
    assert part.labels.tolist() == [7, 3, 0]
    assert np.array_equal(part.read_many(np.array([1])), whole.read_many(np.array([3])))


def test_other_samples_or_another_source_give_another_fingerprint() -> None:
    whole = ShapesSource(count=40)
    prints = {
        Subset(whole, np.array([1, 2])).fingerprint,
        Subset(whole, np.array([2, 1])).fingerprint,
        Subset(ShapesSource(count=40, seed=1), np.array([1, 2])).fingerprint,
        whole.fingerprint,
    }
    assert len(prints) == 4


def test_an_id_outside_is_refused() -> None:
    with pytest.raises(IndexError, match=r"0\.\.1"):
        Subset(ShapesSource(count=40), np.array([1, 2]))[2]
