"""RAFT's loss against the published formula in plain loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sslkit_flow.losses.sequence import sequence_loss


def problem(count: int = 3) -> tuple[list[Tensor], Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    estimates = torch.randn(count, 2, 2, 4, 5, generator=generator, dtype=torch.float64)
    truth = 5 * torch.randn(2, 2, 4, 5, generator=generator, dtype=torch.float64)
    return [estimate.clone() for estimate in estimates], truth, torch.rand(2, 4, 5, generator=generator) < 0.7


@pytest.mark.parametrize("gamma", [0.8, 0.5, 1.0])
def test_it_is_equation_7_over_the_known_pixels(gamma: float) -> None:
    estimates, truth, known = problem()
    expected = 0.0
    for place, estimate in enumerate(estimates, start=1):
        total, count = 0.0, 0
        for n in range(2):
            for y in range(4):
                for x in range(5):
                    if known[n, y, x]:
                        total += float((estimate[n, :, y, x] - truth[n, :, y, x]).abs().sum())
                        count += 2
        expected += gamma ** (len(estimates) - place) * total / count
    assert float(sequence_loss(estimates, truth, known, gamma=gamma)) == pytest.approx(expected, rel=1e-12)


def test_the_defaults_are_the_papers() -> None:
    estimates, truth, known = problem()
    assert torch.equal(
        sequence_loss(estimates, truth, known),
        sequence_loss(estimates, truth, known, gamma=0.8, max_flow=400),
    )


def test_dense_truth_is_the_published_code() -> None:
    estimates, truth, known = problem()
    dense = torch.ones_like(known)
    expected = sum(
        0.8 ** (2 - place) * (estimate - truth).abs().mean() for place, estimate in enumerate(estimates)
    )
    torch.testing.assert_close(sequence_loss(estimates, truth, dense), torch.as_tensor(expected))


def test_what_moves_too_far_does_not_count() -> None:
    estimates, truth, known = problem()
    far = truth.clone()
    far[:, :, 0, 0] = 300.0  # 424 pixels
    less = known.clone()
    less[:, 0, 0] = False
    assert torch.equal(sequence_loss(estimates, far, known), sequence_loss(estimates, far, less))
    known[:, 0, 0] = True
    assert not torch.equal(
        sequence_loss(estimates, far, known, max_flow=500), sequence_loss(estimates, far, known)
    )


def test_of_nothing_known_it_is_zero_and_still_reaches_every_estimate() -> None:
    estimates, truth, known = problem()
    for estimate in estimates:
        estimate.requires_grad_()
    total = sequence_loss(estimates, truth, known & False)
    total.backward()
    assert float(total.detach()) == 0
    for estimate in estimates:
        assert estimate.grad is not None
        assert not bool(estimate.grad.any())
