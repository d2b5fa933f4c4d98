"""What a head said of every test sample, kept so that its figures can be made again of any resample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sslkit.contracts import ClassLabel, Curve, Figures, Head, Judged, Meta, Metric

MOST_BYTES = 2 << 30
"""Predictions and targets of more bytes than this are not kept: then there are no resamples."""


@dataclass
class JudgedHead:
    """Collects predictions; a sample is all its views together."""

    head: Head
    whole: bool = True
    """Whether all samples were kept."""
    _kept: dict[int, list[tuple[Any, Any]]] = field(default_factory=dict)
    _bytes: int = 0
    _summed: Metric | None = None
    _each: list[Metric] | None = None

    def add(self, meta: Meta, prediction: Any, target: Any) -> None:
        """Take in the prediction of one view of a sample."""
        if not self.whole:
            return
        self._bytes += _size(prediction) + _size(target)
        if self._bytes > MOST_BYTES:
            self.whole = False
            self._kept.clear()
            return
        self._kept.setdefault(meta.id, []).append((prediction, target))

    @property
    def count(self) -> int:
        """M, the number of samples that were kept."""
        return len(self._kept)

    @property
    def curves(self) -> Mapping[str, Curve]:
        """A head draws none."""
        return {}

    @property
    def predicted(self) -> Tensor | None:
        """The class said of each sample, of its first view, where it is one class."""
        first = [views[0][0] for _, views in sorted(self._kept.items())]
        if not first or not all(isinstance(one, ClassLabel) for one in first):
            return None
        return torch.tensor([one.label for one in first])

    def figures(self, rows: np.ndarray | None = None) -> Figures:
        """The metric's figures; a sample that comes twice is two samples."""
        if self._summed is None:
            self._summed = self._added(range(self.count))
        if rows is None:
            return self._summed.compute()
        judged = getattr(self._summed, "judged", None)
        if judged is not None:  # the metric can sum up any rows of what it has seen
            found: Judged = judged()
            return found.figures(rows)
        if not getattr(self._summed, "adds_up", False):
            return self._added(rows.tolist()).compute()
        if self._each is None:
            self._each = [self._added([row]) for row in range(self.count)]
        whole = self.head.metrics()
        for row in rows.tolist():
            whole.merge(self._each[row])
        return whole.compute()

    def _added(self, rows: Iterable[int]) -> Metric:
        samples = [views for _, views in sorted(self._kept.items())]
        chosen = [samples[row] for row in rows]
        metric = self.head.metrics()
        ids = [id for id, views in enumerate(chosen) for _ in views]
        pairs = [pair for views in chosen for pair in views]
        metric.update(ids, [one for one, _ in pairs], [one for _, one in pairs])
        return metric


def _size(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if is_dataclass(value) and not isinstance(value, type):
        return sum(_size(getattr(value, one.name)) for one in fields(value))
    return 0
