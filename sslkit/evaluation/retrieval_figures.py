"""How well samples find others of their class: each one is a query among all others.

Musgrave, Belongie and Lim, "A Metric Learning Reality Check", ECCV 2020, section 3.2: MAP@R
and R-precision, whose R is the number of others in the query's class. Similarities are made block by block;
the whole matrix is never held.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_BLOCK = 2**22
"""Similarities made at a time: 80 MiB with all that is made of them."""


def retrieval_values(rows: Tensor, labels: Tensor, ks: Sequence[int]) -> dict[str, Tensor]:
    """Figures of every query, float64 (N,), NaN for those alone in their class.

    rows: unit float32 (N, D); labels: int64 (N,). Equal similarities go to the earlier row.

    recall@k: 1 where one of the k nearest is of the class, else 0. map_at_r: the sum over relevant ranks
    i <= R of precision at i, divided by R. r_precision: share of the class among the R nearest. mrr: one
    divided by the rank of the nearest of the class.
    """
    others = torch.bincount(labels)[labels] - 1
    most = max(1, int(others.max()))
    queries = max(1, _BLOCK // len(rows))
    parts = [
        _block(rows[start : start + queries], start, rows, labels, most)
        for start in range(0, len(rows), queries)
    ]
    first, precision, average = (torch.cat(column) for column in zip(*parts, strict=True))
    values = {f"recall@{k}": (first <= k).double() for k in ks}
    values |= {"map_at_r": average, "r_precision": precision, "mrr": 1 / first.double()}
    return {name: value.masked_fill(others == 0, torch.nan) for name, value in values.items()}


def _block(
    queries: Tensor, start: int, rows: Tensor, labels: Tensor, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each query: the rank of the nearest of its class from 1, R-precision and average precision at R."""
    keys = _keys(queries @ rows.T)
    keys.diagonal(start).fill_(torch.iinfo(torch.int64).min)  # itself comes last
    own = labels[start : start + len(queries), None]
    alike = labels == own
    alike.diagonal(start).fill_(False)
    nearest = keys.masked_fill(~alike, torch.iinfo(torch.int64).min).amax(dim=1, keepdim=True)
    first = 1 + (keys > nearest).sum(dim=1)
    relevant = alike.sum(dim=1, keepdim=True)  # R
    upto = torch.arange(1, min(most, len(rows)) + 1)
    hits = alike.gather(1, keys.topk(len(upto), dim=1).indices) & (upto <= relevant)
    precisions = hits.cumsum(dim=1).double() / upto
    return (
        first,
        hits.sum(dim=1).double() / relevant[:, 0],
        (precisions * hits).sum(dim=1) / relevant[:, 0],
    )


def _keys(similarities: Tensor) -> Tensor:
    """Different whole numbers in the order of similarities float32 (Q, N), of equal ones the earlier first.

    A float's bits, read as a whole number, are in its order once those of negative ones are turned round.
    """
    bits = (similarities + 0.0).view(torch.int32)  # -0.0 becomes 0.0
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    return (ordered << 32) - torch.arange(similarities.shape[1])
