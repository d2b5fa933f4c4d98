"""Verification: are two samples of one class? Decided by the similarity of their embeddings alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sslkit.contracts import Features
from sslkit.errors import ConfigError
from sslkit.evaluation.metrics import check_labels
from sslkit.evaluation.sample_pairs import SamplePairs, choose_pairs
from sslkit.evaluation.unit_rows import unit_rows
from sslkit.evaluation.verified import Verified

_AT_ONCE = 4096
"""Pairs whose embeddings are side by side: 64 MiB of them at 2048 dimensions."""


class Verification:
    """pairs: how many to look at; where there are fewer, all, else a draw of the trial, half of them genuine.

    centre: subtract the mean of the test embeddings before their cosine. fars: the false accept rates at
    which true accept rates are given.
    """

    fitted: ClassVar[bool] = False
    target: ClassVar[str] = "label"
    metric: ClassVar[str] = "auc"
    higher_is_better: ClassVar[bool] = True
    protocol: ClassVar[str] = "verification-cosine"

    def __init__(self, *, pairs: int, centre: bool, fars: list[float]) -> None:
        if not all(0 < far < 1 for far in fars):
            raise ConfigError(f"fars={fars}: false accept rates lie between 0 and 1, such as 0.01")
        self._pairs, self._centre, self._fars = pairs, centre, fars

    def __call__(
        self, train: Features | None, test: Features, classes: Sequence[str], *, trial: int
    ) -> Verified:
        """Compare test samples; their classes may be new to the backbone."""
        check_labels(test.labels, len(test), len(classes))
        rows = unit_rows(test.embeddings, centre=self._centre)
        pairs = choose_pairs(test.labels.numpy(), most=self._pairs, trial=trial)
        return Verified(pairs, _similarities(rows, pairs), count=len(test), fars=self._fars)


def _similarities(rows: Tensor, pairs: SamplePairs) -> np.ndarray:
    """The cosine of each pair, float32 (P,)."""
    first, second = torch.from_numpy(pairs.first), torch.from_numpy(pairs.second)
    found = [
        (rows[one] * rows[other]).sum(dim=1)
        for one, other in zip(torch.split(first, _AT_ONCE), torch.split(second, _AT_ONCE), strict=True)
    ]
    return torch.cat(found).numpy()
