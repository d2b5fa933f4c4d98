"""Figures against torchmetrics and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy

from sslkit.errors import DataError
from sslkit.evaluation.metrics import figures, rank_classes, score, top_share


@pytest.mark.parametrize("classes", [6, 20])
def test_figures_equal_torchmetrics(classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(200, classes, generator=generator)
    labels = torch.randint(0, classes, (200,), generator=generator)
    found = figures(rank_classes(scores), labels, classes)
    for k, value in ((1, found.top1), (5, found.top5)):
        expected = multiclass_accuracy(scores, labels, classes, average="micro", top_k=k)
        assert value == pytest.approx(float(expected))
    expected = multiclass_accuracy(scores, labels, classes, average="none")
    torch.testing.assert_close(found.per_class.float(), expected)
    assert found.mean_class == pytest.approx(float(expected.mean()))


def test_the_confusion_matrix_has_true_classes_as_rows() -> None:
    ranking = torch.tensor([[0], [1], [1], [2]])
    found = figures(ranking, torch.tensor([0, 0, 1, 1]), 3)
    assert found.confusion.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_equal_scores_rank_by_class_number() -> None:
    assert rank_classes(torch.zeros(1, 7)).tolist() == [[0, 1, 2, 3, 4]]
    assert rank_classes(torch.tensor([[0.0, 2.0, 2.0]])).tolist() == [[1, 2, 0]]


def test_top5_of_fewer_than_five_classes_is_one() -> None:
    ranking = rank_classes(torch.randn(30, 3, generator=torch.Generator().manual_seed(0)))
    assert top_share(ranking, torch.arange(30) % 3, 5) == 1.0


def test_a_class_without_samples_has_no_share_and_no_row() -> None:
    found = figures(torch.tensor([[0], [1]]), torch.tensor([0, 0]), 2)
    assert math.isnan(found.per_class[1])
    assert found.mean_class == 0.5
    row = score("mine", torch.tensor([[0], [1]]), torch.tensor([0, 0]), ["cat", "dog"])
    assert row.per_class == {"cat": 0.5}
    assert row.figures == {"top1": 0.5, "top5": 0.5, "mean_class": 0.5}


@pytest.mark.parametrize("labels", [[0, -1], [0, 3], [0], []])
def test_unknown_labels_and_wrong_counts_are_refused(labels: list[int]) -> None:
    with pytest.raises(DataError, match="labels"):
        figures(torch.zeros(2, 1, dtype=torch.int64), torch.tensor(labels, dtype=torch.int64), 3)
