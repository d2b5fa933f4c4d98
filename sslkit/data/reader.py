"""Turns ids of a source into a batch of canvases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sslkit.contracts import Batch, Skipped, Source
from sslkit.data.decode.image import decode_image
from sslkit.errors import DecodeError


@dataclass(frozen=True)
class BatchReader:
    """Reads items of a source onto square canvases, as a map-style data set for torch's DataLoader.

    A source may offer `read_many(ids) -> uint8 (N, H, W, C)`; it is used where its images fit the canvas.
    """

    source: Source
    canvas: int
    channels: int = 3

    def __getitems__(self, ids: Sequence[int]) -> Batch:
        """DataLoader's name for reading the ids of a whole batch at once."""
        return self.read(torch.as_tensor(ids, dtype=torch.int64))

    def read(self, ids: Tensor) -> Batch:
        """Decode the items of int64 ids (N,); what cannot be decoded is in `skipped` and has no row."""
        if self.source.native_side is not None and self.source.native_side <= self.canvas:
            read_many = getattr(self.source, "read_many", None)
            if read_many is not None:
                return self._stacked(ids, read_many(ids.numpy()))
        return self._decoded(ids)

    def _stacked(self, ids: Tensor, images: np.ndarray) -> Batch:
        count, height, width, depth = images.shape
        if self.channels == 1 and depth == 3:
            return self._decoded(ids)  # one definition of luminance: the decoder's
        planar = torch.from_numpy(images).permute(0, 3, 1, 2)
        pixels = torch.zeros((count, self.channels, self.canvas, self.canvas), dtype=torch.uint8)
        pixels[:, :, :height, :width] = planar  # grey is repeated in every channel
        rectangles = torch.tensor((0, 0, height, width)).expand(count, 4).contiguous()
        return Batch(ids, pixels, rectangles, self._labels(ids), self._groups(ids))

    def _decoded(self, ids: Tensor) -> Batch:
        kept: list[int] = []
        rectangles: list[tuple[int, int, int, int]] = []
        skipped: list[Skipped] = []
        pixels = np.empty((len(ids), self.channels, self.canvas, self.canvas), np.uint8)
        for id in ids.tolist():
            item = self.source[id]
            try:
                image, rectangle = decode_image(item.content, canvas=self.canvas, channels=self.channels)
            except DecodeError as error:
                skipped.append(Skipped(id, item.name, str(error)))
                continue
            pixels[len(kept)] = image
            kept.append(id)
            rectangles.append(rectangle)
        rows = torch.tensor(kept, dtype=torch.int64)
        valid = torch.tensor(rectangles, dtype=torch.int64).view(-1, 4)
        images = torch.from_numpy(pixels[: len(kept)])
        return Batch(rows, images, valid, self._labels(rows), self._groups(rows), tuple(skipped))

    def _labels(self, ids: Tensor) -> Tensor:
        if self.source.labels is None:
            return torch.full_like(ids, -1)
        return torch.from_numpy(self.source.labels[ids.numpy()].astype(np.int64, copy=False))

    def _groups(self, ids: Tensor) -> Tensor:
        groups: np.ndarray | None = getattr(self.source, "groups", None)
        return ids if groups is None else torch.from_numpy(groups[ids.numpy()].astype(np.int64, copy=False))
