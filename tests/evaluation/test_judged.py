"""Figures of test samples and of resamples of them, against torchmetrics and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy

from sslkit.contracts import Judged
from sslkit.errors import DataError
from sslkit.evaluation.judged import PerSample, Ranked, class_means
from sslkit.evaluation.metrics import rank_classes


def scored(classes: int, count: int = 200) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(count, classes, generator=generator)
    return scores, torch.randint(0, classes, (count,), generator=generator)


@pytest.mark.parametrize("resampled", [False, True])
@pytest.mark.parametrize("classes", [3, 6, 20])
def test_figures_of_a_ranking_equal_torchmetrics(classes: int, resampled: bool) -> None:
    scores, labels = scored(classes)
    names = [str(k) for k in range(classes)]
    judged = Ranked(rank_classes(scores), labels, names)
    rows = np.random.default_rng(1).integers(0, 200, 200) if resampled else None
    found = judged.figures(rows)
    if rows is not None:
        scores, labels = scores[rows], labels[rows]
    for k, name in ((1, "top1"), (5, "top5")):
        expected = multiclass_accuracy(scores, labels, classes, average="micro", top_k=min(k, classes))
        assert found.figures[name] == pytest.approx(float(expected))
    expected = multiclass_accuracy(scores, labels, classes, average="none")
    assert list(found.per_class) == names
    torch.testing.assert_close(torch.tensor([*found.per_class.values()]), expected)
    assert found.figures["mean_class"] == pytest.approx(float(expected.mean()))


def test_a_class_without_samples_has_no_share_and_does_not_count() -> None:
    judged = Ranked(torch.tensor([[0], [1]]), torch.tensor([0, 0]), ["cat", "dog"])
    found = judged.figures()
    assert found.per_class == {"cat": 0.5}
    assert found.figures == {"top1": 0.5, "top5": 0.5, "mean_class": 0.5}
    assert judged.predicted.tolist() == [0, 1]
    assert judged.count == 2


def test_repeated_rows_count_as_often_as_they_come() -> None:
    judged = Ranked(torch.tensor([[0, 1], [1, 0], [1, 0]]), torch.tensor([0, 0, 1]), ["cat", "dog"])
    found = judged.figures(np.array([0, 0, 1, 2]))
    assert found.figures == {"top1": 0.75, "top5": 1.0, "mean_class": pytest.approx((2 / 3 + 1) / 2)}
    assert judged.figures(np.array([2, 2])).per_class == {"dog": 1.0}


@pytest.mark.parametrize("labels", [[0, -1], [0, 3], [0], []])
def test_unknown_labels_and_wrong_counts_are_refused(labels: list[int]) -> None:
    with pytest.raises(DataError, match="labels"):
        Ranked(torch.zeros(2, 1, dtype=torch.int64), torch.tensor(labels, dtype=torch.int64), ["a", "b", "c"])


def test_means_over_samples_leave_out_those_that_do_not_count() -> None:
    nan = math.nan
    judged = PerSample(
        {"share": torch.tensor([1.0, 0.0, nan, 0.5]), "other": torch.tensor([nan, nan, nan, 2.0])},
        groups=torch.tensor([0, 0, 1, 2]),
        classes=["cat", "dog", "cow"],
    )
    found = judged.figures()
    assert found.figures == {"share": 0.5, "other": 2.0}
    assert found.per_class == {"cat": 0.5, "cow": 0.5}  # of the first; the dog does not count
    again = judged.figures(np.array([0, 0, 1, 2]))
    assert again.figures["share"] == pytest.approx(2 / 3)
    assert math.isnan(again.figures["other"])
    assert again.per_class == {"cat": pytest.approx(2 / 3)}


def test_means_without_classes_and_of_samples_of_no_class() -> None:
    values = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    assert PerSample({"share": values}).figures().per_class == {}
    judged = PerSample({"share": values}, groups=torch.tensor([0, -1, -1]), classes=["cat"])
    assert judged.figures().per_class == {"cat": 1.0}
    assert judged.figures().figures["share"] == pytest.approx(2 / 3)


def test_class_means_are_those_of_plain_loops() -> None:
    generator = np.random.default_rng(0)
    values, labels = generator.random(300), generator.integers(-1, 7, 300)
    values[generator.random(300) < 0.2] = np.nan
    found = class_means(values, labels, 9)
    for k in range(9):
        own = [v for v, label in zip(values, labels, strict=True) if label == k and not math.isnan(v)]
        assert found[k] == pytest.approx(sum(own) / len(own) if own else math.nan, nan_ok=True)


@pytest.mark.parametrize("kind", ["ranked", "per sample"])
def test_the_whole_is_the_resample_of_each_row_once(kind: str) -> None:
    scores, labels = scored(4, 50)
    names = ["a", "b", "c", "d"]
    judged: Judged = Ranked(rank_classes(scores), labels, names)
    if kind == "per sample":
        judged = PerSample({"score": scores[:, 0].double()}, groups=labels, classes=names)
    shuffled = np.random.default_rng(0).permutation(judged.count)
    whole, other = judged.figures(), judged.figures(shuffled)
    assert other.figures == pytest.approx(dict(whole.figures))
    assert other.per_class == pytest.approx(dict(whole.per_class))
