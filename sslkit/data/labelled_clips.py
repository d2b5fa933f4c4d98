"""Clips of labelled videos, decoded and put on canvases: one drawn in training, several views in a test."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from sslkit.contracts import Content, Frames, Item, LabelledSource, Meta, Moment
from sslkit.data.augment import Augment
from sslkit.data.clip_sampling import ClipSampling, seconds
from sslkit.data.decode.moment import decode_moment, moment_size
from sslkit.data.labelled_samples import Decoded, Kept, Shown, bytes_of, fitting_side, moved, stacked
from sslkit.data.warp import Placed, covering, fit
from sslkit.errors import DecodeError
from sslkit.keyed_random import Keys


@dataclass
class ClipSamples:
    """Reads clips (T, C, H, W) of videos, and of several images as of a video.

    kept: decoded views of a test, since drawn clips do not come again. All frames of a clip lie alike on
    their canvas and change their colours alike.
    """

    source: LabelledSource
    size: tuple[int, int]
    channels: int
    augment: Augment | None
    kept: Kept[Decoded]
    clip: ClipSampling
    _sizes: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a row's pixels."""
        return (self.clip.frames, self.channels, *self.size)

    def show(self, id: int, key: Keys, view: int) -> list[Shown]:
        """The views of a sample on their canvases; raises DecodeError, and DataError for its annotations."""
        sample = self.kept.samples.get(id) or self._read(id, key, view)
        pixels, original = sample.pixels, sample.original
        if self.augment is not None:
            places = [self.augment.draw(original, self.size, key, view)]
            pixels = torch.stack([self.augment.coloured(one, key, view) for one in pixels])
        elif self._cropped:
            places = covering(original, self.size, self.clip.crops)
        else:
            places = [fit(original, self.size)]
        rows = [(one, placed) for one in pixels for placed in places]
        return [self._placed(sample, *row, id, number) for number, row in enumerate(rows)]

    def _placed(self, sample: Decoded, pixels: Tensor, placed: Placed, id: int, view: int) -> Shown:
        original = sample.original if self.augment is None else placed.valid
        meta = Meta(id, sample.name, original, placed.valid, self.size, view)
        return Shown(placed.image(pixels), meta, moved(sample.target, placed, sample.name, id))

    def _read(self, id: int, key: Keys, view: int) -> Decoded:
        item = self.source[id]
        draw = float(key.stream(view, "start").uniform(1)) if self.clip.drawn else 0.0
        pixels, original = self._decoded(id, item, draw)
        sample = Decoded(item.name, pixels, original, self.source.target(id))
        if not self.clip.drawn:
            self.kept.add(id, sample, pixels.nbytes + bytes_of(sample.target))
        return sample

    def _decoded(self, id: int, item: Item, draw: float) -> tuple[Tensor, tuple[int, int]]:
        """Pixels (M, T, C, h, w) of the clips, no larger than a canvas needs; the video's (height, width)."""
        content = item.content
        if lacking := self.clip.lacks(content):
            raise DecodeError(f"{item.name}: {lacking}; use a shorter clip, or training.clip.short=repeat")
        numbers = self.clip.numbers(content, draw)
        if not isinstance(content, Moment):
            return self._of_images(content, numbers)
        if id not in self._sizes:
            self._sizes[id] = moment_size(content, channels=self.channels)
        original = self._sizes[id]
        pixels, (_, _, height, width) = decode_moment(
            content, seconds(content, numbers), canvas=self._side(original), channels=self.channels
        )
        return torch.from_numpy(pixels[..., :height, :width].copy()), original

    def _of_images(self, content: Content, numbers: np.ndarray) -> tuple[Tensor, tuple[int, int]]:
        images = content.images if isinstance(content, Frames) else (content,)
        wanted = sorted(set(numbers.ravel().tolist()))
        pixels, original = stacked([images[one] for one in wanted], self._side, self.channels)
        return pixels[np.searchsorted(wanted, numbers)], original

    @property
    def _cropped(self) -> bool:
        return self.clip.crops > 1 and not self.clip.drawn

    def _side(self, original: tuple[int, int]) -> int:
        if self._cropped:
            return min(max(original), max(covering(original, self.size, 1)[0].scaled))
        return fitting_side(original, self.size, self.augment)
