"""What the conformance kit of heads makes of a head's example: other canvases, other targets, originals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest import SkipTest

import numpy as np
import torch
from torch import Tensor

from sslkit.contracts import (
    IGNORE,
    ClassLabel,
    ClassSet,
    Example,
    FlowField,
    LabelledBatch,
    Meta,
    Objects,
    SemanticMap,
)

TYPES: Mapping[str, type] = {
    "label": ClassLabel,
    "labels": ClassSet,
    "boxes": Objects,
    "masks": Objects,
    "semantic": SemanticMap,
    "flow": FlowField,
}
"""The type of target behind each word of the contract; a plugin's own words have their own."""


@dataclass(frozen=True)
class Stretched:
    """The `Warp` that scales a canvas by (down, right) and lays it at the top left of another."""

    source: tuple[int, int]
    size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)

    def boxes(self, boxes: Tensor) -> Tensor:
        """(K, 4) xyxy, scaled and clipped."""
        limit = boxes.new_tensor([self.size[1], self.size[0]] * 2)
        return torch.minimum((boxes * boxes.new_tensor([*self.scale[::-1]] * 2)).clamp(min=0), limit)

    def visible(self, boxes: Tensor) -> Tensor:
        """The share of each box that is left, (K,)."""
        whole = _areas(boxes) * self.scale[0] * self.scale[1]
        return (_areas(self.boxes(boxes)) / whole.clamp(min=1e-9)).clamp(max=1)

    def labels(self, labels: Tensor, *, outside: int) -> Tensor:
        """(..., H, W) of any type, nearest."""
        places = []
        for whole, side, scale in zip(self.source, self.size, self.scale, strict=True):
            place = ((torch.arange(side) + 0.5) / scale).long()
            places.append(place[place < whole])
        rows, columns = places
        result = labels.new_full((*labels.shape[:-2], *self.size), outside)
        result[..., : len(rows), : len(columns)] = labels[..., rows[:, None], columns]
        return result

    def vectors(self, vectors: Tensor) -> Tensor:
        """(2, H, W) as (x, y), scaled like the picture."""
        return self.labels(vectors, outside=0) * vectors.new_tensor(self.scale[::-1]).view(2, 1, 1)


def on_canvas(example: Example, size: tuple[int, int]) -> Example:
    """The same images at the top left of a canvas of (height, width), cut where it is smaller."""
    warp, batch = Stretched(example.task.size, size), example.batch
    metas = []
    for meta in batch.metas:
        valid = (min(meta.valid[0], size[0]), min(meta.valid[1], size[1]))
        original = meta.original if valid == meta.valid else valid
        metas.append(replace(meta, original=original, valid=valid, canvas=size))
    moved = replace(
        batch,
        pixels=warp.labels(batch.pixels, outside=0),
        metas=tuple(metas),
        targets=tuple(target.through(warp) for target in batch.targets),
    )
    return replace(example, task=replace(example.task, size=size), batch=moved)


def square(example: Example) -> Example:
    """On a square canvas whose side every network of the kit accepts: a multiple of 32, at least 64."""
    side = max(64, *(-(-side // 32) * 32 for side in example.task.size))
    return example if example.task.size == (side, side) else on_canvas(example, (side, side))


def in_original(batch: LabelledBatch) -> list[Any]:
    """The targets in pixels of the originals."""
    return [target.through(_upwards(meta)) for target, meta in zip(batch.targets, batch.metas, strict=True)]


def picture(batch: LabelledBatch, place: int) -> np.ndarray:
    """One original image (of a pair or clip its first frame) as uint8 RGB (H, W, 3)."""
    first: np.ndarray = pictures(batch, place)[0]
    return first


def pictures(batch: LabelledBatch, place: int) -> np.ndarray:
    """All frames of one original, uint8 RGB (T, H, W, 3); an image is one."""
    pixels = batch.pixels[place]
    frames = pixels if pixels.dim() == 4 else pixels[None]
    colour = frames[:, :3] if frames.shape[1] >= 3 else frames[:, :1].expand(-1, 3, -1, -1)
    images = _upwards(batch.metas[place]).labels(colour, outside=0)
    return images.permute(0, 2, 3, 1).contiguous().numpy()


def without_objects(example: Example) -> Sequence[Any]:
    """Targets of the same kind in which there is nothing: no object, one class all over, no motion."""
    return _each(example, {Objects: _nothing, SemanticMap: _blank, FlowField: _still}, "has no empty form")


def ignored(example: Example) -> Sequence[Any]:
    """Targets of which nothing counts: crowd alone, all pixels 255, vectors nowhere valid."""
    return _each(
        example,
        {Objects: _crowd, SemanticMap: _unlabelled, FlowField: _unknown},
        "cannot be ignored in part",
    )


def one_pixel(example: Example) -> Sequence[Any]:
    """Targets with a single pixel: an object of 1 x 1, one labelled pixel, one known vector."""
    return _each(
        example, {Objects: _speck, SemanticMap: _dot, FlowField: _one_vector}, "has no pixels to count"
    )


def _each(example: Example, ways: Mapping[Any, Callable[[Any, int], Any]], reason: str) -> list[Any]:
    target = example.batch.targets[0]
    way = ways.get(type(target))
    if way is None:
        raise SkipTest(f"a target of type {type(target).__name__} {reason} that this kit knows")
    return [way(target, len(example.task.classes)) for target in example.batch.targets]


def _nothing(target: Objects, classes: int) -> Objects:
    masks = target.masks
    return Objects.none(masks=None if masks is None else (masks.shape[-2], masks.shape[-1]))


def _blank(target: SemanticMap, classes: int) -> SemanticMap:
    return SemanticMap(torch.zeros_like(target.labels))


def _still(target: FlowField, classes: int) -> FlowField:
    return replace(target, vectors=torch.zeros_like(target.vectors))


def _crowd(target: Objects, classes: int) -> Objects:
    return replace(target, crowd=torch.ones(len(target), dtype=torch.bool))


def _unlabelled(target: SemanticMap, classes: int) -> SemanticMap:
    return SemanticMap(torch.full_like(target.labels, IGNORE))


def _unknown(target: FlowField, classes: int) -> FlowField:
    return replace(target, valid=torch.zeros(target.vectors.shape[-2:], dtype=torch.bool))


def _speck(target: Objects, classes: int) -> Objects:
    masks = None
    if target.masks is not None:
        masks = torch.zeros(1, *target.masks.shape[-2:], dtype=torch.bool)
        masks[0, 3, 5] = True
    boxes = torch.tensor([[5.0, 3.0, 6.0, 4.0]])
    return Objects(boxes, torch.tensor([classes - 1]), masks=masks, crowd=torch.zeros(1, dtype=torch.bool))


def _dot(target: SemanticMap, classes: int) -> SemanticMap:
    labels = torch.full_like(target.labels, IGNORE)
    labels[3, 5] = classes - 1
    return SemanticMap(labels)


def _one_vector(target: FlowField, classes: int) -> FlowField:
    valid = torch.zeros(target.vectors.shape[-2:], dtype=torch.bool)
    valid[3, 5] = True
    return replace(target, valid=valid)


def _upwards(meta: Meta) -> Stretched:
    scale = (meta.original[0] / meta.valid[0], meta.original[1] / meta.valid[1])
    return Stretched(meta.canvas, meta.original, scale)


def _areas(boxes: Tensor) -> Tensor:
    sides = boxes[:, 2:] - boxes[:, :2]
    return sides[:, 0] * sides[:, 1]
