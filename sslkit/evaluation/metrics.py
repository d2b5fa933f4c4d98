"""Ranked classes, and what is asked of labels and embeddings before anything is judged.

A ranking is int64 (N, R), the R best classes of every sample, best first. Ranking classes once, with ties
decided there (the lower class first), makes every figure that follows free of ties.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit.errors import DataError

RANKED = 5  # classes kept per sample: what top-5 needs
_ROWS = 4096  # looked at together


def rank_classes(scores: Tensor, count: int = RANKED) -> Tensor:
    """The best classes of scores (N, K), best first, ties by class number: int64 (N, min(count, K))."""
    return torch.sort(scores, dim=1, descending=True, stable=True).indices[:, :count]


def top_share(ranking: Tensor, labels: Tensor, k: int) -> float:
    """Share of samples whose label is among the first k ranked classes; with K < k classes it is 1."""
    hits = (ranking[:, :k] == labels[:, None]).any(dim=1)
    return float(hits.double().mean())


def check_labels(labels: Tensor, count: int, classes: int) -> None:
    """Raise DataError unless labels are `count` > 0 integers in 0..classes-1."""
    if labels.shape != (count,) or count == 0:
        raise DataError(
            f"{tuple(labels.shape)} labels for {count} samples; one label per sample, at least one"
        )
    wrong = int(((labels < 0) | (labels >= classes)).sum())
    if wrong:
        raise DataError(
            f"{wrong} of {count} labels are outside 0..{classes - 1} (-1 means unknown); "
            "leave those samples out or give them a class"
        )


def check_finite(embeddings: Tensor) -> None:
    """Raise DataError unless every number of embeddings (N, D) is finite."""
    starts = range(0, embeddings.shape[0], _ROWS)
    bad = sum(int((~embeddings[at : at + _ROWS].isfinite().all(dim=1)).sum()) for at in starts)
    if bad:
        raise DataError(
            f"{bad} of {len(embeddings)} embeddings are not finite (NaN or infinite); embed those samples "
            "again (without float16 autocast) or leave them out"
        )
