"""Distances against plain loops, near-duplicates against float64, and gradients where rows meet."""

from __future__ import annotations

import gc
import math
import weakref

import pytest
import torch
import torch.nn.functional as F

from sslkit.pairwise import distances as module
from sslkit.pairwise.distances import all_pairs, paired


def near_duplicates(gap: float, *, offset: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """40 unit rows and the same a little aside, all off the origin; above 25 cdist takes the product."""
    torch.manual_seed(0)
    rows = F.normalize(torch.randn(40, 64), dim=1) + offset
    return rows, rows + gap * F.normalize(torch.randn(40, 64), dim=1)


def exact(first, second) -> torch.Tensor:
    return torch.linalg.vector_norm(first.double()[:, None] - second.double()[None], dim=2)


@pytest.mark.parametrize(("rows", "others"), [(1, 1), (1, 7), (6, 3), (30, 40)])
@pytest.mark.parametrize("width", [1, 2, 16])
@pytest.mark.parametrize("squared", [True, False])
def test_all_pairs_are_those_of_the_loops(rows, others, width, squared) -> None:
    torch.manual_seed(rows)
    first = torch.randn(rows, width, dtype=torch.float64)
    second = torch.randn(others, width, dtype=torch.float64)
    ours = all_pairs(first, second, squared=squared)
    power = 2 if squared else 1
    slow = [[math.dist(a, b) ** power for b in second.tolist()] for a in first.tolist()]
    torch.testing.assert_close(ours, torch.tensor(slow, dtype=torch.float64), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("squared", [True, False])
def test_paired_rows_are_the_diagonal_and_are_broadcast(squared) -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 6, 4, dtype=torch.float64)
    every = all_pairs(first, second, squared=squared)
    torch.testing.assert_close(paired(first, second, squared=squared), every.diagonal())
    torch.testing.assert_close(paired(first[:, None], second[None], squared=squared), every)


@pytest.mark.parametrize("gap", [1e-6, 1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("offset", [0.0, 3.0])
@pytest.mark.parametrize("squared", [True, False])
def test_near_duplicates_keep_their_digits_in_single_precision(gap, offset, squared) -> None:
    first, second = near_duplicates(gap, offset=offset)
    expected = exact(first, second).pow(2 if squared else 1)
    ours = all_pairs(first, second, squared=squared).double()
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=0)


def test_the_matrix_product_of_the_framework_does_not_keep_them() -> None:
    """Why this file exists: the same rows through torch.cdist are off many times over."""
    first, second = near_duplicates(1e-4)
    error = (torch.cdist(first, second).diagonal().double() / exact(first, second).diagonal() - 1).abs()
    assert error.max() > 1


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("at_once", [2**22, 7])
def test_the_gradient_keeps_its_digits_too(squared, at_once, monkeypatch) -> None:
    """The second size cuts the close pairs into chunks of one."""
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    first, second = near_duplicates(1e-4)
    worth = torch.randn(40, 40)
    grads = []
    for kind in (torch.float32, torch.float64):
        rows, others = (part.to(kind, copy=True).requires_grad_() for part in (first, second))
        if kind == torch.float32:
            value = all_pairs(rows, others, squared=squared)
        else:
            value = exact(rows, others).pow(2 if squared else 1)
        (value * worth).sum().backward()
        grads.append((rows.grad.double(), others.grad.double()))
    for ours, expected in zip(*grads, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("squared", [True, False])
def test_the_gradient_is_the_numerical_one_of_far_and_of_close_pairs(squared) -> None:
    torch.manual_seed(0)
    first = torch.randn(4, 3, dtype=torch.float64)
    second = torch.cat([first[:2] + 1e-2 * torch.randn(2, 3), torch.randn(3, 3)])
    given = (first.requires_grad_(), second.double().requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: all_pairs(a, b, squared=squared), given, eps=1e-7, rtol=1e-4)


@pytest.mark.parametrize("compute", [all_pairs, paired])
@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_equal_rows_are_zero_apart_with_a_finite_gradient_under_autocast(compute, squared, kind) -> None:
    torch.manual_seed(0)
    rows = torch.randn(30, 8).to(kind)
    first, second = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        distances = compute(first, second, squared=squared)
    assert distances.dtype == torch.float32
    own = distances.diagonal() if compute is all_pairs else distances
    assert not own.any()
    own.sum().backward()
    assert not first.grad.any()
    assert not second.grad.any()


def test_half_precision_rows_are_compared_in_single() -> None:
    first, second = (rows.bfloat16() for rows in near_duplicates(0.05))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = all_pairs(first, second, squared=False)
    torch.testing.assert_close(ours.double(), exact(first, second), rtol=1e-4, atol=1e-7)


def test_a_batch_whose_rows_are_all_equal_is_all_zeros() -> None:
    rows = torch.full((30, 8), 0.3, requires_grad=True)
    distances = all_pairs(rows, rows, squared=False)
    distances.sum().backward()
    assert not distances.any()
    assert not rows.grad.any()


def test_a_broken_row_is_seen_in_its_own_pairs() -> None:
    rows = torch.randn(30, 8)
    rows[3, 2] = torch.nan
    assert all_pairs(rows, rows, squared=False)[3].isnan().all()


@pytest.mark.parametrize("squared", [True, False])
def test_the_graph_goes_with_its_last_reference(squared) -> None:
    """Not when a collector comes by: N x M numbers a step would pile up."""
    distances = all_pairs(torch.randn(30, 8, requires_grad=True), torch.randn(30, 8), squared=squared)
    gone = weakref.ref(distances)
    gc.disable()
    try:
        del distances
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_no_rows_have_no_distances(shape) -> None:
    assert all_pairs(torch.randn(shape[0], 3), torch.randn(shape[1], 3), squared=True).shape == shape
