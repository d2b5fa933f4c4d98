"""Weights by the inverse density of distances on the sphere, and random numbers that belong to pairs."""

import math

import pytest
import torch
import torch.nn.functional as F

from sslkit.errors import ConfigError
from sslkit.mining.distance_weighted import log_weights
from sslkit.mining.keyed_pairs import pair_uniform


def slow_log_weight(distance: float, dim: int, cutoff: float = 0.5, longest: float = 1.4) -> float:
    """Wu et al. 2017, section 4: the logarithm of 1 / q(d), one distance at a time in Python floats."""
    if distance > longest:
        return -math.inf
    d = max(distance, cutoff)
    return -((dim - 2) * math.log(d) + (dim - 3) / 2 * math.log(1 - d * d / 4))


@pytest.mark.parametrize("dim", [2, 3, 4, 16, 128, 512])
@pytest.mark.parametrize("bounds", [(0.5, 1.4), (0.1, 1.9)])
def test_log_weights_are_the_paper(dim, bounds) -> None:
    cutoff, longest = bounds
    distances = torch.linspace(0, 2, 41, dtype=torch.float64)
    ours = log_weights(distances, dim, cutoff=cutoff, longest=longest)
    assert ours.tolist() == pytest.approx(
        [slow_log_weight(d, dim, cutoff, longest) for d in distances.tolist()], rel=1e-12
    )


@pytest.mark.parametrize("dim", [2, 3, 16, 128, 512])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_weights_are_finite_within_bounds_in_few_and_many_dimensions(dim, kind) -> None:
    distances = torch.tensor([0.0, 1e-20, 0.3, 0.5, 1.0, 1.39], dtype=kind)
    weights = log_weights(distances, dim)
    assert weights.dtype == torch.float32
    assert weights.isfinite().all()
    assert torch.softmax(weights, dim=0).isfinite().all()


def test_what_is_beyond_the_longest_distance_or_no_number_is_never_drawn() -> None:
    weights = log_weights(torch.tensor([1.41, 2.0, 2.0001, math.nan, math.inf]), 512)
    assert weights.tolist() == [-math.inf] * 5


def test_distances_below_the_cutoff_weigh_what_the_cutoff_does() -> None:
    weights = log_weights(torch.tensor([0.0, 0.2, 0.5, 0.51]), 64)
    assert weights[0] == weights[1] == weights[2]
    assert weights[2] > weights[3]


@pytest.mark.parametrize("dim", [3, 4, 8])
def test_draws_among_uniform_rows_have_a_flat_histogram_of_distances(dim) -> None:
    generator = torch.Generator().manual_seed(dim)
    rows = F.normalize(torch.randn(2000, dim, generator=generator, dtype=torch.float64), dim=1)
    distances = (2 - 2 * rows @ rows.T).clamp(min=0).sqrt().fill_diagonal_(2.0)
    weights = log_weights(distances, dim)
    gumbel = -torch.log(-torch.log(torch.rand(distances.shape, generator=generator, dtype=torch.float64)))
    drawn = distances.gather(1, (weights + gumbel).argmax(1, keepdim=True)).squeeze(1)
    within = drawn[drawn >= 0.5]
    counts = torch.histc(within.float(), bins=6, min=0.5, max=1.4) / len(within)
    assert ((counts - 1 / 6).abs() < 0.035).all(), counts  # 1600 or more draws: 3.5 standard deviations
    usual = distances[distances < 2.0]
    share = ((usual > 0.5) & (usual < 0.65)).double().mean() / ((usual > 0.5) & (usual < 1.4)).double().mean()
    assert share < 0.12  # without the weights near pairs are rare


def test_one_near_duplicate_pair_leaves_the_draws_of_other_anchors_alone() -> None:
    distances = torch.full((3, 3), 1.2)
    chances = torch.softmax(log_weights(distances, 128), dim=1)
    distances[0, 1] = 0.0
    changed = torch.softmax(log_weights(distances, 128), dim=1)
    assert changed[0, 1] > 0.99
    torch.testing.assert_close(changed[1:], chances[1:])


@pytest.mark.parametrize(("dim", "bounds"), [(1, {}), (8, {"cutoff": 0.0}), (8, {"longest": 2.0})])
def test_bounds_off_the_sphere_are_refused(dim, bounds) -> None:
    with pytest.raises(ConfigError, match="distance-weighted"):
        log_weights(torch.ones(1), dim, **bounds)


def test_a_cutoff_above_the_longest_distance_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cutoff=1\.5"):
        log_weights(torch.ones(1), 8, cutoff=1.5, longest=1.4)


def test_a_pairs_number_is_its_own_whatever_the_batch() -> None:
    first, second = torch.tensor([7, 3, 100]), torch.tensor([3, 9, 7, 2**40])
    numbers = pair_uniform(first, second, step=5, seed=1)
    assert numbers.shape == (3, 4)
    order, other = torch.tensor([2, 0]), torch.tensor([3, 1, 0])
    part = pair_uniform(first[order], second[other], step=5, seed=1)
    assert torch.equal(part, numbers[order][:, other])
    assert torch.equal(pair_uniform(first, second, step=torch.tensor(5), seed=1), numbers)


def test_step_seed_order_of_the_pair_and_purpose_each_give_other_numbers() -> None:
    ids = torch.arange(20)
    numbers = pair_uniform(ids, ids, step=0, seed=0)
    others = [
        pair_uniform(ids, ids, step=1, seed=0),
        pair_uniform(ids, ids, step=0, seed=1),
        pair_uniform(ids, ids, step=0, seed=0, draw="second"),
    ]
    for other in others:
        assert (other != numbers).float().mean() > 0.99
    assert (numbers != numbers.T)[~torch.eye(20, dtype=torch.bool)].float().mean() > 0.99


def test_pair_numbers_are_uniform() -> None:
    ids = torch.arange(200)
    numbers = pair_uniform(ids, ids, step=0, seed=0)
    assert ((numbers >= 0) & (numbers < 1)).all()
    shares = torch.histc(numbers, bins=10, min=0, max=1) / numbers.numel()
    assert ((shares - 0.1).abs() < 0.006).all()  # 4 standard deviations
    assert (
        abs(float(torch.corrcoef(torch.stack([numbers[:, :-1].flatten(), numbers[:, 1:].flatten()]))[0, 1]))
        < 0.02
    )
