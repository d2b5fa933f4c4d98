"""Random images with objects and detections, as awkward as real ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from sslkit.contracts import Objects

Scene = tuple[list[int], list[Objects], list[Objects]]


def random_scene(
    seed: int, *, images: int = 12, classes: int = 4, most: int = 8, masks: bool = False, side: int = 200
) -> Scene:
    """Ids, predictions and targets: crowds, ties, empty images, a class nobody has, many detections.

    The last class is never there but is predicted; the one before is there and never predicted. Boxes lie on
    whole and half pixels, so that overlaps of exactly .5 happen.
    """
    rng = np.random.default_rng(seed)
    predictions, targets = [], []
    for image in range(images):
        there = 0 if image % 4 == 1 else int(rng.integers(1, most + 1))
        boxes = random_boxes(rng, there, side)
        labels = rng.integers(0, max(1, classes - 1), there)
        crowd = rng.random(there) < 0.15
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * rng.uniform(0.4, 1, there)
        near = (
            boxes[rng.integers(0, there, 2 * there)] + rng.integers(-8, 9, (2 * there, 4)) / 2
            if there
            else boxes
        )
        stray = random_boxes(rng, 150 if image == 2 else int(rng.integers(0, 6)), side)
        found = np.concatenate([near, stray])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        said = np.where(rng.random(len(found)) < 0.7, 0, rng.integers(0, classes, len(found)))
        said[said == classes - 2] = 0
        said[: 2 * there] = labels[rng.integers(0, there, 2 * there)] if there else 0
        scores = rng.integers(1, 11, len(found)) / 10
        targets.append(
            Objects(
                torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
                torch.tensor(labels, dtype=torch.int64),
                crowd=torch.tensor(crowd),
                areas=torch.tensor(areas, dtype=torch.float32),
                masks=filled(rng, boxes, side) if masks else None,
            )
        )
        predictions.append(
            Objects(
                torch.tensor(found, dtype=torch.float32).view(-1, 4),
                torch.tensor(said, dtype=torch.int64),
                torch.tensor(scores, dtype=torch.float32),
                masks=filled(rng, found, side) if masks else None,
            )
        )
    return [7 * image + 3 for image in range(images)], predictions, targets


def random_boxes(rng: np.random.Generator, count: int, side: int) -> np.ndarray:
    corner = rng.integers(0, 2 * side - 20, (count, 2)) / 2
    size = np.exp(rng.uniform(np.log(6), np.log(side), (count, 2))).round()
    return np.concatenate([corner, np.minimum(corner + size, side)], axis=1)


def filled(rng: np.random.Generator, boxes: np.ndarray, side: int) -> torch.Tensor:
    """Boxes as masks with holes."""
    masks = torch.zeros(len(boxes), side, side, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.clip(0, side).round().astype(int), strict=True):
        mask[top : max(bottom, top + 1), left : max(right, left + 1)] = True
        mask &= torch.from_numpy(rng.random((side, side)) < 0.9)
    return masks


@pytest.fixture
def scene() -> Callable[..., Scene]:
    return random_scene
