"""Retrieval figures against plain loops and pytorch-metric-learning."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sslkit.evaluation import retrieval_figures
from sslkit.evaluation.retrieval_figures import retrieval_values
from sslkit.evaluation.unit_rows import unit_rows


def samples(count: int, *, classes: int = 6, dim: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unit rows that know a little of their classes, which are of many sizes."""
    random = torch.Generator().manual_seed(seed)
    labels = (torch.rand(count, generator=random).square() * classes).long()
    centres = torch.randn(classes, dim, generator=random)
    return unit_rows(0.6 * centres[labels] + torch.randn(count, dim, generator=random)), labels


def slow(rows: Tensor, labels: Tensor, query: int, ks: list[int]) -> dict[str, float]:
    """Musgrave et al. 2020 for one query, in plain loops; of equal ones the earlier row is nearer."""
    similarities = (rows @ rows[query]).tolist()
    others = sorted((-value, row) for row, value in enumerate(similarities) if row != query)
    alike = [bool(labels[row] == labels[query]) for _, row in others]
    relevant = sum(alike)
    names = [*(f"recall@{k}" for k in ks), "map_at_r", "r_precision", "mrr"]
    if not relevant:
        return dict.fromkeys(names, math.nan)
    average, hits = 0.0, 0
    for rank, hit in enumerate(alike[:relevant], start=1):
        hits += hit
        average += hits / rank if hit else 0.0
    values = [float(any(alike[:k])) for k in ks]
    return dict(
        zip(names, [*values, average / relevant, hits / relevant, 1 / (alike.index(True) + 1)], strict=True)
    )


@pytest.fixture(params=[2**22, 300, 1], ids=["one block", "some rows a block", "one row a block"])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval_figures, "_BLOCK", request.param)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("seed", [0, 1])
def test_values_equal_plain_loops(seed: int) -> None:
    rows, labels = samples(50, seed=seed)
    labels[7] = 9  # alone in its class
    values = retrieval_values(rows, labels, [1, 3, 10])
    for query in range(50):
        for name, expected in slow(rows, labels, query, [1, 3, 10]).items():
            assert float(values[name][query]) == pytest.approx(expected, abs=1e-12, nan_ok=True), name


@pytest.mark.usefixtures("_blocks")
def test_of_equal_similarities_the_earlier_row_is_nearer() -> None:
    # Products of signs are whole, so the loop's similarities and the blocks' are equal to the bit.
    random = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 2, (40, 4), generator=random) * 2.0 - 1.0
    rows[3], rows[4] = 0.0, -0.0
    labels = torch.arange(40) % 5
    values = retrieval_values(rows, labels, [1, 5])
    for query in range(40):
        for name, expected in slow(rows, labels, query, [1, 5]).items():
            assert float(values[name][query]) == pytest.approx(expected, abs=1e-12), name


def test_a_negative_zero_is_no_less_than_zero() -> None:
    # Of a column of zeros: a product of signs, which is 0.0 or -0.0 as the numbers fall.
    keys = retrieval_figures._keys(torch.tensor([[-0.0, 0.0, -1.0, 1.0, -1e-30, 1e-30]]))
    assert keys.argsort(descending=True).tolist() == [[3, 5, 0, 1, 4, 2]]


def test_equal_embeddings_find_no_more_than_chance() -> None:
    labels = torch.arange(200) % 10
    values = retrieval_values(torch.ones(200, 1), labels, [1])
    assert float(values["recall@1"].mean()) == pytest.approx(0.1, abs=0.01)
    assert float(values["map_at_r"].mean()) < 0.1


def test_they_agree_with_pytorch_metric_learning() -> None:
    accuracy = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
    rows, labels = samples(120, classes=8)
    labels[3] = 11  # alone in its class; theirs does not count it either

    def nearest(query: Tensor, k: int, reference: Tensor, _: bool) -> tuple[Tensor, Tensor]:
        similarities = query @ reference.T
        similarities.fill_diagonal_(-torch.inf)
        return similarities.topk(k, dim=1)

    names = {
        "mean_average_precision_at_r": "map_at_r",
        "r_precision": "r_precision",
        "mean_reciprocal_rank": "mrr",
        "precision_at_1": "recall@1",
    }
    calculator = accuracy.AccuracyCalculator(include=tuple(names), k=119, knn_func=nearest)
    theirs = calculator.get_accuracy(rows, labels)
    mine = retrieval_values(rows, labels, [1])
    for name, ours in names.items():
        assert float(mine[ours].nanmean()) == pytest.approx(theirs[name], abs=1e-6), name


def test_the_order_of_samples_changes_nothing() -> None:
    rows, labels = samples(80)
    moved = torch.from_numpy(np.random.default_rng(0).permutation(80))
    one, other = retrieval_values(rows, labels, [1]), retrieval_values(rows[moved], labels[moved], [1])
    for name, value in one.items():
        assert torch.equal(value[moved].nan_to_num(-1), other[name].nan_to_num(-1)), name
