"""Which detection is which object: Pascal VOC's rule, for all images at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sslkit_detection.metrics.ledger import Column, Table

_PAIRS = 4_000_000  # compared at a time: about 300 MB


@dataclass(frozen=True)
class Ranked:
    """All detections from the highest score to the lowest; of equal scores by image, then as they came.

    label: int64 (D,). score: float64 (D,). hit: bool (D,), found an object that none above found. ignored:
    bool (D,), lies on a crowd (VOC: a difficult object) and counts as nothing. wanted: int64 (K,), objects of
    each class that count.
    """

    label: np.ndarray
    score: np.ndarray
    hit: np.ndarray
    ignored: np.ndarray
    wanted: np.ndarray


def ranked(table: Table, classes: int, *, iou: float) -> Ranked:
    """Match as the VOC devkit does (Everingham et al. 2010, section 4.4; VOCevaldet.m).

    A detection belongs to the object of its class and image that it overlaps most, if by `iou` at least; the
    first to come finds it, others are false. Overlaps are those of continuous boxes: the devkit's, whose
    boxes hold their last pixel, are the same numbers.
    """
    found, given = table.found, table.given
    order = np.argsort(-found.scores, kind="stable")
    nearest, overlap = _nearest(found, given, classes)
    nearest, overlap = nearest[order], overlap[order]
    meets = overlap >= iou
    crowd = np.zeros(len(order), bool)
    crowd[meets] = given.crowd[nearest[meets]]
    hit = np.zeros(len(order), bool)
    takes = np.flatnonzero(meets & ~crowd)
    _, first = np.unique(nearest[takes], return_index=True)  # the highest score of those that meet an object
    hit[takes[first]] = True
    return Ranked(
        label=found.labels[order],
        score=found.scores[order],
        hit=hit,
        ignored=crowd,
        wanted=np.bincount(given.labels[~given.crowd], minlength=classes),
    )


def pair_ious(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes side by side, float64 (M, 4) xyxy twice to (M,)."""
    inner = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    common = np.where((inner > 0).all(axis=1), inner.prod(axis=1), 0.0)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    joined = areas[0] + areas[1] - common
    shares: np.ndarray = np.divide(common, joined, out=np.zeros_like(common), where=joined > 0)
    return shares


def _nearest(found: Column, given: Column, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """For each detection the row of the object it overlaps most, the first of equals, and its IoU."""
    nearest, overlap = np.full(len(found), -1, np.int64), np.full(len(found), -1.0)
    cell = given.image * classes + given.labels
    by_cell = np.argsort(cell, kind="stable")
    wanted = found.image * classes + found.labels
    starts = np.searchsorted(cell[by_cell], wanted, side="left")
    counts = np.searchsorted(cell[by_cell], wanted, side="right") - starts
    rows = np.flatnonzero(counts)
    edges = np.concatenate([[0], np.cumsum(counts[rows])])
    place = 0
    while place < len(rows):  # in parts, so that memory stays bounded
        stop = max(place + 1, int(np.searchsorted(edges, edges[place] + _PAIRS, side="right")) - 1)
        part = rows[place:stop]
        first = edges[place:stop] - edges[place]
        detection = np.repeat(part, counts[part])
        step = np.arange(len(detection)) - np.repeat(first, counts[part])
        candidate = by_cell[starts[detection] + step]
        ious = pair_ious(found.boxes[detection], given.boxes[candidate])
        best = np.maximum.reduceat(ious, first)
        tied = np.where(ious == np.repeat(best, counts[part]), candidate, len(given))
        overlap[part], nearest[part] = best, np.minimum.reduceat(tied, first)
        place = stop
    return nearest, overlap
