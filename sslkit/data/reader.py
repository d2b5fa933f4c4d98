"""Turns ids of a source into a batch of canvases."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sslkit.contracts import Batch, Frames, Item, Moment, Skipped, Source, Views
from sslkit.data.clips import Clips
from sslkit.data.decode.frames_folder import decode_frames
from sslkit.data.decode.image import decode_image
from sslkit.data.decode.moment import decode_moment
from sslkit.data.decoded_cache import DecodedCache, stamp_of
from sslkit.errors import DecodeError
from sslkit.keyed_random import Keys

Rectangle = tuple[int, int, int, int]


@dataclass(frozen=True)
class BatchReader:
    """Reads items of a source onto square canvases, as a map-style data set for torch's DataLoader.

    clips: how to look at videos; every sample is then (M, T, C, S, S), still images among them repeated, and
    several that belong together taken as a video of one frame a second. Without clips the first of them is
    read.
    seed: of the times looked at; still: always look at the middle, once. cache: where decoded canvases are
    kept. threads: samples decoded at a time. views: made here rather than on the device.

    A source may offer `read_many(ids) -> uint8 (N, H, W, C)`; it is used where its images fit the canvas.
    """

    source: Source
    canvas: int
    channels: int = 3
    clips: Clips | None = None
    seed: int = 0
    still: bool = False
    cache: DecodedCache | None = None
    threads: int = 1
    views: Views | None = None

    def __getitems__(self, numbers: Sequence[int]) -> Batch:
        """DataLoader's name for reading a whole batch at once: the epoch, then the ids."""
        epoch, *ids = numbers
        return self.read(torch.as_tensor(ids, dtype=torch.int64), epoch)

    def read(self, ids: Tensor, epoch: int = 0) -> Batch:
        """Decode the items of int64 ids (N,); what cannot be decoded is in `skipped` and has no row."""
        batch = self._stacked(ids)
        if batch is None:
            batch = self._decoded(ids, epoch)
        if self.views is None or not len(batch):
            return batch
        views = self.views(batch.pixels, batch.rectangles, Keys(self.seed, epoch, batch.ids))
        return replace(batch, pixels=batch.pixels.new_empty((len(batch), 0)), views=tuple(views))

    def _stacked(self, ids: Tensor) -> Batch | None:
        """Arrays in memory in one copy, where that is all there is to do."""
        read_many = getattr(self.source, "read_many", None)
        if read_many is None or self.clips is not None:
            return None
        if self.source.native_side is None or self.source.native_side > self.canvas:
            return None
        images: np.ndarray = read_many(ids.numpy())
        count, height, width, depth = images.shape
        if depth not in (1, self.channels):
            return None  # one definition of luminance, and of what does not fit: the decoder's
        planar = torch.from_numpy(images).permute(0, 3, 1, 2)
        pixels = torch.zeros((count, self.channels, self.canvas, self.canvas), dtype=torch.uint8)
        pixels[:, :, :height, :width] = planar  # grey is repeated in every channel
        rectangles = torch.tensor((0, 0, height, width)).expand(count, 4).contiguous()
        return Batch(ids, pixels, rectangles, self._labels(ids), self._groups(ids))

    def _decoded(self, ids: Tensor, epoch: int) -> Batch:
        numbers = ids.tolist()
        pixels = np.empty((len(numbers), *self._shape()), np.uint8)
        items = self._items(ids)

        def decode(row: int) -> Rectangle | Skipped:
            try:
                return self._decode(numbers[row], items[row], epoch, pixels[row])
            except DecodeError as error:
                return Skipped(numbers[row], items[row].name, str(error))

        rows = range(len(numbers))
        threaded = self.threads > 1 and len(numbers) > 1
        found = list((_pool(self.threads, os.getpid()).map if threaded else map)(decode, rows))
        kept = [row for row in rows if not isinstance(found[row], Skipped)]
        images = torch.from_numpy(pixels if len(kept) == len(numbers) else pixels[kept])
        left = ids[kept]
        valid = torch.tensor([found[row] for row in kept], dtype=torch.int64).view(-1, 4)
        skipped = tuple(one for one in found if isinstance(one, Skipped))
        return Batch(left, images, valid, self._labels(left), self._groups(left), skipped)

    @property
    def sample_bytes(self) -> int:
        """Memory that one sample of a batch takes."""
        if self.views is None:
            return math.prod(self._shape())
        sizes = getattr(self.views, "sizes", (self.views.size,) * self.views.count)
        frames = self.clips.frames if self.clips is not None else 1
        return sum(4 * frames * self.channels * size * size for size in sizes)

    def _shape(self) -> tuple[int, ...]:
        image = (self.channels, self.canvas, self.canvas)
        if self.clips is None:
            return image
        return (1 if self.still else self.clips.moments, self.clips.frames, *image)

    def _items(self, ids: Tensor) -> Sequence[Item]:
        items = getattr(self.source, "items", None)
        if items is not None:
            many: list[Item] = items(ids.numpy())
            return many
        return [self.source[id] for id in ids.tolist()]

    def _decode(self, id: int, item: Item, epoch: int, out: np.ndarray) -> Rectangle:
        content = item.content
        if isinstance(content, Moment):
            if self.clips is None:
                raise DecodeError(f"{item.name} is video, which is read with data.clip, as {{frames: 1}}")
            out[:], rectangle = decode_moment(
                content,
                self._times(self.clips, content, epoch, id),
                canvas=self.canvas,
                channels=self.channels,
                decoder=self.clips.decoder,
            )
            return rectangle
        if isinstance(content, Frames) and self.clips is not None:
            count = float(len(content.images))
            times = self._times(self.clips, Moment(Path(), 0.0, count, count, 1.0), epoch, id)
            out[:], rectangle = decode_frames(
                content.images, times, 1.0, canvas=self.canvas, channels=self.channels
            )
            return rectangle
        if isinstance(content, Frames):
            content = content.images[0]
        if self.cache is None or self.clips is not None:
            out[:], rectangle = decode_image(content, canvas=self.canvas, channels=self.channels)
            return rectangle
        stamp = stamp_of(content)
        known = self.cache.read(id, stamp, out)
        if known is not None:
            return known
        out[:], rectangle = decode_image(content, canvas=self.canvas, channels=self.channels)
        self.cache.put(id, stamp, out, rectangle)
        return rectangle

    def _times(self, clips: Clips, moment: Moment, epoch: int, id: int) -> np.ndarray:
        return clips.still(moment) if self.still else clips.times(moment, self.seed, epoch, id)

    def _labels(self, ids: Tensor) -> Tensor:
        if self.source.labels is None:
            return torch.full_like(ids, -1)
        return torch.from_numpy(self.source.labels[ids.numpy()].astype(np.int64, copy=False))

    def _groups(self, ids: Tensor) -> Tensor:
        groups: np.ndarray | None = getattr(self.source, "groups", None)
        return ids if groups is None else torch.from_numpy(groups[ids.numpy()].astype(np.int64, copy=False))


def holds_video(source: Source) -> bool:
    """Whether any of a source's samples is part of a video."""
    return bool(getattr(source, "video", False))


@functools.cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads of this process; those of a parent do not live on in a forked child."""
    del process
    return ThreadPoolExecutor(threads, thread_name_prefix="decode")
