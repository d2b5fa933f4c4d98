"""FlowNet's loss against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sslkit.errors import ModelError
from sslkit_flow.levels import FlowLevel
from sslkit_flow.losses.multi_scale import WEIGHTS, downsampled, multi_scale_epe


def problem(size: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor, list[FlowLevel]]:
    generator = torch.Generator().manual_seed(seed)
    truth = 10 * torch.randn(2, 2, *size, generator=generator, dtype=torch.float64)
    known = torch.rand(2, *size, generator=generator) < 0.6
    known[0, :4, :4] = False
    shapes = {stride: [math.ceil(side / stride) for side in size] for stride in (8, 4, 2)}
    levels = [
        FlowLevel(torch.randn(2, 2, *shape, generator=generator, dtype=torch.float64), stride)
        for stride, shape in shapes.items()
    ]
    return truth, known, levels


def by_loops(level: FlowLevel, truth: Tensor, known: Tensor) -> float:
    """The mean over cells of the distance to the mean of their known pixels."""
    stride, distances = level.stride, []
    for n in range(truth.shape[0]):
        for row in range(level.vectors.shape[2]):
            for column in range(level.vectors.shape[3]):
                inside = [
                    truth[n, :, y, x]
                    for y in range(stride * row, min(stride * (row + 1), truth.shape[2]))
                    for x in range(stride * column, min(stride * (column + 1), truth.shape[3]))
                    if known[n, y, x]
                ]
                if inside:
                    x, y = (level.vectors[n, :, row, column] - sum(inside) / len(inside)).tolist()
                    distances.append(math.hypot(x, y))
    return sum(distances) / len(distances)


@pytest.mark.parametrize("size", [(16, 24), (9, 13)])
def test_it_is_the_weighted_mean_of_plain_loops(size: tuple[int, int]) -> None:
    truth, known, levels = problem(size)
    terms = multi_scale_epe(levels, truth, known)
    assert list(terms) == ["epe_2", "epe_4", "epe_8"]
    for weight, level, term in zip(WEIGHTS, reversed(levels), terms.values(), strict=False):
        assert float(term) == pytest.approx(weight * by_loops(level, truth, known), rel=1e-9)


def test_the_weights_are_flownets_of_sums_as_those_of_means() -> None:
    published = (0.005, 0.01, 0.02, 0.08, 0.32)
    cells = [4.0**-place for place in range(5)]
    means = [weight * share / published[0] for weight, share in zip(published, cells, strict=True)]
    assert pytest.approx(means) == WEIGHTS


def test_vectors_keep_their_length_in_pixels_of_the_canvas() -> None:
    truth = torch.tensor([6.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    coarse, there = downsampled(truth, torch.ones(1, 8, 8, dtype=torch.bool), 4)
    assert bool(there.all())
    torch.testing.assert_close(coarse, truth[..., :2, :2])


def test_a_cell_that_knows_nothing_does_not_count() -> None:
    truth, known = torch.full((1, 2, 4, 4), 5.0), torch.zeros(1, 4, 4, dtype=torch.bool)
    known[0, 3, 0] = True
    coarse, there = downsampled(truth, known, 2)
    assert there.tolist() == [[[False, False], [True, False]]]
    assert coarse[0, :, 1, 0].tolist() == [5, 5]


def test_without_any_truth_it_is_zero_and_still_reaches_every_level() -> None:
    truth, known, levels = problem((8, 8))
    levels = [FlowLevel(level.vectors.requires_grad_(), level.stride) for level in levels]
    total = torch.stack(list(multi_scale_epe(levels, truth, known & False).values())).sum()
    total.backward()
    assert float(total.detach()) == 0
    for level in levels:
        assert level.vectors.grad is not None
        assert not bool(level.vectors.grad.any())


def test_levels_without_a_weight_are_refused() -> None:
    truth, known, levels = problem((8, 8))
    with pytest.raises(ModelError, match="6 levels of flow were given and 5 weights"):
        multi_scale_epe(levels * 2, truth, known)
