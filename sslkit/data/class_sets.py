"""Sets of classes as targets: which classes a whole sample is of, any number of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import torch

from sslkit.contracts import ClassSet, LabelledSource
from sslkit.data.subset import Subset


class ClassSets(Subset):
    """A source with boxes, masks or labels of pixels as one with the target `ClassSet`.

    A sample is of the classes that `class_counts` finds in it, so no picture and no annotation is looked at
    that the source does not look at for them.
    """

    target_kind = "labels"

    def __init__(self, source: LabelledSource) -> None:
        super().__init__(source, np.arange(len(source)))
        self._labelled = source

    # A subset has these only where its source has, so it sets them on each object.
    def target(self, id: int) -> ClassSet:  # type: ignore[override]
        """The classes of a sample."""
        if not 0 <= id < len(self):
            raise IndexError(f"id {id} is outside 0..{len(self) - 1}")
        return ClassSet(torch.from_numpy(self._present[id].copy()))

    def problems(self) -> list[str]:
        """Those of the annotations."""
        return self._labelled.problems()

    def class_counts(self) -> np.ndarray:  # type: ignore[override]
        """One of each of its classes a sample, int64 (len, K)."""
        return self._present.astype(np.int64)

    @cached_property
    def _present(self) -> np.ndarray:
        found: np.ndarray = self._labelled.class_counts() > 0
        return found


class SetTable:
    """Which of K classes each of N samples is of, where many are of the same.

    kinds: the classes of each kind of sample, numbers of 0..K-1; of: int64 (N,), the kind of each sample.
    """

    def __init__(self, kinds: Iterable[Sequence[int]], of: np.ndarray, classes: int) -> None:
        lists = [np.unique(np.asarray(kind, np.int64)) for kind in kinds]
        self._classes, self._of = classes, of
        self._ends = np.cumsum([0, *map(len, lists)])
        self._held = np.concatenate([*lists, np.empty(0, np.int64)])

    def target(self, id: int) -> ClassSet:
        """The classes of a sample."""
        if not 0 <= id < len(self._of):
            raise IndexError(f"id {id} is outside 0..{len(self._of) - 1}")
        present = torch.zeros(self._classes, dtype=torch.bool)
        present[self._kind(int(self._of[id]))] = True
        return ClassSet(present)

    def class_counts(self) -> np.ndarray:
        """One of each of its classes a sample, int64 (N, K)."""
        counts = np.zeros((len(self._ends) - 1, self._classes), np.int64)
        counts[np.repeat(np.arange(len(counts)), np.diff(self._ends)), self._held] = 1
        found: np.ndarray = counts[self._of]
        return found

    def content(self) -> bytes:
        """What tells two tables apart."""
        lengths = np.diff(self._ends)[self._of]
        every = [self._kind(kind) for kind in self._of.tolist()]
        held = np.concatenate([*every, np.empty(0, np.int64)])
        return bytes(lengths.tobytes() + held.tobytes())

    def _kind(self, kind: int) -> np.ndarray:
        held: np.ndarray = self._held[self._ends[kind] : self._ends[kind + 1]]
        return held
