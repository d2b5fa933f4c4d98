"""The log-sum-exp of all pairwise similarities in tiles: time O(M^2 P), memory O(M P + tile M)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from sslkit.distributed import computed_in_shares, world_size

_KEPT = 1024  # up to so many rows the matrix is small, and the backward need not compute it again
_CPU_TILE = 256  # a tile and its weights stay in the cache of a core
_DEVICE_TILE = 4096  # a tile keeps an accelerator busy


def log_sum_exp(
    rows: Tensor,
    groups: Tensor,
    *,
    temperature: float | Tensor,
    tile: int | None = None,
    in_shares: bool = False,
) -> Tensor:
    """For each row i, log of the sum of exp(rows_i . rows_j / temperature) over all rows j of other groups.

    rows: (M, P), float32 or float64, of length 1 or less. groups: int64 (M,). temperature: > 0; a scalar
    tensor gets its gradient (on a GPU its value is waited for). tile: rows looked at together. in_shares: the
    ranks, which all hold the same rows, compute a share each and put them together; all call it at once and
    run backward at once. Returns (M,), -inf without any gradient where there is no row of another group.

    It is the repelling part of NT-Xent (Chen et al. 2020, equation 1). The gradient with respect to s_ij is
    exp(s_ij / T) (g_i / Z_i + g_j / Z_j), symmetric as s is, so a tile above the diagonal serves both sides.
    """
    result: Tensor = _LogSumExp.apply(rows, groups, temperature, tile, in_shares)
    return result


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, groups: Tensor, temperature: float | Tensor, tile: int | None, in_shares: bool
    ) -> Tensor:
        # Rows of a group side by side: only tiles near the diagonal hold pairs that do not count.
        order = groups.argsort(stable=True)
        pairs = _Pairs(rows[order], groups[order], float(temperature), tile or _tile(rows))
        ctx.in_shares = in_shares and world_size() > 1
        with torch.autocast(rows.device.type, enabled=False):
            if ctx.in_shares:
                values = computed_in_shares(len(rows), pairs.log_sums_of)
            else:
                values = pairs.log_sums() if pairs.safe else pairs.log_sums_of(slice(0, len(rows)))
        ctx.pairs, ctx.temperature = pairs, temperature
        ctx.save_for_backward(order, values)
        return torch.empty_like(values).index_copy_(0, order, values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        order, values = ctx.saved_tensors
        pull = _Pull(ctx.pairs, values, gradients[0][order])
        with torch.autocast(values.device.type, enabled=False):
            if ctx.in_shares:
                pulled = computed_in_shares(len(values), pull.on_rows)
            else:
                pulled = pull.on_all_rows() if ctx.pairs.safe else pull.on_rows(slice(0, len(values)))
        of_temperature = None
        if ctx.needs_input_grad[2]:
            # The sums depend on rows and T through rows_i . rows_j / T alone: T d/dT = -1/2 rows . d/drows.
            whole = -0.5 * (ctx.pairs.rows * pulled).sum() / ctx.pairs.temperature
            of_temperature = whole.to(ctx.temperature).reshape(ctx.temperature.shape)
        return torch.empty_like(pulled).index_copy_(0, order, pulled), None, of_temperature, None, None


@dataclass(frozen=True)
class _Pairs:
    """All pairs of rows (M, P), sorted by group; `tile` is the side of what is looked at together."""

    rows: Tensor
    groups: Tensor
    temperature: float
    tile: int
    safe: bool = field(init=False)
    kept: list[Tensor] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        # With no shift at all neither exp(+-1/T) nor a sum of them leaves the range of the number format, and
        # the half of it that is left serves the weights of the backward. Colder, rows need their own maximum.
        room = math.log(torch.finfo(self.rows.dtype).max) - 38.0
        object.__setattr__(self, "safe", 1.0 / self.temperature <= room)

    def scores(self, part: slice, others: slice) -> Tensor:
        """rows_i . rows_j / T, -inf where i and j are of one group."""
        scores = self.rows[part] @ (self.rows[others] / self.temperature).T
        if self._meet(part, others):
            scores.masked_fill_(self.groups[part, None] == self.groups[others], -torch.inf)
        return scores

    def log_sums(self) -> Tensor:
        """(M,), each pair looked at once; only where it is safe."""
        sums = self.rows.new_zeros(len(self.rows))
        for part, others in self.tiles():
            terms = self.scores(part, others).exp_()
            sums[part] += terms.sum(1)
            if part != others:
                sums[others] += terms.sum(0)
            if len(self.rows) <= _KEPT:
                self.kept.append(terms)
        return sums.log_()

    def log_sums_of(self, part: slice) -> Tensor:
        """Those of a part of the rows, at any temperature."""
        sums = self.rows.new_empty(part.stop - part.start)
        for strip in _bounds(part, self.tile):
            own = slice(strip.start - part.start, strip.stop - part.start)
            sums[own] = self.scores(strip, self.all).logsumexp(1)
        return sums

    def tiles(self) -> Iterator[tuple[slice, slice]]:
        """Tiles on and above the diagonal."""
        bounds = _bounds(self.all, self.tile)
        return ((part, others) for i, part in enumerate(bounds) for others in bounds[i:])

    @property
    def all(self) -> slice:
        """Every row."""
        return slice(0, len(self.rows))

    def _meet(self, part: slice, others: slice) -> bool:
        """Whether a pair of one group may be there. Where asking would wait for a GPU, it is assumed."""
        if self.groups.device.type != "cpu":
            return True
        return bool(
            self.groups[part.start] <= self.groups[others.stop - 1]
            and self.groups[others.start] <= self.groups[part.stop - 1]
        )


class _Pull:
    """How rows move what the sums are worth: the gradient g of (M,) sums, carried back to (M, P) rows."""

    def __init__(self, pairs: _Pairs, log_sums: Tensor, gradient: Tensor) -> None:
        self.pairs = pairs
        # A row without any pair has no sum; nothing pulls at it.
        alone = log_sums == -torch.inf
        self.log_sums = log_sums.masked_fill(alone, 0.0)
        self.gradient = gradient.masked_fill(alone, 0.0)
        self.share = self.gradient * (-self.log_sums).exp() if pairs.safe else self.gradient  # g_i / Z_i

    def on_all_rows(self) -> Tensor:
        """(M, P), each pair looked at once."""
        rows = self.pairs.rows
        pulled = torch.zeros_like(rows)
        for number, (part, others) in enumerate(self.pairs.tiles()):
            weights = self._weights(part, others, self.pairs.kept[number] if self.pairs.kept else None)
            pulled[part].addmm_(weights, rows[others])
            if part != others:
                pulled[others].addmm_(weights.T, rows[part])
        return pulled.div_(self.pairs.temperature)

    def on_rows(self, part: slice) -> Tensor:
        """The gradient of a part of the rows, whole."""
        rows = self.pairs.rows
        pulled = rows.new_empty(part.stop - part.start, rows.shape[1])
        for strip in _bounds(part, self.pairs.tile):
            own = slice(strip.start - part.start, strip.stop - part.start)
            torch.mm(self._weights(strip, self.pairs.all), rows, out=pulled[own])
        return pulled.div_(self.pairs.temperature)

    def _weights(self, part: slice, others: slice, terms: Tensor | None = None) -> Tensor:
        """exp(s_ij / T) (g_i / Z_i + g_j / Z_j); terms: the exponentials, where they are known."""
        if self.pairs.safe:
            terms = self.pairs.scores(part, others).exp_() if terms is None else terms
            return (self.share[part, None] + self.share[others]).mul_(terms)
        scores = self.pairs.scores(part, others)
        of_others = (scores - self.log_sums[others]).exp_().mul_(self.gradient[others])
        return of_others.addcmul_(scores.sub_(self.log_sums[part, None]).exp_(), self.gradient[part, None])


def _tile(rows: Tensor) -> int:
    return _CPU_TILE if rows.device.type == "cpu" else _DEVICE_TILE


def _bounds(part: slice, tile: int) -> list[slice]:
    """Cut a part of the rows into slices of nearly equal length, none longer than `tile`."""
    length = part.stop - part.start
    count = -(-length // tile)
    edges = [part.start + length * i // count for i in range(count + 1)] if count else []
    return [slice(start, stop) for start, stop in pairwise(edges)]
