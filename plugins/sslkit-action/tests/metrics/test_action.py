"""The figures against torchmetrics, by hand, and against luck."""

from __future__ import annotations

import itertools
import math
import pickle

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy

from sslkit.contracts import ClassLabel, Figures
from sslkit.errors import DataError
from sslkit_action.metrics.action import ActionMetric, mean_of_views

NAMES = tuple("abcdefgh")
Row = tuple[int, list[float], int]


def judged(rows: list[Row], classes: tuple[str, ...] = NAMES) -> ActionMetric:
    metric = ActionMetric(classes)
    for id, scores, label in rows:
        metric.update([id], [ClassLabel(0, torch.tensor(scores))], [ClassLabel(label)])
    return metric


def drawn(count: int, *, views: int = 1, seed: int = 0) -> tuple[Tensor, Tensor, list[Row]]:
    """Scores (count * views, K), labels (count,) and rows, view after view; class h is in none."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, len(NAMES) - 1, (count,), generator=generator)
    logits = torch.randn(count * views, len(NAMES), generator=generator)
    logits[torch.arange(count * views), labels.repeat_interleave(views)] += 1
    scores = logits.softmax(dim=1)
    each = labels.repeat_interleave(views).tolist()
    rows = [
        (place // views, row, label)
        for place, (row, label) in enumerate(zip(scores.tolist(), each, strict=True))
    ]
    return scores, labels, rows


def test_of_one_view_the_figures_are_torchmetrics() -> None:
    scores, labels, rows = drawn(60)
    found = judged(rows).compute()
    for name, top in (("top1", 1), ("top5", 5)):
        expected = float(multiclass_accuracy(scores, labels, len(NAMES), top_k=top, average="micro"))
        assert found.figures[name] == pytest.approx(expected)
        assert found.figures[f"clip_{name}"] == pytest.approx(expected)
    recalls = multiclass_accuracy(scores, labels, len(NAMES), average="none")[:-1]
    assert list(found.per_class.values()) == pytest.approx(recalls.tolist())
    assert found.figures["balanced"] == pytest.approx(float(recalls.mean()))
    assert 0.2 < found.figures["top1"] < found.figures["top5"] < 1


def test_of_many_views_a_video_is_judged_by_their_mean() -> None:
    scores, labels, rows = drawn(40, views=3)
    found = judged(rows).compute().figures
    mean = scores.double().view(40, 3, -1).mean(dim=1)
    each = labels.repeat_interleave(3)
    for name, top in (("top1", 1), ("top5", 5)):
        videos = multiclass_accuracy(mean, labels, len(NAMES), top_k=top, average="micro")
        clips = multiclass_accuracy(scores, each, len(NAMES), top_k=top, average="micro")
        assert found[name] == pytest.approx(float(videos))
        assert found[f"clip_{name}"] == pytest.approx(float(clips))
    assert found["top1"] > found["clip_top1"]


def test_two_videos_by_hand() -> None:
    names = ("a", "b", "c")
    rows: list[Row] = [
        (7, [0.5, 0.4, 0.1], 1),  # wrong alone, right with the next
        (7, [0.1, 0.8, 0.1], 1),
        (9, [0.2, 0.5, 0.3], 2),
    ]
    found = judged(rows, names).compute()
    assert found.figures == {
        "top1": 0.5,
        "top5": 1.0,
        "clip_top1": pytest.approx(1 / 3),
        "clip_top5": 1.0,
        "balanced": 0.5,
    }
    assert found.per_class == {"b": 1.0, "c": 0.0}


def test_constant_scores_are_never_right_by_luck() -> None:
    rows: list[Row] = [(label, [0.125] * 8, label) for label in range(8)]
    found = judged(rows).compute().figures
    assert found == {"top1": 0.0, "top5": 0.0, "clip_top1": 0.0, "clip_top5": 0.0, "balanced": 0.0}


def test_a_tie_below_the_fifth_place_is_settled_against_the_video() -> None:
    fifth = [0.2, 0.2, 0.2, 0.2, 0.1, 0.1, 0.0, 0.0]
    assert judged([(0, fifth, 4)]).compute().figures["top5"] == 0.0
    assert judged([(0, fifth, 3)]).compute().figures["top5"] == 1.0
    assert judged([(0, fifth, 3)]).compute().figures["top1"] == 0.0


def test_scores_that_are_not_a_number_are_wrong() -> None:
    for scores in ([math.nan] * 8, [0.5, *[math.nan] * 7], [0.5, 0.5, *[math.nan] * 6]):
        found = judged([(0, scores, 0), (1, scores, 1)]).compute().figures
        assert found["top1"] == found["top5"] == 0.0


def test_with_few_classes_top5_is_top_of_all() -> None:
    found = judged([(0, [0.9, 0.1], 1)], ("a", "b")).compute().figures
    assert (found["top1"], found["top5"]) == (0.0, 1.0)


def test_the_figures_do_not_depend_on_order_or_on_ranks() -> None:
    _, _, rows = drawn(4, views=3, seed=3)
    # Scores whose sum in float32, or in float64 one after the other, depends on the order.
    hard: list[Row] = [(9, [big, 0.1 + big, *[0.0] * 6], 1) for big in (0.9, 1e-9, 3e-17, 0.3, 1e-8)]
    rows += hard
    whole = judged(rows)
    sums = {whole_sum(judged([hard[place] for place in order])) for order in itertools.permutations(range(5))}
    assert len(sums) == 1
    for shares in ([rows[::2], rows[1::2]], [rows[5:], rows[:5]], [[row] for row in reversed(rows)]):
        parts = [pickle.loads(pickle.dumps(judged(share))) for share in shares]
        for part in parts[1:]:
            parts[0].merge(part)
        assert parts[0].compute() == whole.compute()


def whole_sum(metric: ActionMetric) -> bytes:
    return mean_of_views(metric.views[9]).tobytes()


def test_ignored_videos_do_not_count_unless_there_is_such_a_class() -> None:
    few = judged([(0, [0.9, *[0.0] * 7], 0), (1, [0.9, *[0.0] * 7], 255)]).compute()
    assert few.figures["top1"] == 1.0
    many = tuple(str(place) for place in range(300))
    metric = ActionMetric(many)
    metric.update([0], [ClassLabel(255, torch.eye(300)[255])], [ClassLabel(255)])
    assert metric.compute() == Figures(dict.fromkeys(few.figures, 1.0), {"255": 1.0})


def test_without_any_video_the_figures_are_not_a_number() -> None:
    found = ActionMetric(NAMES).compute()
    assert all(math.isnan(value) for value in found.figures.values())
    assert found.per_class == {}


def test_what_cannot_be_judged_is_refused_by_name() -> None:
    metric = ActionMetric(NAMES)
    with pytest.raises(
        DataError, match=r"sample 3: the prediction's scores are none; one a class is needed, \(8,\)"
    ):
        metric.update([3], [ClassLabel(0)], [ClassLabel(0)])
    with pytest.raises(DataError, match=r"sample 3: the prediction's scores are of shape \(2,\)"):
        metric.update([3], [ClassLabel(0, torch.ones(2))], [ClassLabel(0)])
    with pytest.raises(DataError, match="sample 3: the target has the label 8; there are 8 classes"):
        metric.update([3], [ClassLabel(0, torch.ones(8))], [ClassLabel(8)])
    metric.update([3], [ClassLabel(0, torch.ones(8))], [ClassLabel(1)])
    with pytest.raises(DataError, match="sample 3 has the label 1 in one view and 2 in another"):
        metric.update([3], [ClassLabel(0, torch.ones(8))], [ClassLabel(2)])
