"""Euclidean distances that keep their digits where rows are near-duplicates, and whose gradient is never NaN.

|a|^2 + |b|^2 - 2 a.b costs one matrix product but loses its digits where a and b nearly meet: in float32 a
distance of 1e-4 between unit rows comes out as 0 or as 5e-4. Differences taken first are exact there and need
N M P numbers. So all pairs go through the product, and the few that come out close go through differences.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Where d^2 is below this share of |a|^2 + |b|^2 the product has lost 8 bits; then differences are taken.
_CLOSE = 2.0**-8
_AT_ONCE = 2**22  # numbers in the differences of one chunk of close pairs


def paired(first: Tensor, second: Tensor, *, squared: bool) -> Tensor:
    """Distances between rows of one place: (..., P) and (..., P), broadcast together, to (...).

    squared: |a - b|^2 in place of |a - b|. In float32 or better, whatever autocast says. The gradient of
    |a - b| is the unit vector between the rows, and 0 where they are equal.
    """
    with torch.autocast(first.device.type, enabled=False):
        difference = _exact(first, second) - _exact(second, first)
        if squared:
            return difference.square().sum(dim=-1)
        distances: Tensor = torch.linalg.vector_norm(difference, dim=-1)
        return distances


def all_pairs(first: Tensor, second: Tensor, *, squared: bool) -> Tensor:
    """Distances between all rows of two sets, (N, P) and (M, P), to (N, M).

    squared: |a - b|^2 in place of |a - b|. In float32 or better, whatever autocast says. Relative errors are
    below 1e-4 in float32 and 1e-12 in float64, equal rows are exactly 0 apart, and the gradient is as exact;
    that of |a - b| is 0 where rows are equal. Time N M P, and P for each close pair. Can be differentiated
    once.
    """
    with torch.autocast(first.device.type, enabled=False):
        distances: Tensor = _AllPairs.apply(_exact(first, second), _exact(second, first), squared)
        return distances


class Pairs:
    """All pairs of two sets of rows, (N, P) and (M, P) of one floating type; nothing here is differentiated.

    squares: (N, M), squared distances.
    """

    def __init__(self, first: Tensor, second: Tensor) -> None:
        self.first, self.second = first, second
        # A centre that all rows share costs digits and no distance depends on it.
        centre = torch.cat([first, second]).mean(dim=0)
        self._centred = one, other = first - centre, second - centre
        lengths, other_lengths = one.square().sum(dim=1), other.square().sum(dim=1)
        squares = torch.addmm(other_lengths, one, other.T, alpha=-2).add_(lengths[:, None])
        self._close = (squares < (_CLOSE * lengths)[:, None] + _CLOSE * other_lengths).nonzero()
        for rows, columns in self._chunks():
            squares[rows, columns] = (first[rows] - second[columns]).square().sum(dim=1)
        self.squares = squares

    def pull(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient of sum(weights * squares), weights (N, M), with respect to first and second.

        2 sum_j w_ij (a_i - b_j), the close pairs by differences again: in the difference of two sums their
        share would drown. Changes `weights`.
        """
        near = weights[self._close[:, 0], self._close[:, 1]]
        weights[self._close[:, 0], self._close[:, 1]] = 0.0
        one, other = self._centred
        of_first = weights.sum(dim=1, keepdim=True) * one - weights @ other
        of_second = weights.sum(dim=0)[:, None] * other - weights.T @ one
        for (rows, columns), share in zip(self._chunks(), torch.split(near, self._chunk), strict=False):
            push = share[:, None] * (self.first[rows] - self.second[columns])
            of_first.index_add_(0, rows, push)
            of_second.index_add_(0, columns, push, alpha=-1)
        return 2 * of_first, 2 * of_second

    @property
    def _chunk(self) -> int:
        return max(1, _AT_ONCE // max(1, self.first.shape[1]))

    def _chunks(self) -> list[tuple[Tensor, Tensor]]:
        if not len(self._close):
            return []
        return [(pairs[:, 0], pairs[:, 1]) for pairs in torch.split(self._close, self._chunk)]


class _AllPairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, squared: bool) -> Tensor:
        pairs = Pairs(first, second)
        ctx.pairs = pairs
        squares = pairs.squares
        del pairs.squares  # a graph that held its own result would never be freed
        if squared:
            return squares
        distances = squares.sqrt_()
        ctx.save_for_backward(distances)
        return distances

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.saved_tensors:
            (distances,) = ctx.saved_tensors
            # dd = d(d^2) / 2d, and nothing where the rows are equal.
            weights = torch.where(distances > 0, gradient / (2 * distances), 0.0)
        else:
            weights = gradient.clone()
        with torch.autocast(gradient.device.type, enabled=False):
            of_first, of_second = ctx.pairs.pull(weights)
        return of_first, of_second, None


def _exact(rows: Tensor, other: Tensor) -> Tensor:
    return rows.to(torch.promote_types(torch.promote_types(rows.dtype, other.dtype), torch.float32))
