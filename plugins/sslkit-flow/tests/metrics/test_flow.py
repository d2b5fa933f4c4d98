"""Figures of flow against kornia, by hand, and to the last digit in any order."""

from __future__ import annotations

import itertools
import math
import pickle

import pytest
import torch
from kornia.metrics import aepe

from sslkit.contracts import FlowField
from sslkit.errors import DataError
from sslkit_flow.metrics.flow import FlowMetric


def fields(count: int, *, dense: bool = False) -> tuple[list[FlowField], list[FlowField]]:
    generator = torch.Generator().manual_seed(0)
    predictions, targets = [], []
    for place in range(count):
        size = (5 + place, 7)
        truth = 20 * torch.randn(2, *size, generator=generator)
        valid = None if dense else torch.rand(size, generator=generator) < 0.7
        predictions.append(FlowField(truth + 2 * torch.randn(2, *size, generator=generator)))
        targets.append(FlowField(truth, valid))
    return predictions, targets


def judged(predictions: list[FlowField], targets: list[FlowField]) -> FlowMetric:
    metric = FlowMetric()
    metric.update(range(len(targets)), predictions, targets)
    return metric


def flat(*vectors: tuple[float, float]) -> torch.Tensor:
    """(2, 1, W) of vectors (x, y)."""
    return torch.tensor(vectors).T[:, None]


def test_dense_endpoint_error_is_kornias_over_all_pixels() -> None:
    predictions, targets = fields(3, dense=True)
    guess, true = (
        torch.cat([f.vectors.flatten(1) for f in side], dim=1).T for side in (predictions, targets)
    )
    found = judged(predictions, targets).compute().figures
    assert found["epe"] == pytest.approx(float(aepe(guess, true)), rel=1e-6)
    assert found["zero_epe"] == pytest.approx(float(aepe(torch.zeros_like(true), true)), rel=1e-6)


def test_five_pixels_by_hand() -> None:
    true = FlowField(flat((3, 4), (30, 40), (30, 40), (0, 0), (9, 9)))
    guess = FlowField(flat((3, 4), (30, 42), (30, 44), (0, 3.5), (0, 0)))
    true = FlowField(true.vectors, torch.tensor([[True, True, True, True, False]]))
    found = judged([guess], [true]).compute().figures
    errors, lengths = [0, 2, 4, 3.5], [5, 50, 50, 0]
    assert found["epe"] == pytest.approx(sum(errors) / 4)
    assert found["px1"] == 1 / 4
    assert found["px3"] == 2 / 4
    assert found["Fl-all"] == 2 / 4  # 4 is more than 5 % of 50; 3.5 more than 5 % of 0
    assert found["s0-10"] == pytest.approx((0 + 3.5) / 2)
    assert math.isnan(found["s10-40"])
    assert found["s40+"] == pytest.approx((2 + 4) / 2)
    assert found["zero_epe"] == pytest.approx(sum(lengths) / 4)


def test_an_error_within_5_percent_is_no_outlier() -> None:
    true, guess = FlowField(flat((100, 0))), FlowField(flat((104, 0)))
    found = judged([guess], [true]).compute().figures
    assert (found["px3"], found["Fl-all"]) == (0, 0)


def test_it_is_not_the_mean_over_pairs() -> None:
    small, large = FlowField(torch.zeros(2, 1, 1)), FlowField(torch.zeros(2, 3, 3))
    off = FlowField(torch.tensor([8.0, 6.0]).view(2, 1, 1))
    assert judged([off, large], [small, large]).compute().figures["epe"] == pytest.approx(1)


def test_parts_merged_in_any_order_are_the_whole_exactly() -> None:
    predictions, targets = fields(4)
    whole = judged(predictions, targets).compute()
    parts = [judged([one], [other]) for one, other in zip(predictions, targets, strict=True)]
    for order in itertools.permutations(range(4)):
        total = FlowMetric()
        for place in order:
            total.merge(pickle.loads(pickle.dumps(parts[place])))
        assert total.compute() == whole


def test_without_any_pixel_the_figures_are_not_a_number() -> None:
    nothing = FlowField(torch.zeros(2, 2, 2), torch.zeros(2, 2, dtype=torch.bool))
    for metric in (FlowMetric(), judged([FlowField(torch.zeros(2, 2, 2))], [nothing])):
        assert all(math.isnan(value) for value in metric.compute().figures.values())


def test_what_cannot_be_judged_is_refused_by_name() -> None:
    small, large = FlowField(torch.zeros(2, 2, 2)), FlowField(torch.zeros(2, 3, 2))
    with pytest.raises(DataError, match=r"sample 0: the prediction has vectors \(2, 2, 2\)"):
        judged([small], [large])
    with pytest.raises(DataError, match="sample 0: the prediction has vectors that are no finite numbers"):
        judged([FlowField(torch.full((2, 2, 2), math.nan))], [small])


def test_true_vectors_that_are_no_numbers_are_not_judged() -> None:
    true = FlowField(flat((math.nan, 0), (3, 4)))
    assert judged([FlowField(flat((9, 9), (0, 0)))], [true]).compute().figures["epe"] == 5
