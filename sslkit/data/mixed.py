"""Several sources as one, each with its share of every batch."""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch

from sslkit.contracts import Item, LabelledSource, Source
from sslkit.data.mixed_targets import MixedTargets
from sslkit.errors import ConfigError
from sslkit.keyed_random import hashed, word


class MixedSource:
    """The samples of all `sources`, one after another; images and videos may stand together.

    weights: shares of what is read, whatever the sizes, in any unit. They shape `order` alone: an epoch is as
    many reads as there are samples, and of n sources every stretch of it holds a share w to within 1 + n * w
    samples. A source that is small for its share is read again in the same epoch, in another order; of one
    that is large, the next epoch reads on where the last one stopped.

    Labels are those of the classes of all sources together, by name, or none when a source has none. Where
    all have targets of one kind, so has the mixture, of their classes together. Raises ConfigError for
    weights that cannot work.
    """

    def __init__(self, sources: Sequence[Source], weights: Sequence[float]) -> None:
        if not sources or len(weights) != len(sources):
            raise ConfigError(
                f"{len(sources)} sources, {len(weights)} weights: give one weight for each source"
            )
        if not all(0 < weight < math.inf for weight in weights):
            raise ConfigError(
                f"weights={list(weights)}: use numbers above 0; leave out what is not to be read"
            )
        self._sources = list(sources)
        self._ends = np.cumsum([len(source) for source in sources]).tolist()
        self._counts = _apportioned(np.array(weights, np.float64), len(self))
        if not self._counts.all():
            unread = int(np.argmin(self._counts))
            raise ConfigError(
                f"weights={list(weights)}: of an epoch of {len(self)} samples, source {unread} "
                "would have none; give it more, or leave it out"
            )
        self._turns = _turns(self._counts)
        self.classes, self.labels = _labels(sources)
        self.groups = _groups(sources)
        kinds = {getattr(source, "target_kind", None) for source in sources}
        if len(kinds) == 1 and None not in kinds:
            (self.target_kind,) = kinds
            mixture = MixedTargets(cast("Sequence[LabelledSource]", sources), self.classes)
            self.classes = mixture.classes
            self.target, self.problems = mixture.target, mixture.problems
            self.class_counts = mixture.class_counts
        self.native_side: int | None = None
        self.video = any(getattr(source, "video", False) for source in sources)
        self.splits: Sequence[str] = ()
        prints = "\0".join(source.fingerprint for source in sources)
        self.fingerprint = hashlib.sha256(f"mixed\0{prints}".encode()).hexdigest()[:32]

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, id: int) -> Item:
        if not 0 <= id < len(self):
            raise IndexError(f"id {id} is outside 0..{len(self) - 1}")
        number = bisect_right(self._ends, id)
        return self._own(id, self._sources[number][id - self._first(number)])

    def items(self, ids: Sequence[int] | np.ndarray) -> list[Item]:
        """Items of ids in any order, asked of each source at once where it offers that."""
        wanted = np.asarray(ids, np.int64)
        of = np.searchsorted(self._ends, wanted, side="right")
        found: dict[int, Item] = {}
        for number in np.unique(of).tolist():
            source, places = self._sources[number], np.flatnonzero(of == number)
            inside = wanted[places] - self._first(number)
            many = getattr(source, "items", None)
            items = [source[id] for id in inside.tolist()] if many is None else many(inside)
            found.update(zip(places.tolist(), items, strict=True))
        return [self._own(id, found[place]) for place, id in enumerate(wanted.tolist())]

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """The ids an epoch reads, int64 (len,); a source's own order stands where it has one."""
        ids = np.empty(len(self), np.int64)
        for number, (source, count) in enumerate(zip(self._sources, self._counts.tolist(), strict=True)):
            own_seed = int(hashed(seed, word("mixed"), number))
            drawn = _stretch(source, own_seed, epoch * count, count)
            ids[self._turns == number] = drawn + self._first(number)
        return ids

    def _first(self, number: int) -> int:
        return int(self._ends[number - 1]) if number else 0

    def _own(self, id: int, item: Item) -> Item:
        return replace(item, label=None if self.labels is None else int(self.labels[id]))


def _apportioned(weights: np.ndarray, count: int) -> np.ndarray:
    """Parts of `count` in proportion to weights, int64, by the largest remainders (Hamilton)."""
    exact = weights / weights.sum() * count
    parts: np.ndarray = np.floor(exact).astype(np.int64)
    parts[np.argsort(parts - exact, kind="stable")[: count - parts.sum()]] += 1
    return parts


def _turns(counts: np.ndarray) -> np.ndarray:
    """Which source each read is of, int32 (sum,): the k-th of n reads of a source is due at (k + 1/2) / n."""
    due = np.concatenate([(np.arange(count) + 0.5) / count for count in counts.tolist()])
    of = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    turns: np.ndarray = of[np.argsort(due, kind="stable")]
    return turns


def _stretch(source: Source, seed: int, start: int, count: int) -> np.ndarray:
    """Reads start, start + 1, ... of a source that is read over and over, each time in another order."""
    size = len(source)
    passes = range(start // size, (start + count - 1) // size + 1)
    own = getattr(source, "order", None)
    if own is None:  # `keyed_random.permutation` of all passes at once; a small source may have many
        numbers = torch.arange(passes.start, passes.stop)[:, None]
        keys = hashed(seed, numbers, word("permutation"), torch.arange(size))
        orders = torch.argsort(keys, dim=1, stable=True).numpy().reshape(-1)
    else:
        orders = np.concatenate([np.asarray(own(seed, number)) for number in passes])
    begin = start - passes.start * size
    stretch: np.ndarray = orders[begin : begin + count]
    return stretch


def _labels(sources: Sequence[Source]) -> tuple[Sequence[str], np.ndarray | None]:
    if any(source.labels is None for source in sources):
        return (), None
    classes = tuple(sorted({name for source in sources for name in source.classes}))
    number = {name: label for label, name in enumerate(classes)}
    parts = [
        np.array([number[name] for name in source.classes], np.int64)[source.labels] for source in sources
    ]
    return classes, np.concatenate(parts)


def _groups(sources: Sequence[Source]) -> np.ndarray | None:
    """Groups of all, no two sources sharing one; None where no source knows any."""
    known = [getattr(source, "groups", None) for source in sources]
    if all(groups is None for groups in known):
        return None
    parts: list[np.ndarray] = []
    before = 0
    for source, groups in zip(sources, known, strict=True):
        each = np.arange(len(source)) if groups is None else np.unique(groups, return_inverse=True)[1]
        parts.append(each.astype(np.int64) + before)
        before += int(each.max()) + 1
    return np.concatenate(parts)
