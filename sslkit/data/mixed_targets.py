"""The targets of several sources, labelled by the classes of all of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sslkit.contracts import IGNORE, ClassLabel, ClassSet, LabelledSource, Objects, SemanticMap, Target


class MixedTargets:
    """Targets of the samples of all `sources`, one after another.

    classes: names that labels become numbers of; empty takes those of the sources together, in their order
    where it is the same for all, else sorted. The labels of a plugin's own kind of target stay as they are,
    so its sources need the same classes.
    """

    def __init__(self, sources: Sequence[LabelledSource], classes: Sequence[str] = ()) -> None:
        self._sources = list(sources)
        self._ends = np.cumsum([len(source) for source in sources]).tolist()
        names = {tuple(source.classes) for source in sources}
        together = (
            names.pop() if len(names) == 1 else sorted({name for one in sources for name in one.classes})
        )
        self.classes = tuple(classes) or tuple(together)
        number = {name: label for label, name in enumerate(self.classes)}
        self._numbers = [
            torch.tensor([number[name] for name in source.classes], dtype=torch.int64) for source in sources
        ]

    def target(self, id: int) -> Target:
        """The target of a sample."""
        if not 0 <= id < self._ends[-1]:
            raise IndexError(f"id {id} is outside 0..{self._ends[-1] - 1}")
        place = bisect_right(self._ends, id)
        target = self._sources[place].target(id - (self._ends[place - 1] if place else 0))
        return _renumbered(target, self._numbers[place], len(self.classes))

    def problems(self) -> list[str]:
        """Those of all sources."""
        return [line for source in self._sources for line in source.problems()]

    def class_counts(self) -> np.ndarray:
        """How many of each class each sample has, int64 (len, K)."""
        counts = np.zeros((self._ends[-1], len(self.classes)), np.int64)
        start = 0
        for source, numbers, end in zip(self._sources, self._numbers, self._ends, strict=True):
            counts[start:end, numbers.numpy()] = source.class_counts()
            start = end
        return counts


def _renumbered(target: Target, numbers: Tensor, classes: int) -> Target:
    """The same with label k as numbers[k] of so many classes."""
    if isinstance(target, Objects):
        return replace(target, labels=numbers[target.labels])
    if isinstance(target, SemanticMap):
        table = torch.full((256,), IGNORE, dtype=torch.uint8)
        table[: len(numbers)] = numbers.to(torch.uint8)
        return SemanticMap(table[target.labels.long()])
    if isinstance(target, ClassLabel):
        return replace(target, label=int(numbers[target.label]))
    if isinstance(target, ClassSet):
        present = torch.zeros(classes, dtype=torch.bool)
        present[numbers] = target.present
        return replace(target, present=present)
    return target
