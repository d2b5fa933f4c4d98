"""Weighted k-nearest-neighbour classification of embeddings, without any training.

Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018, section 3.4:
every one of the k most cosine-similar training samples votes for its class with weight
exp(similarity / temperature). Similarities are made block by block; the whole matrix is never held.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.errors import ConfigError, DataError
from sslkit.evaluation.metrics import check_finite, check_labels, rank_classes

# One block of similarities is 512 x 4096 float32: 8 MiB.
_QUERIES = 512
_BANK = 4096


class Votes(NamedTuple):
    """ranking: int64 (M, R), the R = min(5, K) best classes, best first; shares: float32 (M, R)."""

    ranking: Tensor
    shares: Tensor


def knn_classify(
    train: Tensor, train_labels: Tensor, test: Tensor, *, k: int, temperature: float, classes: int
) -> Votes:
    """Classify test embeddings (M, D) by their k nearest of train (N, D), labels int64 (N,) in 0..classes-1.

    Equal similarities go to the earlier training row and equal votes to the lower class.

    Raises:
        ConfigError: k is not in 1..N, or temperature is not positive.
        DataError: labels are out of range, widths differ, or an embedding is not finite.
    """
    _check(train, train_labels, k, train.shape[0], temperature, classes)
    if test.dim() != 2 or test.shape[1] != train.shape[1]:
        raise DataError(
            f"test embeddings {tuple(test.shape)} against {tuple(train.shape)}: widths must agree"
        )
    check_finite(test)
    return _classify(train, train_labels, test, k, temperature, classes, leave_out=False)


def knn_leave_one_out(
    embeddings: Tensor, labels: Tensor, *, k: int, temperature: float, classes: int
) -> Votes:
    """Classify every embedding (N, D) by its k nearest others: a row never votes for itself, its twins do.

    Errors as `knn_classify`, with k in 1..N-1.
    """
    _check(embeddings, labels, k, embeddings.shape[0] - 1, temperature, classes)
    return _classify(embeddings, labels, embeddings, k, temperature, classes, leave_out=True)


def _classify(
    train: Tensor,
    labels: Tensor,
    test: Tensor,
    k: int,
    temperature: float,
    classes: int,
    *,
    leave_out: bool,
) -> Votes:
    rankings, shares = [], []
    for start in range(0, test.shape[0], _QUERIES):
        queries = _unit(test[start : start + _QUERIES])
        similarities, rows = _nearest(queries, train, k, start if leave_out else None)
        # Relative to the nearest, so that a small temperature cannot overflow; shares are unchanged.
        weights = ((similarities - similarities[:, :1]) / temperature).exp()
        votes = torch.zeros(queries.shape[0], classes, device=queries.device)
        voted = labels[rows]
        for rank in range(k):  # one vote per row and step: the order of addition is fixed on every device
            votes.scatter_add_(1, voted[:, rank : rank + 1], weights[:, rank : rank + 1])
        ranking = rank_classes(votes)
        rankings.append(ranking)
        shares.append(votes.gather(1, ranking) / votes.sum(dim=1, keepdim=True))
    return Votes(torch.cat(rankings), torch.cat(shares))


def _nearest(queries: Tensor, bank: Tensor, k: int, own: int | None) -> tuple[Tensor, Tensor]:
    """Similarities and rows (Q, k) of the nearest; `own`: bank row of the first query, to be left out."""
    best = queries.new_empty(queries.shape[0], 0)
    rows = torch.empty(queries.shape[0], 0, dtype=torch.int64, device=queries.device)
    for start in range(0, bank.shape[0], _BANK):
        block = queries @ _unit(bank[start : start + _BANK]).T
        if own is not None:
            block.diagonal(own - start).fill_(-torch.inf)  # empty where this block does not hold them
        values, columns = _top(block, k)
        # Kept rows come first and are earlier in the bank, so a stable sort leaves ties in bank order.
        values, order = torch.sort(torch.cat([best, values], 1), dim=1, descending=True, stable=True)
        best, rows = values[:, :k], torch.cat([rows, columns + start], 1).gather(1, order[:, :k])
    return best, rows


def _top(block: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of every row, equal values by column (torch.topk leaves their order open)."""
    k = min(k, block.shape[1])
    values, columns = block.topk(min(k + 1, block.shape[1]), dim=1)
    # Equal values, or one beyond the k-th that equals it, leave topk a choice: those rows are sorted in full.
    tied = (values[:, 1:] == values[:, :-1]).any(dim=1).nonzero()[:, 0]
    values, columns = values[:, :k], columns[:, :k]
    if len(tied):
        exact = torch.sort(block[tied], dim=1, descending=True, stable=True)
        values[tied], columns[tied] = exact.values[:, :k], exact.indices[:, :k]
    return values, columns


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows.float(), dim=1)


def _check(train: Tensor, labels: Tensor, k: int, others: int, temperature: float, classes: int) -> None:
    if train.dim() != 2:
        raise DataError(f"embeddings have the shape {tuple(train.shape)}; (N, D) is needed")
    check_labels(labels, train.shape[0], classes)
    if not 1 <= k <= others:
        raise ConfigError(f"k={k} neighbours asked of {others} training samples; k may be 1 to {others}")
    if not temperature > 0:
        raise ConfigError(f"temperature={temperature}; it must be positive, for example 0.07")
    check_finite(train)
