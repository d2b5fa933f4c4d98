"""What a head is to predict, and how a target follows its image through a geometric change.

One type serves as target and as prediction. Boxes are absolute float xyxy pixels (left, top, right, bottom),
labels are 0..K-1, the label 255 of a map of labels is ignored. Shapes: K objects, H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

IGNORE = 255
"""The label of pixels that are neither learnt nor judged."""

LEAST_VISIBLE = 0.25
"""An object of which a crop shows a smaller share than this is no longer a target."""


class Warp(Protocol):
    """A geometric change of an image (fit, crop, scale, flip, elastic) for all that is tied to its pixels."""

    @property
    def source(self) -> tuple[int, int]:
        """(height, width) before."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) after."""
        ...

    def boxes(self, boxes: Tensor) -> Tensor:
        """(K, 4) xyxy to the boxes around the changed ones, clipped to `size`."""
        ...

    def visible(self, boxes: Tensor) -> Tensor:
        """(K, 4) xyxy to the share of each box's area that lies inside the result, (K,) in 0..1."""
        ...

    def labels(self, labels: Tensor, *, outside: int) -> Tensor:
        """(..., H, W) of any type to (..., *size), nearest; `outside` where the source has no pixel."""
        ...

    def vectors(self, vectors: Tensor) -> Tensor:
        """Displacements in pixels, float (2, H, W) as (x, y), to (2, *size): moved, scaled and mirrored."""
        ...


Moved = TypeVar("Moved", bound="Target")


@runtime_checkable
class Target(Protocol):
    """Anything to predict: it can follow its image."""

    def through(self: Moved, warp: Warp) -> Moved:
        """The target of the changed image."""
        ...


@dataclass(frozen=True)
class ClassLabel:
    """The class of a whole sample; scores: float (K,), of a prediction."""

    label: int
    scores: Tensor | None = None

    def through(self, warp: Warp) -> ClassLabel:
        """A class stays the same."""
        return self


@dataclass(frozen=True)
class ClassSet:
    """The classes a whole sample is of, any number of them.

    present: bool (K,). scores: float (K,) in 0..1, of a prediction.
    """

    present: Tensor
    scores: Tensor | None = None

    def through(self, warp: Warp) -> ClassSet:
        """Classes stay the same."""
        return self

    def to(self, device: torch.device) -> ClassSet:
        """The same on another device."""
        return ClassSet(self.present.to(device), None if self.scores is None else self.scores.to(device))


@dataclass(frozen=True)
class Objects:
    """The objects of one image, or those found in it.

    boxes: float (K, 4) xyxy. labels: int64 (K,). scores: float (K,), of predictions, high to low. masks: bool
    (K, H, W). crowd: bool (K,), regions that are neither learnt nor counted as missed. areas: float (K,),
    pixels as annotated, where they differ from the boxes'. Optional fields are None.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor | None = None
    masks: Tensor | None = None
    crowd: Tensor | None = None
    areas: Tensor | None = None

    def __len__(self) -> int:
        return self.boxes.shape[0]

    def __getitem__(self, chosen: Tensor) -> Objects:
        """The objects of a boolean (K,) or of positions int64 (M,)."""
        return Objects(*(None if column is None else column[chosen] for column in self._columns()))  # type: ignore[arg-type]

    def to(self, device: torch.device) -> Objects:
        """The same on another device."""
        return Objects(*(None if column is None else column.to(device) for column in self._columns()))  # type: ignore[arg-type]

    def through(self, warp: Warp) -> Objects:
        """Boxes and masks follow the pixels; an object that is hardly visible any more is left out."""
        boxes = warp.boxes(self.boxes)
        sides = boxes[:, 2:] - boxes[:, :2]
        kept = (warp.visible(self.boxes) >= LEAST_VISIBLE) & (sides > 1e-3).all(dim=1)
        masks = None
        if self.masks is not None:
            masks = warp.labels(self.masks[kept], outside=0)
        return Objects(
            boxes[kept],
            self.labels[kept],
            None if self.scores is None else self.scores[kept],
            masks,
            None if self.crowd is None else self.crowd[kept],
        )

    def _columns(self) -> tuple[Tensor | None, ...]:
        return self.boxes, self.labels, self.scores, self.masks, self.crowd, self.areas

    @classmethod
    def none(cls, *, masks: tuple[int, int] | None = None) -> Objects:
        """No object at all; masks: (height, width) of the masks they would have."""
        empty = torch.zeros(0, dtype=torch.bool)
        shapes = None if masks is None else torch.zeros(0, *masks, dtype=torch.bool)
        return cls(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), masks=shapes, crowd=empty)


@dataclass(frozen=True)
class SemanticMap:
    """The class of every pixel, uint8 (H, W), 255 ignored."""

    labels: Tensor

    def to(self, device: torch.device) -> SemanticMap:
        """The same on another device."""
        return SemanticMap(self.labels.to(device))

    def through(self, warp: Warp) -> SemanticMap:
        """Pixels that come from outside the image are ignored."""
        return SemanticMap(warp.labels(self.labels, outside=IGNORE))


@dataclass(frozen=True)
class FlowField:
    """Where every pixel of the first frame lies in the second.

    vectors: float (2, H, W), displacements (x, y) in pixels. valid: bool (H, W), where it is known; None is
    everywhere.
    """

    vectors: Tensor
    valid: Tensor | None = None

    def to(self, device: torch.device) -> FlowField:
        """The same on another device."""
        return FlowField(self.vectors.to(device), None if self.valid is None else self.valid.to(device))

    def through(self, warp: Warp) -> FlowField:
        """Displacements move, scale and are mirrored with the pixels; outside they are not valid."""
        known = self.valid
        if known is None:
            known = torch.ones(self.vectors.shape[-2:], dtype=torch.bool, device=self.vectors.device)
        return FlowField(warp.vectors(self.vectors), warp.labels(known, outside=0))
