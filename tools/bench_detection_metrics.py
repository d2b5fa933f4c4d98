"""Figures of detections: time of sslkit-detection's CocoAP beside faster-coco-eval alone and pycocotools.

The set is generated: images of 640 x 480 with 7 objects and 50 detections each, of 20 classes. Ours is
everything a run pays: taking in the predictions, batch by batch, and computing. The library alone starts from
lists of dicts that stand ready, as read from JSON. Rounds take turns, so that a drift of the machine's speed
meets all; the ratio is of medians of one process. Figures must agree to 1e-6, or it ends with an error.

    python tools/bench_detection_metrics.py
    python tools/bench_detection_metrics.py --images 1000 --rounds 5 --pycocotools
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from faster_coco_eval import COCO, COCOeval_faster

from sslkit.contracts import Objects
from sslkit_detection.metrics.coco import CocoAP

CLASSES, OBJECTS, DETECTIONS, BATCH = 20, 7, 50, 16
OURS, ALONE, ORIGINAL = "sslkit-detection", "faster-coco-eval", "pycocotools"


def generated(images: int) -> tuple[list[Objects], list[Objects]]:
    """Predictions and targets; of the detections about one in five lies near an object."""
    rng = np.random.default_rng(0)
    predictions, targets = [], []
    for _ in range(images):
        boxes, labels = random_boxes(rng, OBJECTS), rng.integers(0, CLASSES, OBJECTS)
        found, said = random_boxes(rng, DETECTIONS), rng.integers(0, CLASSES, DETECTIONS)
        near = rng.integers(0, OBJECTS, DETECTIONS // 5)
        found[: len(near)] = boxes[near] + rng.normal(0, 4, (len(near), 4))
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        said[: len(near)] = labels[near]
        scores = np.sort(rng.random(DETECTIONS))[::-1].copy()
        targets.append(Objects(torch.from_numpy(boxes).float(), torch.from_numpy(labels)))
        predictions.append(
            Objects(torch.from_numpy(found).float(), torch.from_numpy(said), torch.from_numpy(scores).float())
        )
    return predictions, targets


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corner = rng.uniform(0, 1, (count, 2)) * (560, 400)
    return np.concatenate([corner, corner + rng.uniform(10, 80, (count, 2)) ** 1.1], axis=1)


def entries(objects: list[Objects]) -> list[dict[str, Any]]:
    """The same as the entries of COCO's files."""
    made: list[dict[str, Any]] = []
    for image, one in enumerate(objects, start=1):
        boxes = one.boxes.double()
        sides = boxes[:, 2:] - boxes[:, :2]
        scores = [1.0] * len(one) if one.scores is None else one.scores.tolist()
        rows = zip(torch.cat([boxes[:, :2], sides], 1).tolist(), one.labels.tolist(), scores, strict=True)
        for box, label, score in rows:
            entry = {
                "id": len(made) + 1,
                "image_id": image,
                "category_id": label + 1,
                "bbox": box,
                "score": score,
            }
            made.append(entry | {"area": box[2] * box[3], "iscrowd": 0})
    return made


def document(targets: list[Objects]) -> dict[str, Any]:
    return {
        "images": [{"id": image, "width": 640, "height": 480} for image in range(1, len(targets) + 1)],
        "categories": [{"id": label + 1, "name": str(label)} for label in range(CLASSES)],
        "annotations": entries(targets),
    }


def ours(predictions: list[Objects], targets: list[Objects]) -> list[float]:
    metric = CocoAP([str(label) for label in range(CLASSES)])
    for start in range(0, len(targets), BATCH):
        part = slice(start, start + BATCH)
        metric.update(range(len(targets))[part], predictions[part], targets[part])
    return list(metric.compute().figures.values())


def alone(truth: dict[str, Any], found: list[dict[str, Any]]) -> list[float]:
    return with_tools(COCO, COCOeval_faster, truth, found)


def original(truth: dict[str, Any], found: list[dict[str, Any]]) -> list[float]:
    from pycocotools.coco import COCO as SlowCOCO  # noqa: N811
    from pycocotools.cocoeval import COCOeval

    return with_tools(SlowCOCO, COCOeval, truth, found)


def with_tools(index: Any, evaluator: Any, truth: dict[str, Any], found: list[dict[str, Any]]) -> list[float]:
    known = index()
    known.dataset = truth
    known.createIndex()
    evaluation = evaluator(known, known.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return list(evaluation.stats)


def measure(images: int, rounds: int, contenders: list[str]) -> dict[str, list[float]]:
    """Seconds of each round by contender."""
    predictions, targets = generated(images)
    truth, found = document(targets), entries(predictions)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        figures: dict[str, list[float]] = {}
        for name in contenders:
            # The tools write into what they are given.
            given = (predictions, targets) if name == OURS else (copy.deepcopy(truth), copy.deepcopy(found))
            gc.collect()
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                figures[name] = CONTENDERS[name](*given)
            seconds[name].append(time.perf_counter() - start)
        for name, values in figures.items():
            if not np.allclose(values, figures[OURS], atol=1e-6):
                raise SystemExit(f"{name} has {values}, {OURS} {figures[OURS]}")
    return seconds


CONTENDERS: dict[str, Callable[..., list[float]]] = {OURS: ours, ALONE: alone, ORIGINAL: original}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pycocotools", action="store_true", help="measure the original tools too; slow")
    options = parser.parse_args()
    contenders = [OURS, ALONE, *([ORIGINAL] if options.pycocotools else [])]
    seconds = measure(options.images, options.rounds, contenders)
    basis = statistics.median(seconds[ALONE])
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:18} {median:7.2f} s   {median / basis:5.2f} of {ALONE} alone   ({len(times)} rounds)")


if __name__ == "__main__":
    main()
