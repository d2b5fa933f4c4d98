"""A part of a source, as a source of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from sslkit.contracts import Item, LabelledSource, Source, Target


class Subset:
    """The samples `ids` of a source, renumbered from 0 in the order given; ids: int64 (M,).

    It has the targets of the source, and tells all of its problems: a line does not say whose sample it is.
    """

    def __init__(self, source: Source, ids: np.ndarray) -> None:
        self._source = source
        self._ids = np.asarray(ids, dtype=np.int64)
        self.classes = source.classes
        self.labels = None if source.labels is None else source.labels[self._ids]
        self.native_side = source.native_side
        self.splits: Sequence[str] = ()
        self.fingerprint = hashlib.sha256(source.fingerprint.encode() + self._ids.tobytes()).hexdigest()[:32]

        self.video = bool(getattr(source, "video", False))
        groups: np.ndarray | None = getattr(source, "groups", None)
        self.groups = None if groups is None else groups[self._ids]
        self.group_names: Sequence[str] = getattr(source, "group_names", ())
        if hasattr(source, "read_many"):  # offered only where the source offers it
            self.read_many = partial(_read_many, source, self._ids)
        if hasattr(source, "items"):
            self.items = partial(_items, source, self._ids)
        if isinstance(source, LabelledSource) and not hasattr(type(self), "target"):
            self.target_kind = source.target_kind
            self.target = partial(_target, source, self._ids)
            self.problems = source.problems
            self.class_counts = partial(_class_counts, source, self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, id: int) -> Item:
        return self._source[_inside(self._ids, id)]


def _inside(ids: np.ndarray, id: int) -> int:
    if not 0 <= id < len(ids):
        raise IndexError(f"id {id} is outside 0..{len(ids) - 1}")
    return int(ids[id])


def _target(source: Any, ids: np.ndarray, id: int) -> Target:
    target: Target = source.target(_inside(ids, id))
    return target


def _class_counts(source: Any, ids: np.ndarray) -> np.ndarray:
    counts: np.ndarray = source.class_counts()[ids]
    return counts


def _items(source: Any, ids: np.ndarray, positions: np.ndarray) -> list[Item]:
    items: list[Item] = source.items(ids[positions])
    return items


def _read_many(source: Any, ids: np.ndarray, positions: np.ndarray) -> np.ndarray:
    pixels: np.ndarray = source.read_many(ids[positions])
    return pixels
