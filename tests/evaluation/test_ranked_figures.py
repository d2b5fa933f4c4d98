"""Figures of ranked lists against plain loops, `retrieval_values` and pytorch-metric-learning."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sslkit.evaluation.ranked_figures import ranked_values
from sslkit.evaluation.retrieval_figures import retrieval_values
from sslkit.evaluation.unit_rows import unit_rows


def slow(hits: list[bool], relevant: int, ks: list[int]) -> dict[str, float]:
    """The definitions for one query."""
    names = [*(f"recall@{k}" for k in ks), "map_at_r", "r_precision", "mrr"]
    if not relevant:
        return dict.fromkeys(names, math.nan)
    average, seen = 0.0, 0
    for rank, hit in enumerate(hits[:relevant], start=1):
        if hit:
            seen += 1
            average += seen / rank
    mrr = 1 / (hits.index(True) + 1) if True in hits else 0.0
    recalls = [1.0 if True in hits[:k] else 0.0 for k in ks]
    return dict(zip(names, [*recalls, average / relevant, seen / relevant, mrr], strict=True))


@pytest.mark.parametrize("length", [1, 4, 12])
def test_values_equal_plain_loops(length: int) -> None:
    random = np.random.default_rng(length)
    hits = random.random((60, length)) < random.random((60, 1)) ** 2
    relevant = hits.sum(axis=1) + random.integers(0, 4, 60)
    values = ranked_values(hits, relevant, [1, 3, 10])
    for query in range(60):
        expected = slow(hits[query].tolist(), int(relevant[query]), [1, 3, 10])
        found = {name: float(value[query]) for name, value in values.items()}
        assert list(found) == list(expected)
        assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


def ranked(rows: torch.Tensor, labels: torch.Tensor) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """All others in the order of their similarity, as hits of the query's class, and R."""
    order = (rows @ rows.T).fill_diagonal_(-9).argsort(dim=1, descending=True, stable=True)[:, :-1]
    return (labels[order] == labels[:, None]).numpy(), (torch.bincount(labels)[labels] - 1).numpy()


def test_whole_lists_give_the_figures_of_embeddings() -> None:
    random = torch.Generator().manual_seed(0)
    labels = (torch.rand(80, generator=random).square() * 7).long()
    labels[5] = 8  # alone in its class
    rows = unit_rows(torch.randn(9, 6, generator=random)[labels] + torch.randn(80, 6, generator=random))
    expected = retrieval_values(rows, labels, [1, 10])
    found = ranked_values(*ranked(rows, labels), [1, 10])
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values.numpy(), atol=1e-12, err_msg=name)


def test_figures_equal_those_of_pytorch_metric_learning() -> None:
    accuracy = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
    random = torch.Generator().manual_seed(1)
    labels = torch.arange(60) % 5
    rows = unit_rows(torch.randn(5, 6, generator=random)[labels] + torch.randn(60, 6, generator=random))
    names = ("mean_average_precision_at_r", "r_precision", "precision_at_1", "mean_reciprocal_rank")
    theirs = accuracy.AccuracyCalculator(include=names, k=30).get_accuracy(rows, labels)
    hits, relevant = ranked(rows, labels)
    values = ranked_values(hits[:, :30], relevant, [1])
    ours = [float(values[name].mean()) for name in ("map_at_r", "r_precision", "recall@1", "mrr")]
    assert ours == pytest.approx([theirs[name] for name in names], abs=1e-6)
