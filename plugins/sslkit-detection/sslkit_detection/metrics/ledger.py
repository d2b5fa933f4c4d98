"""What detections and ground truth of many images look like when they are added up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from faster_coco_eval.core import mask as coco_mask

from sslkit.contracts import Objects
from sslkit.errors import DataError

Kind = Literal["bbox", "segm"]


@dataclass(frozen=True)
class Column:
    """Objects of all images, in the order of images, in an image as they came. M objects.

    image: int64 (M,), place of the image in `Table.ids`. boxes: float64 (M, 4) xyxy. labels: int64 (M,).
    scores: float64 (M,), 1 for ground truth. crowd: bool (M,). areas: float64 (M,), NaN where not annotated.
    runs: COCO run lengths of the masks, or None.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    runs: list[dict[str, object]] | None

    def __len__(self) -> int:
        return len(self.image)

    def sides(self) -> np.ndarray:
        """Width and height of the boxes, float64 (M, 2)."""
        sides: np.ndarray = self.boxes[:, 2:] - self.boxes[:, :2]
        return sides


@dataclass(frozen=True)
class Table:
    """Everything seen: ids int64 (N,) ascending, what was found, and what is there."""

    ids: np.ndarray
    found: Column
    given: Column


class Ledger:
    """Keeps predictions and ground truth in arrays, about 30 bytes a box; the base of the metrics here.

    masks: keep the masks too, as run lengths. Two accumulators of different samples merge to the same as
    one of all, to the bit, in any order. Raises DataError for predictions that no figure can be made of.
    """

    def __init__(self, classes: Sequence[str], *, masks: bool = False) -> None:
        self.classes = tuple(classes)
        self._masks = masks
        self._samples: dict[int, tuple[_Kept, _Kept]] = {}

    def __len__(self) -> int:
        return len(self._samples)

    def update(self, ids: Sequence[int], predictions: Sequence[Objects], targets: Sequence[Objects]) -> None:
        """Take in samples; predictions with scores, in pixels of the originals as the targets are."""
        for id, prediction, target in zip(ids, predictions, targets, strict=True):
            if int(id) in self._samples:
                raise _twice(int(id))
            found = _kept(prediction, len(self.classes), f"prediction of sample {id}", masks=self._masks)
            if prediction.scores is None:
                raise DataError(
                    f"prediction of sample {id} has no scores; a detection needs one to be ranked by"
                )
            given = _kept(target, len(self.classes), f"target of sample {id}", masks=self._masks)
            self._samples[int(id)] = (found, given)

    def merge(self, other: Ledger) -> None:
        """Take in what another accumulator has seen of other samples."""
        for id in self._samples.keys() & other._samples.keys():
            raise _twice(id)
        self._samples.update(other._samples)

    def table(self) -> Table:
        """All that was seen, by ascending id."""
        ids = sorted(self._samples)
        pairs = [self._samples[id] for id in ids]
        return Table(
            np.array(ids, np.int64),
            _column([found for found, _ in pairs], masks=self._masks),
            _column([given for _, given in pairs], masks=self._masks),
        )


@dataclass(frozen=True, slots=True)
class _Kept:
    """One image: float32 (K, 6) boxes, score and area; labels int32 (K,), minus 1 - label for crowds."""

    numbers: np.ndarray
    labels: np.ndarray
    runs: list[dict[str, object]] | None


def _kept(objects: Objects, classes: int, whose: str, *, masks: bool) -> _Kept:
    count = len(objects)
    numbers = np.empty((count, 6), np.float32)
    numbers[:, :4] = _array(objects.boxes)
    numbers[:, 4] = 1 if objects.scores is None else _array(objects.scores)
    numbers[:, 5] = np.nan if objects.areas is None else _array(objects.areas)
    if not np.isfinite(numbers[:, :5]).all():
        raise DataError(f"{whose} has boxes or scores that are not finite")
    labels = _array(objects.labels).astype(np.int32)
    if count and (labels.min() < 0 or labels.max() >= classes):
        shown = f"{labels.min()}..{labels.max()}"
        raise DataError(f"{whose} has labels {shown}; with {classes} classes they are 0..{classes - 1}")
    if objects.crowd is not None:
        labels = np.where(_array(objects.crowd), -1 - labels, labels)
    return _Kept(numbers, labels, _runs(objects, whose) if masks else None)


def _runs(objects: Objects, whose: str) -> list[dict[str, object]]:
    if not len(objects):
        return []
    if objects.masks is None:
        raise DataError(f"{whose} has no masks; use kind='bbox' where there are only boxes")
    pixels = objects.masks.detach().cpu().to(torch.uint8).permute(1, 2, 0).numpy()
    return list(coco_mask.encode(np.asfortranarray(pixels)))


def _array(values: torch.Tensor) -> np.ndarray:
    array: np.ndarray = (
        values.detach().cpu().numpy() if values.dtype != torch.bfloat16 else _array(values.float())
    )
    return array


def _column(kept: Sequence[_Kept], *, masks: bool) -> Column:
    counts = [len(one.labels) for one in kept]
    numbers = np.concatenate([np.empty((0, 6), np.float32), *(one.numbers for one in kept)]).astype(
        np.float64
    )
    coded = np.concatenate([np.empty(0, np.int32), *(one.labels for one in kept)]).astype(np.int64)
    return Column(
        image=np.repeat(np.arange(len(kept)), counts),
        boxes=numbers[:, :4],
        labels=np.where(coded < 0, -1 - coded, coded),
        scores=numbers[:, 4],
        crowd=coded < 0,
        areas=numbers[:, 5],
        runs=[run for one in kept for run in one.runs or ()] if masks else None,
    )


def _twice(id: int) -> DataError:
    return DataError(f"sample {id} was added twice; every sample counts once, whatever rank saw it")
