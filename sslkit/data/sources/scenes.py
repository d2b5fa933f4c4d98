"""A set with masks, boxes or a class for every pixel that needs no download: shapes that hide each other.

Only the outline tells the class: colours, textures, sizes, places and angles are drawn without regard to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch

from sslkit.contracts import Item, Objects, SemanticMap
from sslkit.data.scenes import CLASSES, LOOK, Draws, laid_out, painted
from sslkit.errors import ConfigError, UnknownNameError

Targets = Literal["masks", "semantic"]

SPLITS = ("train", "test")
BACKGROUND = "background"

_CHUNK = 32  # images drawn at once: what is worked on stays in the cache
_SMALLEST = 16  # pixels a side; below it a shape is a few pixels


class ScenesSource:
    """`count` images, uint8 (size, size, 3), of one to four objects; image i depends on (seed, split, i).

    targets: "masks", `Objects` with a mask and a box around what is visible of each, front to back, or
    "semantic", the class of each pixel, 0 the background. An object that shows less than a quarter of its
    area is not drawn. All is drawn at the first access and then held: count * size * size * 4 bytes. Raises
    ConfigError for what cannot be drawn, UnknownNameError for a split that is not there.
    """

    def __init__(
        self,
        *,
        count: int = 300,
        size: int = 96,
        seed: int = 0,
        split: str | None = None,
        targets: Targets = "masks",
    ) -> None:
        if count < 1 or size < _SMALLEST:
            raise ConfigError(
                f"count={count}, size={size}: at least 1 image of at least {_SMALLEST} pixels can be drawn"
            )
        if targets not in get_args(Targets):
            raise ConfigError(f"targets={targets}: scenes have {' or '.join(get_args(Targets))}")
        if split is not None and split not in SPLITS:
            raise UnknownNameError("split", split, SPLITS)
        self.count, self.size, self.seed, self.split = count, size, seed, split or SPLITS[0]
        self.target_kind: str = targets
        self.classes: Sequence[str] = CLASSES if targets == "masks" else (BACKGROUND, *CLASSES)
        self.labels: np.ndarray | None = None
        key = f"scenes {count} {size} {seed} {self.split} {targets} {LOOK}"
        self.fingerprint = hashlib.sha256(key.encode()).hexdigest()[:32]
        self.native_side: int | None = size
        self.splits: Sequence[str] = SPLITS

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, id: int) -> Item:
        return Item(self._images[self._inside(id)], f"{self.split}/{id}")

    def read_many(self, ids: np.ndarray) -> np.ndarray:
        """Pixels of many items at once, uint8 (N, size, size, 3)."""
        many: np.ndarray = self._images[ids]
        return many

    def target(self, id: int) -> Objects | SemanticMap:
        """What is visible in an image, of the kind asked for."""
        seen, labels = torch.from_numpy(self._seen[self._inside(id)]), self._labels[id]
        if self.target_kind == "semantic":
            # The label of "no object" is -1, so that it becomes class 0.
            return SemanticMap(torch.from_numpy(np.append(-1, labels) + 1).to(torch.uint8)[seen.long()])
        kept = np.flatnonzero(labels >= 0)
        masks = torch.stack([seen == number + 1 for number in kept.tolist()])
        boxes = torch.tensor([_box(mask) for mask in masks])
        crowd = torch.zeros(len(kept), dtype=torch.bool)
        return Objects(boxes, torch.from_numpy(labels[kept]), masks=masks, crowd=crowd)

    def problems(self) -> list[str]:
        """None: they are drawn as they are told."""
        return []

    def class_counts(self) -> np.ndarray:
        """Visible objects or pixels of each class in each image, int64 (count, K); no image is painted."""
        labels, classes = self._labels, len(self.classes)
        if self.target_kind == "masks":
            found: np.ndarray = (labels[:, :, None] == np.arange(classes)).sum(1)
            return found
        objects = np.arange(labels.shape[1] + 1)
        pixels = (self._seen.reshape(self.count, -1, 1) == objects).sum(1)  # (count, 1 + M)
        of = np.concatenate([np.zeros((self.count, 1), np.int64), labels + 1], axis=1)
        counts: np.ndarray = (pixels[:, :, None] * (of[:, :, None] == np.arange(classes))).sum(1)
        return counts

    def _inside(self, id: int) -> int:
        if not 0 <= id < self.count:
            raise IndexError(f"id {id} is outside 0..{self.count - 1}")
        return id

    def _draws(self) -> Iterator[Draws]:
        for start in range(0, self.count, _CHUNK):
            yield Draws(self.seed, self.split, torch.arange(start, min(start + _CHUNK, self.count)))

    @cached_property
    def _images(self) -> np.ndarray:
        return np.concatenate([painted(draws, laid_out(draws, self.size)) for draws in self._draws()])

    @cached_property
    def _arranged(self) -> tuple[np.ndarray, np.ndarray]:
        """What each pixel shows, uint8 (count, size, size), and the objects' labels (count, M) or -1."""
        seen, labels = [], []
        for draws in self._draws():
            layout = laid_out(draws, self.size)
            seen.append(layout.seen)
            labels.append(np.where(layout.kept, layout.labels, -1))
        return np.concatenate(seen), np.concatenate(labels)

    @property
    def _seen(self) -> np.ndarray:
        return self._arranged[0]

    @property
    def _labels(self) -> np.ndarray:
        return self._arranged[1]


def _box(mask: torch.Tensor) -> list[float]:
    """The smallest xyxy box around the pixels of a bool (H, W)."""
    rows, columns = (mask.any(dim=axis).nonzero()[:, 0] for axis in (1, 0))
    return [float(columns[0]), float(rows[0]), float(columns[-1]) + 1, float(rows[-1]) + 1]
