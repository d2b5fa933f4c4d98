"""Embeddings on the unit sphere."""

from __future__ import annotations

import pytest
import torch

from sslkit.errors import DataError
from sslkit.evaluation.unit_rows import unit_rows


def test_rows_have_length_one_and_centred_ones_are_about_their_mean() -> None:
    rows = torch.tensor([[3.0, 4.0], [5.0, 4.0]])
    torch.testing.assert_close(unit_rows(rows)[0], torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(unit_rows(rows, centre=True), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]))
    assert unit_rows(torch.zeros(2, 3)).abs().max() == 0


def test_what_is_no_embedding_is_refused() -> None:
    with pytest.raises(DataError, match=r"the shape \(3,\); \(N, D\) is needed"):
        unit_rows(torch.ones(3))
    with pytest.raises(DataError, match="1 of 1 embeddings are not finite"):
        unit_rows(torch.tensor([[1.0, torch.nan]]))
