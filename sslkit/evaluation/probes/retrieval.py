"""Retrieval: does a sample find others of its class among all test samples?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sslkit.contracts import Features
from sslkit.errors import ConfigError, DataError
from sslkit.evaluation.judged import PerSample
from sslkit.evaluation.metrics import check_labels
from sslkit.evaluation.retrieval_figures import retrieval_values
from sslkit.evaluation.unit_rows import unit_rows


class Retrieval:
    """ks: numbers of neighbours whose recall is given, 1 among them; nothing is drawn.

    Every sample is a query, all others are searched exactly, and a query alone in its class does not count.
    Of a resample queries are drawn again; what they search stays.
    """

    fitted: ClassVar[bool] = False
    target: ClassVar[str] = "label"
    metric: ClassVar[str] = "recall@1"
    higher_is_better: ClassVar[bool] = True
    protocol: ClassVar[str] = "retrieval-cosine"

    def __init__(self, *, ks: list[int]) -> None:
        if 1 not in ks or min(ks) < 1:
            raise ConfigError(f"ks={ks}: give numbers from 1 on, with 1 among them, such as [1, 5, 10]")
        self._ks = sorted(set(ks))

    def __call__(
        self, train: Features | None, test: Features, classes: Sequence[str], *, trial: int
    ) -> PerSample:
        """Search for every test sample; raises DataError where no class has two samples."""
        check_labels(test.labels, len(test), len(classes))
        if int(test.labels.bincount().max()) < 2:
            raise DataError(
                f"{len(test)} test samples are of {len(test)} classes, so there is nothing to find; give at "
                "least two samples of a class"
            )
        values = retrieval_values(unit_rows(test.embeddings), test.labels, self._ks)
        return PerSample(values, groups=test.labels, classes=classes)
