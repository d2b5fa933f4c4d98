"""A labelled set drawn on the fly: ten shapes in random colours, sizes, places and rotations.

It needs no download, and only the outline tells the class: colours, area and orientation are drawn without
regard to it, so a representation scores above chance only by having learnt to see shape.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from sslkit.contracts import Item
from sslkit.data.outlines import CLASSES, distances
from sslkit.errors import ConfigError, UnknownNameError
from sslkit.keyed_random import Stream, hashed, word

# Strong textures make instance discrimination learn the texture; plain colours with mild noise do not.
SPLITS = ("train", "test")
SIZE_RANGE = (0.42, 0.56)  # square root of the shape's area, as a share of the image's side
CENTRE_JITTER = 0.1  # furthest offset of the centre along each axis, as a share of the side
NOISE = 8.0  # standard deviation of pixel noise, in grey levels of 255
COLOUR_CANDIDATES = 4  # the shape's colour is the furthest from the background's of this many

_CHUNK = 512  # images rendered at once: bounds the memory of the coordinates


class ShapesSource:
    """`count` images, uint8 (size, size, 3); image i depends on (seed, split, i), its label is i modulo 10.

    All are rendered at the first access and then held: count * size * size * 3 bytes.
    """

    def __init__(self, *, count: int = 6000, size: int = 32, seed: int = 0, split: str | None = None) -> None:
        if count < 1 or size < 8:
            raise ConfigError(
                f"count={count}, size={size}: at least 1 image of at least 8 pixels can be drawn"
            )
        if split is not None and split not in SPLITS:
            raise UnknownNameError("split", split, SPLITS)
        self.count, self.size, self.seed, self.split = count, size, seed, split or SPLITS[0]
        self.classes: Sequence[str] = CLASSES
        self.labels: np.ndarray | None = np.arange(count, dtype=np.int64) % len(self.classes)
        look = (SIZE_RANGE, CENTRE_JITTER, NOISE, COLOUR_CANDIDATES)
        key = f"shapes {count} {size} {seed} {self.split} {look}"
        self.fingerprint = hashlib.sha256(key.encode()).hexdigest()[:32]
        self.native_side: int | None = size
        self.splits: Sequence[str] = SPLITS

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, id: int) -> Item:
        if not 0 <= id < self.count:
            raise IndexError(f"id {id} is outside 0..{self.count - 1}")
        label = id % len(self.classes)
        return Item(self._images[id], f"{self.split}/{id}-{self.classes[label]}", label)

    def read_many(self, ids: np.ndarray) -> np.ndarray:
        """Pixels of many items at once, uint8 (N, size, size, 3)."""
        many: np.ndarray = self._images[ids]
        return many

    @cached_property
    def _images(self) -> np.ndarray:
        starts = range(0, self.count, _CHUNK)
        chunks = [self._render(torch.arange(start, min(start + _CHUNK, self.count))) for start in starts]
        return np.concatenate(chunks)

    def _render(self, ids: torch.Tensor) -> np.ndarray:
        """Draw the images of int64 ids (N,)."""

        def uniform(name: str, *shape: int) -> np.ndarray:
            return self._stream(ids, name).uniform(*shape).numpy()

        area_root = SIZE_RANGE[0] + (SIZE_RANGE[1] - SIZE_RANGE[0]) * uniform("size", 1, 1)
        centre = 0.5 + CENTRE_JITTER * (2 * uniform("centre", 2, 1, 1) - 1)
        angle = 2 * np.pi * uniform("angle", 1, 1)
        grid = (np.arange(self.size, dtype=np.float32) + 0.5) / self.size
        x, y = (grid[None, :] - centre[:, 0]) / area_root, (grid[:, None] - centre[:, 1]) / area_root
        across, down = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
        distance = distances(ids.numpy() % len(CLASSES), across, down) * area_root * self.size
        inside = np.clip(0.5 - distance, 0, 1)[..., None]  # a one pixel wide ramp: the share that is covered

        background = uniform("background", 1, 3)
        candidates = uniform("colour", COLOUR_CANDIDATES, 3)
        furthest = ((candidates - background) ** 2).sum(-1).argmax(1)
        colour = candidates[np.arange(len(ids)), furthest][:, None, None]
        pixels = 255 * (background[:, None] * (1 - inside) + colour * inside)
        # Two uniforms make a triangular law, mild in its tails; its deviation is 1 / sqrt(6).
        noise = uniform("noise", 2, self.size, self.size, 3).sum(1) - 1
        noisy: np.ndarray = np.clip(pixels + NOISE * np.sqrt(6) * noise, 0, 255).round()
        return noisy.astype(np.uint8)

    def _stream(self, ids: torch.Tensor, name: str) -> Stream:
        return Stream(hashed(self.seed, word("shapes"), word(self.split), word(name), ids))
