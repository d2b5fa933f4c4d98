"""A set that stands for faces and needs no download: drawn heads, each seen in many poses and lights.

The persons of the two splits are different ones, so a network is asked about persons that it never met.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from sslkit.contracts import Item
from sslkit.data.portraits import MUTED, POSES, TRAITS, WAVES, portraits, scaled
from sslkit.errors import ConfigError, UnknownNameError
from sslkit.keyed_random import Stream, hashed, word

SPLITS = ("train", "test")

_CHUNK = 32  # pictures drawn at once: what is worked on stays in the cache
_SMALLEST = 32  # pixels a side; below it eyes are single pixels


class IdentitiesSource:
    """`count` pictures, uint8 (size, size, 3), of `identities` persons; picture i shows person i modulo them.

    What a person looks like depends on (seed, split, person), the pose, light, background and noise of a
    picture on (seed, split, i). Labels are persons, named after their split, as no two splits share one. All
    are drawn at the first access and then held: count * size * size * 3 bytes. Raises ConfigError for what
    cannot be drawn, UnknownNameError for a split that is not there.
    """

    def __init__(
        self,
        *,
        count: int = 400,
        identities: int = 40,
        size: int = 64,
        seed: int = 0,
        split: str | None = None,
    ) -> None:
        if identities < 2 or count < 2 * identities or size < _SMALLEST:
            raise ConfigError(
                f"count={count}, identities={identities}, size={size}: at least 2 persons in 2 pictures each "
                f"of {_SMALLEST} pixels can be drawn"
            )
        if split is not None and split not in SPLITS:
            raise UnknownNameError("split", split, SPLITS)
        self.count, self.size, self.seed, self.split = count, size, seed, split or SPLITS[0]
        self.classes: Sequence[str] = tuple(f"{self.split}-{person:03d}" for person in range(identities))
        self.labels: np.ndarray | None = np.arange(count, dtype=np.int64) % identities
        key = f"identities {count} {identities} {size} {seed} {self.split} {TRAITS} {POSES} {WAVES} {MUTED}"
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
        return np.concatenate(
            [self._drawn(torch.arange(start, min(start + _CHUNK, self.count))) for start in starts]
        )

    def _drawn(self, ids: torch.Tensor) -> np.ndarray:
        """The pictures of int64 ids (N,)."""
        people = self._stream(ids % len(self.classes), "person").uniform(len(TRAITS)).numpy()
        poses = self._stream(ids, "pose").uniform(len(POSES)).numpy()
        background = self._stream(ids, "background").uniform(2 + WAVES, 3).numpy()
        noise = self._stream(ids, "noise").uniform(self.size, self.size, 1).numpy()
        return portraits(scaled(TRAITS, people), scaled(POSES, poses), background, noise, self.size)

    def _stream(self, keys: torch.Tensor, name: str) -> Stream:
        return Stream(hashed(self.seed, word("identities"), word(self.split), word(name), keys))
