"""Pascal VOC's average precision against its devkit in plain loops."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch

from sslkit.contracts import Objects
from sslkit_detection.metrics import matching
from sslkit_detection.metrics.coco import CocoAP
from sslkit_detection.metrics.voc import VocAP, area_under_curve, eleven_points

Scene = Callable[..., tuple[list[int], list[Objects], list[Objects]]]


def slow_ap(
    ids: list[int], predictions: list[Objects], targets: list[Objects], label: int, least: float
) -> tuple[float, float]:
    """VOCevaldet.m, loop by loop: AP by 11 points (2007) and by area (2010), NaN without an object."""
    detections = []
    for image in sorted(range(len(ids)), key=lambda image: ids[image]):
        one = predictions[image]
        assert one.scores is not None
        for box, said, score in zip(
            one.boxes.tolist(), one.labels.tolist(), one.scores.tolist(), strict=True
        ):
            if said == label:
                detections.append((score, image, box))
    detections.sort(key=lambda detection: -detection[0])  # a stable sort, as MATLAB's
    wanted, taken = 0, set()
    for one in targets:
        for said, crowd in zip(
            one.labels.tolist(), [] if one.crowd is None else one.crowd.tolist(), strict=True
        ):
            wanted += said == label and not crowd
    true, false = [], []
    for _, image, box in detections:
        best, chosen = -math.inf, -1
        target = targets[image]
        for row, (other, said) in enumerate(zip(target.boxes.tolist(), target.labels.tolist(), strict=True)):
            if said != label:
                continue
            width = min(box[2], other[2]) - max(box[0], other[0])
            height = min(box[3], other[3]) - max(box[1], other[1])
            if width > 0 and height > 0:
                union = (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1])
                overlap = width * height / (union - width * height)
                if overlap > best:
                    best, chosen = overlap, row
        hit = miss = 0
        if best >= least:
            assert target.crowd is not None
            if not target.crowd[chosen]:
                if (image, chosen) in taken:
                    miss = 1
                else:
                    hit = 1
                    taken.add((image, chosen))
        else:
            miss = 1
        true.append(hit)
        false.append(miss)
    if not wanted:
        return math.nan, math.nan
    recall, precision = [], []
    for end in range(1, len(true) + 1):
        hits, misses = sum(true[:end]), sum(false[:end])
        recall.append(Fraction(hits, wanted))
        precision.append(hits / (hits + misses) if hits + misses else 0.0)
    points = 0.0
    for tenth in range(11):
        reached = [p for p, r in zip(precision, recall, strict=True) if r >= Fraction(tenth, 10)]
        points += max(reached, default=0.0) / 11
    padded_recall = [Fraction(0), *recall, Fraction(1)]
    padded = [0.0, *precision, 0.0]
    for place in range(len(padded) - 2, -1, -1):
        padded[place] = max(padded[place], padded[place + 1])
    area = 0.0
    for place in range(1, len(padded)):
        area += float(padded_recall[place] - padded_recall[place - 1]) * padded[place]
    return points, area


@pytest.mark.parametrize("least", [0.5, 0.7])
@pytest.mark.parametrize("seed", range(8))
def test_figures_equal_the_devkit_in_plain_loops(seed: int, least: float, scene: Scene) -> None:
    ids, predictions, targets = scene(seed)
    metric = VocAP(["a", "b", "c", "d"], iou=least)
    metric.update(ids[::-1], predictions[::-1], targets[::-1])
    result = metric.compute()
    both = [slow_ap(ids, predictions, targets, label, least) for label in range(4)]
    at = round(100 * least)
    assert result.figures[f"VOC07 AP{at}"] == pytest.approx(np.nanmean([one for one, _ in both]), abs=1e-12)
    assert result.figures[f"VOC AP{at}"] == pytest.approx(np.nanmean([two for _, two in both]), abs=1e-12)
    expected = [two for _, two in both]
    assert list(result.per_class.values()) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert 0 < result.figures[f"VOC AP{at}"] < 1
    assert math.isnan(result.per_class["d"])


def test_matching_in_small_parts_is_the_same(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, predictions, targets = scene(5)
    metric = VocAP(["a", "b", "c", "d"])
    metric.update(ids, predictions, targets)
    whole = str(metric.compute())
    monkeypatch.setattr(matching, "_PAIRS", 3)
    assert str(metric.compute()) == whole


def test_area_is_near_cocos_at_the_same_overlap(scene: Scene) -> None:
    """They differ in 101 points against the exact area, and in which object a detection may take."""
    ids, predictions, targets = scene(1, images=60)
    voc, coco = VocAP(["a", "b", "c", "d"]), CocoAP(["a", "b", "c", "d"])
    for metric in (voc, coco):
        metric.update(ids, predictions, targets)
    assert voc.compute().figures["VOC AP50"] == pytest.approx(coco.compute().figures["AP50"], abs=0.05)


@pytest.mark.parametrize(
    ("hits", "wanted", "points", "area"),
    [
        ([1, 2], 2, 1.0, 1.0),
        ([0, 1], 1, 0.5, 0.5),
        ([1, 1, 2], 2, (6 + 5 * 2 / 3) / 11, 0.5 + 0.5 * 2 / 3),
        ([], 3, 0.0, 0.0),
        ([1, 2, 3], 10, 4 / 11, 0.3),  # recall .3 is reached: 3 * 0.1 > 0.3 in floating point
    ],
)
def test_curves_worked_out_by_hand(hits: list[int], wanted: int, points: float, area: float) -> None:
    counts = np.array(hits, np.int64)
    assert eleven_points(counts, wanted) == pytest.approx(points)
    assert area_under_curve(counts, wanted) == pytest.approx(area)


def test_a_difficult_object_is_neither_wanted_nor_a_false_alarm() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    target = Objects(boxes, torch.tensor([0, 0]), crowd=torch.tensor([False, True]))
    found = Objects(boxes[[1, 1, 0]], torch.zeros(3, dtype=torch.int64), torch.tensor([0.9, 0.8, 0.7]))
    metric = VocAP(["one"])
    metric.update([0], [found], [target])
    assert metric.compute().figures == {"VOC07 AP50": 1.0, "VOC AP50": 1.0}
    matched = matching.ranked(metric.table(), 1, iou=0.5)
    assert matched.hit.tolist() == [False, False, True]
    assert matched.ignored.tolist() == [True, True, False]


def test_an_overlap_of_exactly_the_least_counts() -> None:
    target = Objects(torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0]))
    found = Objects(torch.tensor([[0.0, 0, 10, 5]]), torch.tensor([0]), torch.tensor([0.9]))
    metric = VocAP(["one"])
    metric.update([0], [found], [target])
    assert metric.compute().figures["VOC AP50"] == 1.0


def test_parts_merged_in_any_order_are_the_whole_exactly(scene: Scene) -> None:
    ids, predictions, targets = scene(2)
    whole = VocAP(["a", "b", "c", "d"])
    whole.update(ids, predictions, targets)
    first, second = VocAP(["a", "b", "c", "d"]), VocAP(["a", "b", "c", "d"])
    first.update(ids[7:], predictions[7:], targets[7:])
    second.update(ids[:7], predictions[:7], targets[:7])
    merged = pickle.loads(pickle.dumps(first))
    merged.merge(second)
    assert str(merged.compute()) == str(whole.compute())
