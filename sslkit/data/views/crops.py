"""The operations that start a view: random resized crops of the valid rectangle, or all of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sslkit.data.views.operation import Parameters, between, check_number, check_range
from sslkit.data.views.resample import Windows, centre_windows, resample, resize_boxes
from sslkit.errors import ConfigError
from sslkit.keyed_random import Stream

_ATTEMPTS = 10


@dataclass(frozen=True, kw_only=True)
class CropResize:
    """Random resized crop (Szegedy et al., 2015, section 6; SimCLR, appendix A), in torchvision's terms.

    scale: share of the valid rectangle's area. ratio: width over height, drawn uniformly in its logarithm.
    Ten attempts are drawn; when none fits, the central crop with the nearest allowed ratio.
    """

    name: ClassVar[str] = "crop_resize"
    colour: ClassVar[bool] = False
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        check_range(self.name, "scale", self.scale, 0.0, 1.0)
        check_range(self.name, "ratio", self.ratio, 0.0, math.inf)
        if self.scale[0] <= 0 or self.ratio[0] <= 0:
            raise ConfigError(f"{self.name}: scale and ratio must be greater than 0.")

    def draw(self, stream: Stream, rectangles: Tensor) -> Parameters:
        """boxes: int64 (N, 4), inside the rectangles."""
        numbers = stream.uniform(2 * _ATTEMPTS + 3)
        return {"boxes": random_boxes(numbers[:, 1:], rectangles, self.scale, self.ratio)}

    def apply(self, canvases: Tensor, parameters: Parameters, size: int) -> Tensor:
        """Each box resized to size x size."""
        windows = resize_boxes(parameters["boxes"], size)
        return resample(canvases, windows, size, parameters.get("mirrored")).div_(255)


@dataclass(frozen=True, kw_only=True)
class CropResizeFlip(CropResize):
    """Random resized crop, mirrored left to right with probability p, in one resampling."""

    name: ClassVar[str] = "crop_resize_flip"
    p: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.name, "p", self.p, 0.0, 1.0)

    def draw(self, stream: Stream, rectangles: Tensor) -> Parameters:
        """boxes: int64 (N, 4); mirrored: bool (N,)."""
        numbers = stream.uniform(2 * _ATTEMPTS + 3)
        boxes = random_boxes(numbers[:, 1:], rectangles, self.scale, self.ratio)
        return {"boxes": boxes, "mirrored": numbers[:, 0] < self.p}


@dataclass(frozen=True, kw_only=True)
class Whole:
    """The central square of the valid rectangle; what a view starts from when its policy names no crop."""

    name: ClassVar[str] = "whole"
    colour: ClassVar[bool] = False

    def draw(self, stream: Stream, rectangles: Tensor) -> Parameters:
        """rectangles: int64 (N, 4), as given; nothing is random."""
        del stream
        return {"rectangles": rectangles}

    def apply(self, canvases: Tensor, parameters: Parameters, size: int) -> Tensor:
        """The shorter side resized to size, the longer one cut."""
        windows: Windows = centre_windows(parameters["rectangles"], size, crop=1.0)
        return resample(canvases, windows, size).div_(255)


def random_boxes(
    numbers: Tensor, rectangles: Tensor, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Boxes inside rectangles, both int64 (N, 4), from uniform (N, 22): 10 areas, 10 ratios, a place."""
    height, width = rectangles[:, 2].float(), rectangles[:, 3].float()
    area = between(numbers[:, :_ATTEMPTS], *scale) * (height * width)[:, None]
    logarithm = between(numbers[:, _ATTEMPTS : 2 * _ATTEMPTS], math.log(ratio[0]), math.log(ratio[1]))
    aspect = logarithm.exp()
    wide, high = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (wide >= 1) & (wide <= width[:, None]) & (high >= 1) & (high <= height[:, None])
    first = fits.to(torch.int8).argmax(dim=1, keepdim=True)
    whole_ratio = width / height
    rest_wide = torch.where(whole_ratio > ratio[1], (height * ratio[1]).round(), width)
    rest_high = torch.where(whole_ratio < ratio[0], (width / ratio[0]).round(), height)
    found = fits.gather(1, first).squeeze(1)
    box_width = torch.where(found, wide.gather(1, first).squeeze(1), rest_wide).clamp_(min=1).long()
    box_height = torch.where(found, high.gather(1, first).squeeze(1), rest_high).clamp_(min=1).long()
    room_down, room_right = rectangles[:, 2] - box_height, rectangles[:, 3] - box_width
    down = (numbers[:, -2] * (room_down + 1)).long().minimum(room_down)
    right = (numbers[:, -1] * (room_right + 1)).long().minimum(room_right)
    down = torch.where(found, down, room_down.div(2, rounding_mode="floor"))
    right = torch.where(found, right, room_right.div(2, rounding_mode="floor"))
    return torch.stack([rectangles[:, 0] + down, rectangles[:, 1] + right, box_height, box_width], dim=1)
