"""Figures of several labels a sample against torchmetrics and against plain loops over resamples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multilabel_average_precision,
    multilabel_f1_score,
    multilabel_ranking_average_precision,
)

from sslkit.evaluation.class_sets_judged import AveragePrecision, JudgedSets

NAMES = [f"c{k}" for k in range(7)]


def scored(count: int, *, levels: int | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Scores in 0..1 that know a little of 7 classes, one of which nothing is of and one everything."""
    random = torch.Generator().manual_seed(seed)
    sets = torch.rand(count, 7, generator=random) < torch.tensor([0.02, 0.1, 0.3, 0.5, 0.8, 0.0, 1.0])
    scores = (0.4 * sets + torch.rand(count, 7, generator=random)) / 1.4
    return (scores if levels is None else (scores * levels).round() / levels), sets


def slow(scores: Tensor, present: Tensor) -> float:
    """Average precision of one class, one threshold after another."""
    found, before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        accepted = [bool(p) for s, p in zip(scores.tolist(), present, strict=True) if s >= threshold]
        recall = sum(accepted) / int(present.sum())
        found += (recall - before) * sum(accepted) / len(accepted)
        before = recall
    return found


@pytest.mark.parametrize("levels", [None, 10, 1])
def test_figures_equal_torchmetrics(levels: int | None) -> None:
    scores, sets = scored(300, levels=levels)
    found = JudgedSets(scores, sets, NAMES, threshold=0.5).figures()
    known = [0, 1, 2, 3, 4, 6]  # of class 5 is nothing, and torchmetrics warns
    asked = scores[:, known].double(), sets[:, known].long()
    theirs = multilabel_average_precision(*asked, num_labels=6, average=None)
    mine = torch.tensor(list(found.per_class.values()))
    assert list(found.per_class) == [NAMES[k] for k in known]
    torch.testing.assert_close(mine, theirs.float(), atol=1e-6, rtol=0)
    whole = multilabel_average_precision(*asked, num_labels=6, average="macro")
    assert found.figures["map"] == pytest.approx(float(whole), abs=1e-6)
    f1 = multilabel_f1_score(scores, sets.long(), num_labels=7, average="micro")
    assert found.figures["micro_f1"] == pytest.approx(float(f1), abs=1e-6)
    ranking = multilabel_ranking_average_precision(scores, sets.long(), num_labels=7)
    assert found.figures["lrap"] == pytest.approx(float(ranking), abs=1e-6)


@pytest.mark.parametrize("levels", [None, 4])
@pytest.mark.parametrize("seed", range(4))
def test_a_resample_is_judged_as_the_samples_it_holds(seed: int, levels: int | None) -> None:
    scores, sets = scored(40, levels=levels, seed=seed)
    rows = np.random.default_rng(seed).integers(0, 40, 40)
    found = JudgedSets(scores, sets, NAMES, threshold=0.5).figures(rows)
    held = JudgedSets(scores[rows], sets[rows], NAMES, threshold=0.5).figures()
    assert found.per_class.keys() == held.per_class.keys()
    for k, name in enumerate(NAMES):
        if sets[rows][:, k].any():
            assert found.per_class[name] == pytest.approx(slow(scores[rows][:, k], sets[rows][:, k]))
        else:
            assert name not in found.per_class
    for name, value in held.figures.items():
        assert found.figures[name] == pytest.approx(value, abs=1e-12), name


def test_equal_scores_are_worth_the_share_of_the_class_in_any_order() -> None:
    present = np.array([[True], [False], [False], [True]])
    for moved in ([0, 1, 2, 3], [1, 2, 0, 3]):
        assert AveragePrecision(np.zeros((4, 1)), present[moved]).of().tolist() == [0.5]


def test_samples_of_no_class_are_negatives_and_have_no_ranking() -> None:
    scores, sets = torch.tensor([[0.9, 0.1], [0.8, 0.2]]), torch.tensor([[False, False], [True, False]])
    found = JudgedSets(scores, sets, ["a", "b"], threshold=0.5).figures()
    assert found.figures == {"map": 0.5, "micro_f1": pytest.approx(2 / 3), "lrap": 1.0}
    assert found.per_class == {"a": 0.5}
    nothing = JudgedSets(scores, sets, ["a", "b"], threshold=0.95).figures(np.array([0, 0]))
    assert all(math.isnan(value) for value in nothing.figures.values())
    assert nothing.per_class == {}
