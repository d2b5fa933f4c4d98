"""What of stored displacements is known."""

from __future__ import annotations

import numpy as np
import pytest

from sslkit.errors import DataError
from sslkit_flow.formats.known import known


def test_huge_displacements_are_not_valid_and_become_zero() -> None:
    vectors = np.array([[[1, 2], [1e10, 0], [0, -2e9], [1e9, 3]]], np.float32)
    found = known(vectors)
    assert found.valid is not None
    assert found.valid.tolist() == [[True, False, False, True]]
    assert found.vectors[:, 0, 1:3].tolist() == [[0, 0], [0, 0]]


def test_nan_where_nothing_is_valid_is_no_fault() -> None:
    vectors = np.array([[[1, 2], [np.nan, np.inf]]], np.float32)
    found = known(vectors, np.array([[True, False]]))
    assert found.vectors.tolist() == [[[1, 0]], [[2, 0]]]
    with pytest.raises(DataError, match=r"holds 1 vectors .* row 0, column 1"):
        known(vectors)


def test_the_field_does_not_share_memory_with_what_was_stored() -> None:
    vectors = np.ones((2, 2, 2), np.float32)
    found = known(vectors)
    vectors[:] = 5
    assert found.vectors.max() == 1
