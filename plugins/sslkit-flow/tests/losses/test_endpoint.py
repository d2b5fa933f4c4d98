"""Distances of vectors: right, with a gradient that is finite at equality, blind to what is not known."""

from __future__ import annotations

import math

import pytest
import torch
from kornia.metrics import aepe

from sslkit.contracts import FlowField
from sslkit_flow.losses.endpoint import endpoint_error, mean_where, stacked


def test_it_is_the_distance_and_its_mean_is_kornias() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 3, 2, 5, 4, generator=generator)
    found = endpoint_error(one, other)
    assert found.shape == (3, 5, 4)
    x, y = (one - other)[1, :, 2, 3].tolist()
    assert float(found[1, 2, 3]) == pytest.approx(math.hypot(x, y))
    assert float(found.mean()) == pytest.approx(float(aepe(one.movedim(1, -1), other.movedim(1, -1))))


def test_its_gradient_at_equality_is_zero() -> None:
    vectors = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    endpoint_error(vectors, vectors.detach().clone()).sum().backward()
    assert vectors.grad is not None
    assert torch.equal(vectors.grad, torch.zeros_like(vectors))


def test_the_mean_is_of_what_is_known_whatever_else_there_is() -> None:
    values = torch.tensor([1.0, math.inf, 3.0, math.nan], requires_grad=True)
    mean = mean_where(values, torch.tensor([True, False, True, False]))
    mean.backward()
    assert float(mean.detach()) == 2.0
    assert values.grad is not None
    assert values.grad.tolist() == [0.5, 0, 0.5, 0]


def test_of_nothing_it_is_zero_with_a_gradient() -> None:
    values = torch.ones(3, requires_grad=True)
    mean = mean_where(values, torch.zeros(3, dtype=torch.bool))
    mean.backward()
    assert float(mean.detach()) == 0
    assert values.grad is not None
    assert values.grad.tolist() == [0, 0, 0]


def test_targets_are_stacked_with_what_is_known_of_them() -> None:
    odd = torch.ones(2, 2, 2)
    odd[0, 0, 1] = math.nan
    fields = [FlowField(torch.ones(2, 2, 2), torch.tensor([[True, False], [True, True]])), FlowField(odd)]
    vectors, known = stacked(fields, torch.device("cpu"))
    assert known.tolist() == [[[True, False], [True, True]], [[True, False], [True, True]]]
    assert bool(vectors.isfinite().all())
    assert vectors[:, :, 0, 1].tolist() == [[0, 0], [0, 0]]
    assert fields[0].valid is not None
    assert not bool(fields[0].valid[0, 1])
