"""The tiled log-sum-exp against the whole matrix in float64, its gradient, and shares of ranks."""

import tempfile
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.multiprocessing.spawn import spawn

from sslkit.pairwise.log_sum_exp import log_sum_exp


def whole(rows, groups, temperature):
    """The same from the matrix of all pairs; a row without any pair gets no gradient."""
    scores = (rows @ rows.T / temperature).masked_fill(groups[:, None] == groups, -torch.inf)
    alone = (scores == -torch.inf).all(1)
    return scores.masked_fill(alone[:, None], 0.0).logsumexp(1).masked_fill(alone, -torch.inf)


def unit_rows(count, width, *, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, generator=generator, dtype=torch.float64), dim=1).to(dtype)


def pulled(function, rows, pull, *arguments, **options):
    """Values and the gradient of their weighted sum."""
    rows = rows.clone().requires_grad_()
    values = function(rows, *arguments, **options)
    torch.where(values > -torch.inf, pull.to(values) * values, 0.0).sum().backward()
    return values.detach(), rows.grad


@pytest.mark.parametrize("count", [2, 7, 64, 129])
@pytest.mark.parametrize("tile", [None, 2, 33, 500])
@pytest.mark.parametrize("temperature", [0.0012, 0.05, 1.0])
def test_it_is_the_whole_matrix_whatever_the_tile(count, tile, temperature) -> None:
    rows, pull = unit_rows(count, 6, seed=count), torch.randn(count)
    groups = torch.arange(count) % max(2, count // 3)
    ours, ours_gradient = pulled(log_sum_exp, rows, pull, groups, temperature=temperature, tile=tile)
    expected, gradient = pulled(whole, rows, pull, groups, temperature)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours_gradient, gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("temperature", [0.005, 0.01, 0.019, 0.02, 0.1, 1.0])
@pytest.mark.parametrize("kind", ["random", "antipodal", "duplicates", "one far from all", "two far groups"])
def test_float32_is_exact_where_naive_sums_overflow_or_vanish(kind, temperature) -> None:
    rows, groups = unit_rows(200, 32), torch.arange(200) % 100
    if kind == "antipodal":
        rows[100:] = -rows[:100]
    elif kind == "duplicates":
        rows[:50] = rows[0]
    elif kind == "one far from all":  # its terms alone are exp(-1 / T), all others exp(1 / T)
        rows[1:] = rows[0]
        rows[0] = -rows[0]
    elif kind == "two far groups":
        rows[:] = F.normalize(rows[0] + 1e-3 * rows, dim=1)
        rows[::2] *= -1
        groups = torch.arange(200) // 2
    pull = torch.rand(200, generator=torch.Generator().manual_seed(1)) / 200
    single = rows.float()
    ours, ours_gradient = pulled(log_sum_exp, single, pull, groups, temperature=temperature, tile=64)
    exact, gradient = pulled(whole, single.double(), pull, groups, temperature)
    torch.testing.assert_close(ours.double(), exact, rtol=1e-6, atol=1e-6 / temperature)
    scale = float(gradient.abs().max())
    torch.testing.assert_close(ours_gradient.double(), gradient, rtol=1e-4, atol=2e-5 * scale)


@pytest.mark.parametrize("temperature", [0.01, 0.1])
def test_a_row_without_any_other_group_has_no_sum_and_no_gradient(temperature) -> None:
    rows = unit_rows(6, 4, dtype=torch.float32).requires_grad_()
    values = log_sum_exp(rows, torch.zeros(6, dtype=torch.int64), temperature=temperature, tile=4)
    assert (values == -torch.inf).all()
    values.exp().sum().backward()
    assert (rows.grad == 0.0).all()
    one = unit_rows(1, 4).requires_grad_()
    torch.logaddexp(
        log_sum_exp(one, torch.zeros(1, dtype=torch.int64), temperature=0.1), one.sum()
    ).backward()
    assert one.grad.isfinite().all()


@pytest.mark.parametrize("temperature", [0.02, 0.05])
def test_autocast_changes_nothing(temperature) -> None:
    rows, groups, pull = unit_rows(40, 16, dtype=torch.float32), torch.arange(40) // 2, torch.ones(40)
    plain = pulled(log_sum_exp, rows, pull, groups, temperature=temperature)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = pulled(log_sum_exp, rows, pull, groups, temperature=temperature)
    assert all(torch.equal(a, b) for a, b in zip(plain, cast, strict=True))


@pytest.mark.parametrize("temperature", [0.5, 0.001])
def test_the_gradients_of_rows_and_temperature_are_the_numerical_ones(temperature) -> None:
    rows = unit_rows(9, 3).requires_grad_()
    degrees = torch.tensor(temperature, dtype=torch.float64, requires_grad=True)
    groups = torch.tensor([5, 1, 1, -7, 5, 2, 2, 2, 9])
    pull = torch.linspace(-1.0, 2.0, 9, dtype=torch.float64)

    def scaled(rows, degrees):
        return pull * temperature * log_sum_exp(rows, groups, temperature=degrees, tile=4)

    # The step is small against the temperature, which is what the sums are curved by.
    assert torch.autograd.gradcheck(scaled, (rows, degrees), eps=1e-5 * temperature, atol=1e-5, rtol=1e-4)


def test_a_float32_temperature_parameter_keeps_its_own_type() -> None:
    temperature = torch.nn.Parameter(torch.tensor([0.2]))
    log_sum_exp(unit_rows(4, 3), torch.arange(4), temperature=temperature).sum().backward()
    assert temperature.grad.dtype == torch.float32
    assert temperature.grad.shape == (1,)


@pytest.mark.parametrize("count", [40, 1500])
def test_a_graph_that_is_kept_gives_the_same_gradient_again(count) -> None:
    rows = unit_rows(count, 4, dtype=torch.float32).requires_grad_()
    total = log_sum_exp(rows, torch.arange(count), temperature=0.1).sum()
    first, second = (torch.autograd.grad(total, rows, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_the_result_follows_the_rows_when_they_are_reordered() -> None:
    rows, groups = unit_rows(33, 8), torch.arange(33) // 4
    order = torch.randperm(33, generator=torch.Generator().manual_seed(0))
    straight = log_sum_exp(rows, groups, temperature=0.1, tile=8)
    shuffled = log_sum_exp(rows[order], groups[order], temperature=0.1, tile=8)
    torch.testing.assert_close(shuffled, straight[order], rtol=1e-13, atol=0)


def test_ranks_that_compute_in_shares_get_what_one_gets_alone() -> None:
    """31 rows on 3 ranks, at a temperature for each of the two ways to sum."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(_rank, args=(3, folder), nprocs=3)
        results = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(3)]
    alone = _shared()
    for result in results:
        for ours, expected, same in zip(result, alone, results[0], strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)
            assert torch.equal(ours, same)  # to the last bit on every rank


def _shared() -> list[torch.Tensor]:
    rows, groups = unit_rows(31, 5), torch.arange(31) % 11
    pull = torch.linspace(-1.0, 1.0, 31)
    results: list[torch.Tensor] = []
    for temperature in (0.1, 0.001):
        results += pulled(log_sum_exp, rows, pull, groups, temperature=temperature, tile=4, in_shares=True)
    # Fewer rows than ranks: some have nothing to compute.
    two = pulled(log_sum_exp, rows[:2], pull[:2], groups[:2], temperature=0.1, in_shares=True)
    return [*results, *two]


def _rank(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.save(_shared(), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()
