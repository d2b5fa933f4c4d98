"""Health figures on representations whose answer is known."""

import math

import pytest
import torch

from sslkit.training.health import alignment, embedding_std, gradient_norm, rankme, uniformity


def test_spread_rows_have_std_near_one_and_collapsed_rows_zero() -> None:
    torch.manual_seed(0)
    assert embedding_std(torch.randn(2000, 64)) == pytest.approx(1.0, abs=0.02)
    assert embedding_std(torch.ones(50, 64)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_rankme_counts_equal_directions(rank) -> None:
    rows = torch.zeros(64, 32)
    for row in range(64):
        rows[row, row % rank] = 1.0
    assert rankme(rows) == pytest.approx(rank, rel=1e-3)


def test_rankme_is_the_entropy_of_the_singular_values() -> None:
    torch.manual_seed(0)
    rows = torch.randn(20, 6, dtype=torch.float64)
    singular = torch.linalg.svd(rows).S.tolist()
    shares = [value / sum(singular) + 1e-7 for value in singular]
    assert rankme(rows) == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)), rel=1e-9)


def test_alignment_is_zero_for_equal_views_and_four_for_opposite_ones() -> None:
    rows = torch.randn(5, 8)
    assert float(alignment(rows, 3 * rows)) == pytest.approx(0.0, abs=1e-6)
    assert float(alignment(rows, -rows)) == pytest.approx(4.0, abs=1e-5)


def test_uniformity_is_the_log_mean_potential() -> None:
    torch.manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(6, 3), dim=1).tolist()
    potentials = [
        math.exp(-2 * sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))
        for i, a in enumerate(rows)
        for j, b in enumerate(rows)
        if i != j
    ]
    expected = math.log(sum(potentials) / len(potentials))
    assert float(uniformity(torch.tensor(rows))) == pytest.approx(expected, rel=1e-5)


def test_gradient_norm_is_over_all_parameters() -> None:
    first, second, without = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
    first.grad, second.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert float(gradient_norm([first, second, without])) == pytest.approx(5.0)
