"""Figures of classifiers against torchmetrics, however the samples were shared out."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_accuracy, multilabel_average_precision

from sslkit.contracts import ClassLabel, ClassSet
from sslkit.evaluation.heads.class_figures import ClassMetric
from sslkit.evaluation.heads.set_figures import SetMetric

NAMES = tuple(f"class {k}" for k in range(9))
DRAW = torch.Generator().manual_seed(3)
SCORES = torch.rand(60, 9, generator=DRAW)
LABELS = torch.randint(0, 8, (60,), generator=DRAW)  # none of the last class
PRESENT = torch.rand(60, 9, generator=DRAW) < 0.3
PRESENT[:, 8] = False


def of_classes(rows: Sequence[int], ids: Sequence[int] | None = None) -> ClassMetric:
    metric = ClassMetric(NAMES)
    metric.update(
        ids or rows,
        [ClassLabel(int(SCORES[row].argmax()), SCORES[row]) for row in rows],
        [ClassLabel(int(LABELS[row])) for row in rows],
    )
    return metric


def of_sets(
    rows: Sequence[int], ids: Sequence[int] | None = None, scores: torch.Tensor = SCORES
) -> SetMetric:
    metric = SetMetric(NAMES)
    metric.update(
        ids or rows,
        [ClassSet(scores[row] > 0.5, scores[row]) for row in rows],
        [ClassSet(PRESENT[row]) for row in rows],
    )
    return metric


def test_accuracy_is_torchmetrics() -> None:
    found = of_classes(range(60)).compute()
    for name, top in (("top1", 1), ("top5", 5)):
        expected = multiclass_accuracy(SCORES, LABELS, num_classes=9, top_k=top, average="micro")
        assert found.figures[name] == pytest.approx(float(expected))
    each = multiclass_accuracy(SCORES, LABELS, num_classes=9, average=None)
    assert found.per_class == pytest.approx(dict(zip(NAMES[:8], each.tolist(), strict=False)))
    assert found.figures["mean_class"] == pytest.approx(float(each[:8].mean()))


@pytest.mark.parametrize("tied", [False, True])
def test_average_precision_is_torchmetrics(tied: bool) -> None:
    scores = (SCORES * 5).round() / 5 if tied else SCORES
    found = of_sets(range(60), scores=scores).compute()
    each = multilabel_average_precision(scores[:, :8], PRESENT[:, :8].long(), num_labels=8, average=None)
    assert found.per_class == pytest.approx(dict(zip(NAMES[:8], each.tolist(), strict=True)), rel=1e-5)
    assert found.figures["map"] == pytest.approx(float(each.mean()), rel=1e-5)


@pytest.mark.parametrize("of", [of_classes, of_sets])
def test_shares_of_ranks_make_the_figures_of_the_whole(of: Any) -> None:
    first, *others = (
        pickle.loads(pickle.dumps(of(part))) for part in (range(7), range(30, 60), range(7, 30))
    )
    for other in others:
        first.merge(other)
    assert first.compute() == of(range(60)).compute()


@pytest.mark.parametrize("of", [of_classes, of_sets])
def test_what_was_judged_can_be_resampled(of: Any) -> None:
    rows, judged = [0, 0, 5, 59, 7, 7, 7], of(range(60)).judged()
    assert judged.count == 60
    again = of(rows, ids=range(len(rows))).compute()
    assert judged.figures(np.array(rows)).figures == pytest.approx(again.figures)


def test_without_a_sample_figures_are_not_numbers() -> None:
    for metric in (ClassMetric(NAMES), SetMetric(NAMES)):
        found = metric.compute()
        assert all(math.isnan(value) for value in found.figures.values())
        assert not found.per_class
    assert set(SetMetric(NAMES).compute().figures) == set(of_sets(range(9)).compute().figures)
    assert set(ClassMetric(NAMES).compute().figures) == set(of_classes(range(9)).compute().figures)


def test_a_prediction_without_scores_is_sure() -> None:
    classes, sets = ClassMetric(NAMES), SetMetric(NAMES)
    classes.update([0, 1], [ClassLabel(8), ClassLabel(2)], [ClassLabel(8), ClassLabel(2)])
    sets.update(
        [0, 1], [ClassSet(PRESENT[0]), ClassSet(PRESENT[1])], [ClassSet(PRESENT[0]), ClassSet(PRESENT[1])]
    )
    assert classes.compute().figures["top1"] == 1
    assert sets.compute().figures["map"] == 1
