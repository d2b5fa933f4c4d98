"""Class labels as targets, so that heads can be trained on any labelled source."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from sslkit.contracts import ClassLabel, LabelledSource, Source
from sslkit.data.class_sets import ClassSets
from sslkit.data.subset import Subset
from sslkit.errors import DataError


class LabelTargets(Subset):
    """A source with labels as one with the target `ClassLabel`; unlabelled samples are left out.

    Raises DataError for a source without labels.
    """

    target_kind = "label"

    def __init__(self, source: Source) -> None:
        if source.labels is None or not len(source.classes):
            raise DataError("the data has no labels; use one folder per class, or a list file with labels")
        super().__init__(source, np.flatnonzero(source.labels >= 0))

    # A subset has these only where its source has, so it sets them on each object.
    def target(self, id: int) -> ClassLabel:  # type: ignore[override]
        """The class of a sample."""
        return ClassLabel(int(cast(Any, self.labels)[id]))

    def problems(self) -> list[str]:
        """What the source knows of files that cannot be read; labels were checked where they were read."""
        return list(getattr(self._source, "problems", list)())

    def class_counts(self) -> np.ndarray:  # type: ignore[override]
        """One of its class a sample, int64 (len, K)."""
        return np.eye(len(self.classes), dtype=np.int64)[self.labels]


def offers(source: Source, target: str) -> LabelledSource | None:
    """The source as one whose targets are of a kind, or None where it has no such targets."""
    kind = getattr(source, "target_kind", None)
    if kind == target or (kind, target) == ("masks", "boxes"):
        return cast(LabelledSource, source)
    if target == "labels" and kind in ("boxes", "masks", "semantic"):
        return cast(LabelledSource, ClassSets(cast(LabelledSource, source)))
    if target == "label" and source.labels is not None and len(source.classes) > 1:
        return cast(LabelledSource, LabelTargets(source))
    return None
