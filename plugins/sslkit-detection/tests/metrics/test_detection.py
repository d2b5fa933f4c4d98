"""What detectors are judged by."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import pytest
import torch

from sslkit.contracts import Figures, Metric, Objects
from sslkit_detection.metrics.coco import CocoAP
from sslkit_detection.metrics.detection import DetectionMetrics
from sslkit_detection.metrics.voc import VocAP

Scene = Callable[..., tuple[list[int], list[Objects], list[Objects]]]
EMPTY = "false positives an image without objects"
CLASSES = ["a", "b", "c", "d"]


def measured(*pairs: tuple[Objects, Objects]) -> Figures:
    metric = DetectionMetrics(["one", "two"])
    metric.update(range(len(pairs)), [found for found, _ in pairs], [target for _, target in pairs])
    return metric.compute()


def objects(*rows: tuple[float, float, float, float, int], scores: list[float] | None = None) -> Objects:
    boxes = torch.tensor([row[:4] for row in rows], dtype=torch.float32).view(-1, 4)
    labels = torch.tensor([row[4] for row in rows], dtype=torch.int64)
    return Objects(boxes, labels, None if scores is None else torch.tensor(scores))


def test_it_holds_the_figures_of_coco_and_of_voc(scene: Scene) -> None:
    ids, predictions, targets = scene(4)
    metric: Metric = DetectionMetrics(CLASSES)
    coco, voc = CocoAP(CLASSES), VocAP(CLASSES)
    for one in (metric, coco, voc):
        one.update(ids, predictions, targets)
    figures = metric.compute().figures
    expected = {**coco.compute().figures, **voc.compute().figures}
    assert {name: str(figures[name]) for name in expected} == {name: str(v) for name, v in expected.items()}
    assert set(figures) - set(expected) == {"precision", "recall", EMPTY}


def test_figures_by_class_are_ap50_and_their_mean_is_the_figure(scene: Scene) -> None:
    ids, predictions, targets = scene(4)
    metric = DetectionMetrics(CLASSES)
    metric.update(ids, predictions, targets)
    result = metric.compute()
    known = [value for value in result.per_class.values() if not math.isnan(value)]
    assert len(known) == 3
    assert sum(known) / 3 == pytest.approx(result.figures["AP50"], abs=1e-12)


def test_precision_and_recall_count_detections_of_at_least_half_a_score() -> None:
    target = objects((0, 0, 10, 10, 0), (50, 50, 70, 70, 1), (80, 80, 90, 90, 1))
    found = objects(
        (0, 0, 10, 10, 0),
        (0, 0, 10, 9, 0),
        (50, 50, 70, 70, 1),
        (80, 80, 90, 90, 1),
        scores=[0.9, 0.6, 0.5, 0.49],
    )
    figures = measured((found, target)).figures
    assert figures["precision"] == pytest.approx(2 / 3)  # the second on the same object is false
    assert figures["recall"] == pytest.approx(2 / 3)  # that of .49 does not count
    assert EMPTY not in figures


def test_a_label_that_is_wrong_is_false_and_a_crowd_counts_as_nothing() -> None:
    wrong = measured((objects((0, 0, 10, 10, 1), scores=[0.9]), objects((0, 0, 10, 10, 0)))).figures
    assert (wrong["precision"], wrong["recall"]) == (0.0, 0.0)
    target = objects((0, 0, 10, 10, 0))
    crowd = Objects(target.boxes, target.labels, crowd=torch.tensor([True]))
    ignored = measured((objects((0, 0, 10, 10, 0), scores=[0.9]), crowd)).figures
    assert math.isnan(ignored["precision"])
    assert math.isnan(ignored["recall"])


def test_false_alarms_are_counted_on_images_without_objects_only() -> None:
    found = objects((0, 0, 10, 10, 0), (5, 5, 20, 20, 1), (0, 0, 3, 3, 0), scores=[0.9, 0.5, 0.4])
    nothing = objects(scores=[])
    figures = measured(
        (found, Objects.none()), (nothing, Objects.none()), (found, objects((30, 30, 40, 40, 0)))
    ).figures
    assert figures[EMPTY] == pytest.approx(2 / 2)  # two of at least .5 on the first, none on the second


def test_without_any_sample_figures_are_nan() -> None:
    figures = DetectionMetrics(["one"]).compute().figures
    assert all(math.isnan(value) for value in figures.values())


def test_half_precision_is_taken(scene: Scene) -> None:
    box = objects((0, 0, 16, 16, 0), scores=[0.5])
    assert box.scores is not None
    rounded = Objects(box.boxes.bfloat16(), box.labels, box.scores.bfloat16())
    assert measured((rounded, objects((0, 0, 16, 16, 0)))).figures["AP50"] == pytest.approx(1.0)


def test_parts_merged_in_any_order_are_the_whole_exactly(scene: Scene) -> None:
    ids, predictions, targets = scene(6)
    whole = DetectionMetrics(CLASSES)
    whole.update(ids, predictions, targets)
    parts = [DetectionMetrics(CLASSES) for _ in range(2)]
    for place in (5, 0, 11, 3, 1, 2, 10, 4, 9, 6, 8, 7):
        parts[place % 2].update([ids[place]], [predictions[place]], [targets[place]])
    one, two = (pickle.loads(pickle.dumps(part)) for part in parts)
    two.merge(one)
    assert str(two.compute()) == str(whole.compute())


def test_what_is_kept_of_a_sample_is_small(scene: Scene) -> None:
    ids, predictions, targets = scene(7, images=40)
    metric = DetectionMetrics(CLASSES)
    metric.update(ids, predictions, targets)
    boxes = sum(map(len, predictions)) + sum(map(len, targets))
    assert len(pickle.dumps(metric)) < 28 * boxes + 400 * len(metric)
