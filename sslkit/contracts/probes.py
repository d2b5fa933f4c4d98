"""Probes: cheap tests of frozen embeddings, and what any judgement of a test set looks like.

Shapes: N training samples, M test samples, D embedding width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from torch import Tensor

from sslkit.contracts.data import Skipped
from sslkit.contracts.heads import Figures


@dataclass(frozen=True)
class Features:
    """Embeddings on the CPU, rows aligned.

    ids: int64 (N,). embeddings: float32 (N, D). labels: int64 (N,), -1 where unknown. skipped: samples that
    could not be decoded and have no row. sets: bool (N, K), the classes of each sample where it may have any
    number of them, else None.
    """

    ids: Tensor
    embeddings: Tensor
    labels: Tensor
    skipped: tuple[Skipped, ...] = ()
    sets: Tensor | None = None

    def __len__(self) -> int:
        return self.ids.shape[0]

    def __getitem__(self, rows: Tensor) -> Features:
        """The samples of a boolean (N,) or of rows int64 (M,)."""
        sets = None if self.sets is None else self.sets[rows]
        return Features(self.ids[rows], self.embeddings[rows], self.labels[rows], self.skipped, sets)


@dataclass(frozen=True)
class Curve:
    """Points from left to right, such as of accuracy over the number of labels."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    x_label: str
    y_label: str


class Judged(Protocol):
    """What was said of every test sample, ready to be summed up again for any sample of them."""

    @property
    def count(self) -> int:
        """M, the number of test samples."""
        ...

    @property
    def curves(self) -> Mapping[str, Curve]:
        """Curves by name; empty where there is none."""
        ...

    @property
    def predicted(self) -> Tensor | None:
        """The class said of each test sample, int64 (M,), where one is."""
        ...

    def figures(self, rows: np.ndarray | None = None) -> Figures:
        """Figures of all test samples, or of `rows`, int64 with repetitions: a bootstrap resample."""
        ...


class Probe(Protocol):
    """A test of embeddings, a class built as `Probe(**options)`, the options those of a protocol.

    fitted: it needs a training set with the classes of the test set; else it sees test samples alone, whose
    classes may be new. target: "label", one class a sample, or "labels", any number (`Features.sets`).
    metric: the figure that counts. protocol: the one it is measured by unless another is given; "" is none.
    """

    fitted: ClassVar[bool]
    target: ClassVar[str]
    metric: ClassVar[str]
    higher_is_better: ClassVar[bool]
    protocol: ClassVar[str]

    def __call__(
        self, train: Features | None, test: Features, classes: Sequence[str], *, trial: int
    ) -> Judged:
        """Judge the test samples; what is drawn at random is a function of `trial` and of nothing else.

        Raises ConfigError for options that do not fit the data, DataError for labels or embeddings that
        cannot be used.
        """
        ...
