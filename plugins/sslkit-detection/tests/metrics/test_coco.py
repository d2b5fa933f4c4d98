"""COCO's figures against its own tools."""

from __future__ import annotations

import contextlib
import io
import math
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sslkit.contracts import Objects
from sslkit.errors import DataError
from sslkit_detection.metrics.coco import CocoAP
from sslkit_detection.metrics.ledger import Kind

Scene = Callable[..., tuple[list[int], list[Objects], list[Objects]]]
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
CLASSES = ["a", "b", "c", "d"]


def entries(ids: Sequence[int], objects: Sequence[Objects], side: int) -> list[dict[str, Any]]:
    """Objects as the entries of COCO's files."""
    made: list[dict[str, Any]] = []
    for id, one in zip(ids, objects, strict=True):
        for row in range(len(one)):
            x, y, right, bottom = one.boxes[row].double().tolist()
            entry: dict[str, Any] = {
                "id": len(made) + 1,
                "image_id": id,
                "category_id": int(one.labels[row]) + 1,
                "bbox": [x, y, right - x, bottom - y],
            }
            if one.masks is not None:
                entry["segmentation"] = coco_mask.encode(
                    np.asfortranarray(one.masks[row].numpy().astype(np.uint8))
                )
            if one.scores is not None:
                entry["score"] = float(one.scores[row])
            else:
                assert one.crowd is not None
                assert one.areas is not None
                entry |= {"iscrowd": int(one.crowd[row]), "area": float(one.areas[row])}
            if one.masks is not None and one.scores is not None:
                del entry["bbox"]  # its tools take a detection with a box for one without a mask
            made.append(entry)
    return made


def oracle(
    ids: Sequence[int],
    predictions: Sequence[Objects],
    targets: Sequence[Objects],
    kind: Kind,
    classes: int,
    side: int,
) -> tuple[list[float], list[float]]:
    """The twelve figures of pycocotools, and AP by class."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": id, "height": side, "width": side} for id in ids],
            "categories": [{"id": label + 1, "name": str(label)} for label in range(classes)],
            "annotations": entries(ids, targets, side),
        }
        truth.createIndex()
        detections = entries(ids, predictions, side)
        evaluation = COCOeval(truth, truth.loadRes(detections), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    by_class = [
        float(np.mean(one[one > -1])) if (one > -1).any() else math.nan
        for one in np.moveaxis(precision, 2, 0)
    ]
    return [math.nan if value < 0 else float(value) for value in evaluation.stats], by_class


@pytest.mark.parametrize("seed", range(12))
def test_boxes_equal_pycocotools(seed: int, scene: Scene) -> None:
    ids, predictions, targets = scene(seed)
    metric = CocoAP(CLASSES)
    metric.update(ids, predictions, targets)
    result = metric.compute()
    figures, by_class = oracle(ids, predictions, targets, "bbox", 4, 200)
    assert list(result.figures) == list(NAMES)
    assert list(result.figures.values()) == pytest.approx(figures, abs=1e-9, nan_ok=True)
    assert list(result.per_class.values()) == pytest.approx(by_class, abs=1e-9, nan_ok=True)
    assert 0 < result.figures["AP"] < 1
    assert math.isnan(result.per_class["d"])


@pytest.mark.parametrize("seed", range(4))
def test_masks_equal_pycocotools(seed: int, scene: Scene) -> None:
    ids, predictions, targets = scene(seed, images=6, masks=True, side=64)
    metric = CocoAP(CLASSES, kind="segm")
    metric.update(ids, predictions, targets)
    result = metric.compute()
    figures, by_class = oracle(ids, predictions, targets, "segm", 4, 64)
    assert list(result.figures.values()) == pytest.approx(figures, abs=1e-9, nan_ok=True)
    assert list(result.per_class.values()) == pytest.approx(by_class, abs=1e-9, nan_ok=True)
    boxes = CocoAP(CLASSES)
    boxes.update(ids, predictions, targets)
    assert boxes.compute().figures["AP"] != result.figures["AP"]


def test_areas_are_the_annotated_ones_where_there_are_some() -> None:
    box = torch.tensor([[0.0, 0.0, 100.0, 100.0]])
    zero = torch.tensor([0])
    found = Objects(box, zero, torch.tensor([0.9]))
    for areas, named in [(None, "APl"), (torch.tensor([500.0]), "APs"), (torch.tensor([2000.0]), "APm")]:
        metric = CocoAP(["one"])
        metric.update([0], [found], [Objects(box, zero, areas=areas)])
        figures = metric.compute().figures
        assert [name for name in ("APs", "APm", "APl") if not math.isnan(figures[name])] == [named]


def test_without_ground_truth_figures_are_nan_and_without_detections_zero() -> None:
    metric = CocoAP(["one", "two"])
    assert all(math.isnan(value) for value in metric.compute().figures.values())
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    metric.update([5], [nothing], [Objects(torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([1]))])
    result = metric.compute()
    assert result.figures["AP"] == 0.0
    assert math.isnan(result.per_class["one"])
    assert result.per_class["two"] == 0.0


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_parts_merged_in_any_order_are_the_whole_exactly(kind: Kind, scene: Scene) -> None:
    ids, predictions, targets = scene(3, images=9, masks=True, side=48)
    whole = CocoAP(CLASSES, kind)
    whole.update(ids, predictions, targets)
    parts = [CocoAP(CLASSES, kind) for _ in range(3)]
    for place in reversed(range(9)):
        parts[place % 3].update([ids[place]], [predictions[place]], [targets[place]])
    last, *others = [pickle.loads(pickle.dumps(part)) for part in reversed(parts)]
    for other in others:
        last.merge(other)
    assert str(last.compute()) == str(whole.compute())  # NaN is not itself


def test_a_sample_given_twice_is_refused(scene: Scene) -> None:
    ids, predictions, targets = scene(0, images=2)
    metric, other = CocoAP(CLASSES), CocoAP(CLASSES)
    metric.update(ids, predictions, targets)
    other.update(ids[1:], predictions[1:], targets[1:])
    with pytest.raises(DataError, match="sample 10 was added twice"):
        metric.merge(other)
    with pytest.raises(DataError, match="sample 3 was added twice"):
        metric.update(ids, predictions, targets)


@pytest.mark.parametrize(
    ("boxes", "label", "scores", "said"),
    [
        (
            [0.0, 0, float("nan"), 9],
            0,
            [0.5],
            "prediction of sample 4 has boxes or scores that are not finite",
        ),
        ([0.0, 0, 9, 9], 0, [float("inf")], "not finite"),
        ([0.0, 0, 9, 9], 2, [0.5], r"labels 2\.\.2; with 2 classes they are 0\.\.1"),
        ([0.0, 0, 9, 9], -1, [0.5], r"labels -1\.\.-1"),
        ([0.0, 0, 9, 9], 0, None, "has no scores"),
    ],
)
def test_predictions_no_figure_can_be_made_of_are_refused(
    boxes: list[float], label: int, scores: list[float] | None, said: str
) -> None:
    given = None if scores is None else torch.tensor(scores)
    prediction = Objects(torch.tensor([boxes]), torch.tensor([label]), given)
    with pytest.raises(DataError, match=said):
        CocoAP(["one", "two"]).update([4], [prediction], [Objects.none()])


def test_masks_need_masks() -> None:
    box = Objects(torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([0]), torch.tensor([0.5]))
    with pytest.raises(DataError, match="has no masks; use kind='bbox'"):
        CocoAP(["one"], "segm").update([4], [box], [Objects.none()])
