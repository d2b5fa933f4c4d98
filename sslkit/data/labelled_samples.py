"""Images and pairs with targets, decoded, kept in memory where they fit, and put on canvases."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from sslkit.contracts import Content, Frames, LabelledSource, Meta, Moment, Refused, Target
from sslkit.data.augment import Augment
from sslkit.data.decode.image import decode_image, fitting, read_header
from sslkit.data.warp import Placed, fit, fitted_side
from sslkit.errors import DataError, DecodeError
from sslkit.keyed_random import Keys

APART = 0.2
"""Probability that the frames of a pair change their colours each for itself (Teed and Deng 2020, RAFT,
supplement: photometric augmentation)."""


@dataclass(frozen=True)
class Shown:
    """A sample on its canvas: pixels (C, H, W), of pairs and clips (T, C, H, W)."""

    pixels: Tensor
    meta: Meta
    target: Target


@dataclass(frozen=True)
class Decoded:
    """A sample as it is kept: pixels (..., C, h, w), perhaps already shrunk; original: (height, width)."""

    name: str
    pixels: Tensor
    original: tuple[int, int]
    target: Target


Sample = TypeVar("Sample")


@dataclass
class Kept(Generic[Sample]):
    """Samples by id, as many as `room` bytes hold; threads may share it."""

    room: int
    samples: dict[int, Sample] = field(default_factory=dict)
    _adding: Lock = field(default_factory=Lock)

    def add(self, id: int, sample: Sample, cost: int) -> None:
        """Keep a sample, unless it is known or takes more than is left."""
        with self._adding:
            if cost <= self.room and id not in self.samples:
                self.room -= cost
                self.samples[id] = sample


@dataclass
class StillSamples:
    """Reads samples that are one image, or a pair where `pairs` says so; `kept`: what is not read again."""

    source: LabelledSource
    size: tuple[int, int]
    channels: int
    augment: Augment | None
    kept: Kept[Decoded]
    pairs: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a row's pixels."""
        image = (self.channels, *self.size)
        return (2, *image) if self.pairs else image

    def show(self, id: int, key: Keys, view: int) -> list[Shown]:
        """A sample on its canvas; raises DecodeError, and DataError for its annotations."""
        sample = self.kept.samples.get(id) or self._read(id)
        pixels = sample.pixels
        if self.augment is None:
            placed, target = fit(sample.original, self.size), sample.target
        else:
            placed = self.augment.draw(sample.original, self.size, key, view)
            pixels = self.augment.coloured(pixels, key, view, apart=APART if self.pairs else 0.0)
            target = moved(sample.target, placed, sample.name, id)
        original = sample.original if self.augment is None else placed.valid
        meta = Meta(id, sample.name, original, placed.valid, self.size)
        return [Shown(placed.image(pixels), meta, target)]

    def _read(self, id: int) -> Decoded:
        item = self.source[id]
        images = pair_of(item.content) if self.pairs else single_of(item.content)
        pixels, original = stacked(images, self._side, self.channels)
        sample = Decoded(item.name, pixels if self.pairs else pixels[0], original, self.source.target(id))
        if self.augment is None:  # what is always shown alike is kept as shown
            target = moved(sample.target, fit(original, self.size), item.name, id)
            sample = Decoded(item.name, sample.pixels, original, target)
        self.kept.add(id, sample, pixels.nbytes + bytes_of(sample.target))
        return sample

    def _side(self, original: tuple[int, int]) -> int:
        return fitting_side(original, self.size, self.augment)


def pair_of(content: Content) -> Sequence[Content]:
    """The two images of a pair; raises DecodeError for anything else."""
    if isinstance(content, Refused):
        raise DecodeError(content.reason)
    if isinstance(content, Moment):
        raise DecodeError("a video where a head of pairs takes two images; give a source of pairs")
    images: Sequence[Content] = content.images if isinstance(content, Frames) else (content,)
    if len(images) != 2:
        raise DecodeError(f"{len(images)} images where a head of pairs takes two; give a source of pairs")
    return images


def single_of(content: Content) -> Sequence[Content]:
    """The one image of a sample; raises DecodeError for several."""
    if isinstance(content, Frames):
        raise DecodeError(
            f"{len(content.images)} images where a head of images takes one; use a head of pairs or clips"
        )
    return [content]


def moved(target: Target, placed: Placed, name: str, id: int) -> Target:
    """The target of a sample as its image lies; raises DataError that names the sample."""
    try:
        return target.through(placed)
    except DataError as error:
        raise DataError(f"{name} (id {id}): {error}") from error


def stacked(
    images: Sequence[Content], side: Callable[[tuple[int, int]], int], channels: int
) -> tuple[Tensor, tuple[int, int]]:
    """Images of one size to pixels (T, C, h, w), and to their (height, width) before they were shrunk.

    side: the longer one to decode an image of (height, width) to. Raises DecodeError that names the odd one.
    """
    decoded = [_decoded(image, side, channels) for image in images]
    original = decoded[0][1]
    for place, (_, other) in enumerate(decoded):
        if other != original:
            raise DecodeError(
                f"{_name(images[place], place)} has {other[1]}x{other[0]} pixels, and "
                f"{_name(images[0], 0)} {original[1]}x{original[0]}; what belongs together has one size"
            )
    return torch.stack([pixels for pixels, _ in decoded]), original


def fitting_side(original: tuple[int, int], size: tuple[int, int], augment: Augment | None) -> int:
    """The longer side that no canvas shows more of, of an image that is fitted to it or changed at random."""
    largest = 1.0 if augment is None else augment.scale[1]
    return min(max(original), math.ceil(fitted_side(original, size) * largest))


def bytes_of(target: Target) -> int:
    """The memory of a target's tensors and arrays."""
    values: Any = vars(target).values() if hasattr(target, "__dict__") else ()
    return sum(value.nbytes for value in values if isinstance(value, Tensor | np.ndarray))


def _decoded(
    content: Content, side: Callable[[tuple[int, int]], int], channels: int
) -> tuple[Tensor, tuple[int, int]]:
    """Pixels (C, h, w) whose longer side is `side`; the (height, width) of the whole, upright."""
    header = read_header(content, channels=channels)
    stored, turned = (header.height, header.width), (header.width, header.height)
    longer = side(stored)
    pixels, (_, _, *shape) = decode_image(content, canvas=longer, channels=channels)
    # An EXIF rotation shows in the sides; where shrinking made them equal, whole images tell.
    if stored != turned and fitting(stored, longer) == fitting(turned, longer):
        _, (_, _, *whole) = decode_image(content, canvas=max(stored), channels=channels)
        upright = tuple(whole) == stored
    else:
        upright = tuple(shape) == fitting(stored, longer)
    if not upright:
        stored, longer = turned, side(turned)
        pixels, (_, _, *shape) = decode_image(content, canvas=longer, channels=channels)
    height, width = shape
    return torch.from_numpy(pixels[:, :height, :width].copy()), stored


def _name(content: Content, place: int) -> str:
    return str(content) if isinstance(content, Path) else f"image {place + 1}"
