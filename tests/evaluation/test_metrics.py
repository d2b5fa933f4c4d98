"""Rankings, and what is refused before anything is judged."""

from __future__ import annotations

import pytest
import torch

from sslkit.errors import DataError
from sslkit.evaluation.metrics import check_finite, check_labels, rank_classes, top_share


def test_equal_scores_rank_by_class_number() -> None:
    assert rank_classes(torch.zeros(1, 7)).tolist() == [[0, 1, 2, 3, 4]]
    assert rank_classes(torch.tensor([[0.0, 2.0, 2.0]])).tolist() == [[1, 2, 0]]


def test_top5_of_fewer_than_five_classes_is_one() -> None:
    ranking = rank_classes(torch.randn(30, 3, generator=torch.Generator().manual_seed(0)))
    assert top_share(ranking, torch.arange(30) % 3, 5) == 1.0


@pytest.mark.parametrize("labels", [[0, -1], [0, 3], [0], []])
def test_unknown_labels_and_wrong_counts_are_refused(labels: list[int]) -> None:
    with pytest.raises(DataError, match="labels"):
        check_labels(torch.tensor(labels, dtype=torch.int64), 2, 3)


def test_embeddings_that_are_not_finite_are_counted_in_every_block() -> None:
    rows = torch.ones(9000, 2)
    check_finite(rows)
    rows[[3, 5000], [0, 1]] = torch.tensor([torch.nan, torch.inf])
    with pytest.raises(DataError, match="2 of 9000 embeddings are not finite"):
        check_finite(rows)
