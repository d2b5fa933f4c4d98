"""The loss of all triplets, exactly, in time N^2 log N: sorted distances and prefix sums, never a list.

For an anchor and a positive the negatives nearer than a threshold make up what is lost. With the anchor's
negatives in order of distance they are the first k; k is found by bisection and their sum, or sum of squares,
is a prefix sum. The gradient comes the same way from the other side: what a negative is worth is a suffix sum
over the positives that reach it.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sslkit.errors import UnknownNameError
from sslkit.pairwise.distances import Pairs

Form = Literal["squared_distance", "distance", "squared_hinge", "ratio"]
Mean = Literal["all", "active"]
_AT_ONCE = 2**20  # pairs of one tile of anchors
_SHORTEST = 1e-12  # a ratio's divisor is no shorter


class AllTriplets(NamedTuple):
    """What all triplets of a batch say; only `loss` has a gradient, and all are scalars.

    active_share: share of triplets with a positive hinge. positive_distance, negative_distance: mean
    Euclidean distance over the pairs of an anchor and a positive, and of an anchor and a negative. All are 0
    where there is none.
    """

    loss: Tensor
    active_share: Tensor
    positive_distance: Tensor
    negative_distance: Tensor


def all_triplets_margin(
    rows: Tensor, labels: Tensor, *, margin: float, form: Form = "distance", mean: Mean = "all"
) -> Tensor:
    """The mean hinge of all triplets (a, p, n) with label(a) = label(p) != label(n), a and p different rows.

    What `sslkit.objectives.triplet_margin` gives for a list of them, by form:

        squared_distance  max(0, m + d_ap^2 - d_an^2)     distance  max(0, m + d_ap - d_an)
        squared_hinge     max(0, m + d_ap - d_an)^2       ratio     max(0, 1 - d_an / (d_ap + m))

    rows: (N, P); labels: int64 (N,). mean: over "all" triplets, or over the "active" ones, whose hinge is
    positive. Returns a scalar, exact for any labels, with ties and duplicates; 0 where there is no triplet.
    Distances in float32 or better, sums in float64. Time N^2 (P + log N), memory N P and tiles of a fixed
    size; the gradient is made along with the value. Raises UnknownNameError.
    """
    return all_triplets(rows, labels, margin=margin, form=form, mean=mean).loss


def all_triplets(
    rows: Tensor,
    labels: Tensor,
    *,
    margin: float,
    form: Form = "distance",
    mean: Mean = "all",
    groups: Tensor | None = None,
) -> AllTriplets:
    """`all_triplets_margin` with what is worth logging.

    groups: int64 (N,); rows of one group are never negatives of each other, whatever their labels.
    """
    if form not in get_args(Form):
        raise UnknownNameError("form of all triplets", form, get_args(Form))
    if mean not in get_args(Mean):
        raise UnknownNameError("mean of triplets", mean, get_args(Mean))
    with torch.autocast(rows.device.type, enabled=False):
        exact = rows.to(torch.promote_types(rows.dtype, torch.float32))
        return AllTriplets(*_AllTriplets.apply(exact, labels, groups, margin, form, mean))


class _AllTriplets(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, labels: Tensor, groups: Tensor | None, margin: float, form: Form, mean: Mean
    ) -> tuple[Tensor, ...]:
        # Rows of a label side by side: the positives of a tile of anchors are a narrow strip of columns.
        order = labels.argsort(stable=True)
        tiles = _Tiles(rows[order], labels[order], None if groups is None else groups[order], margin, form)
        sums = torch.zeros(7, dtype=torch.float64, device=rows.device)
        gradient = torch.zeros_like(rows) if ctx.needs_input_grad[0] else None
        side = max(1, _AT_ONCE // max(1, len(rows)))
        for start in range(0, len(rows), side):
            sums += tiles.tile(slice(start, min(start + side, len(rows))), gradient)
        total, lost, active, near, nears, far, fars = sums.unbind()
        count = (active if mean == "active" else total).clamp(min=1.0)
        if gradient is not None:
            scaled = torch.empty_like(gradient).index_copy_(0, order, gradient.div_(count))
            ctx.save_for_backward(scaled)
        # A broken row must be seen even where it is in no triplet.
        loss = lost / count + 0.0 * rows.sum()
        terms = (active / total.clamp(min=1.0), near / nears.clamp(min=1.0), far / fars.clamp(min=1.0))
        ctx.mark_non_differentiable(*(given := tuple(term.to(rows.dtype) for term in terms)))
        return loss.to(rows.dtype), *given

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0], None, None, None, None, None


class _Tiles:
    """Rows (N, P) in order of their labels, looked at as tiles of anchors against all of them."""

    def __init__(
        self, rows: Tensor, labels: Tensor, groups: Tensor | None, margin: float, form: Form
    ) -> None:
        self.rows, self.labels, self.groups = rows, labels, groups
        self.margin, self.form = margin, form
        # Where the rows of each row's label begin and end.
        self.starts = torch.searchsorted(labels, labels)
        self.stops = torch.searchsorted(labels, labels, right=True)

    def tile(self, part: slice, gradient: Tensor | None) -> Tensor:
        """Sums over the triplets of a part of the anchors, float64 (7,); adds to the gradient (N, P).

        They are: triplets, loss, active triplets, sum and count of positive and of negative distances.
        """
        strip = slice(int(self.starts[part.start]), int(self.stops[part.stop - 1]))
        pairs = Pairs(self.rows[part], self.rows)
        is_positive, is_negative = self._masks(part, strip)
        distances = pairs.squares.sqrt()
        values = pairs.squares if self.form == "squared_distance" else distances
        thresholds = values[:, strip] + self.margin
        if self.form == "ratio":
            thresholds = thresholds.clamp(min=_SHORTEST)
        order = _Ordered(values, is_negative)
        reached = order.reached(thresholds).masked_fill_(~is_positive, 0)  # negatives that lose something
        lost, of_positive = self._lost(thresholds, reached, order)
        positives, negatives = is_positive.sum(1), is_negative.sum(1)
        sums = [
            (positives * negatives).sum(),
            lost.masked_fill_(~is_positive, 0.0).sum(),
            reached.sum(),
            distances[:, strip].masked_fill(~is_positive, 0.0).sum(dtype=torch.float64),
            positives.sum(),
            distances.masked_fill(~is_negative, 0.0).sum(dtype=torch.float64),
            negatives.sum(),
        ]
        if gradient is not None:
            weights = self._of_negatives(values, thresholds, reached, is_positive, order)
            weights[:, strip] += of_positive.masked_fill_(~is_positive, 0.0).to(weights.dtype)
            if self.form != "squared_distance":  # d(d) = d(d^2) / 2d, and nothing where rows are equal
                weights = torch.where(distances > 0, weights / (2 * distances), 0.0)
            of_anchors, of_others = pairs.pull(weights)
            gradient += of_others
            gradient[part] += of_anchors
        return torch.stack([part.double() for part in sums])

    def _masks(self, part: slice, strip: slice) -> tuple[Tensor, Tensor]:
        """Bool (T, strip) and (T, N): who is a positive and who a negative of each anchor."""
        numbers = torch.arange(len(self.rows), device=self.rows.device)
        is_positive = self.labels[part, None] == self.labels[strip]
        is_positive &= numbers[part, None] != numbers[strip]
        is_negative = self.labels[part, None] != self.labels
        if self.groups is not None:
            is_negative &= self.groups[part, None] != self.groups
        return is_positive, is_negative

    def _lost(self, thresholds: Tensor, reached: Tensor, order: _Ordered) -> tuple[Tensor, Tensor]:
        """Loss of each anchor and positive, summed over negatives, and its slope in their distance."""
        first = order.sums(1).gather(1, reached)
        counts, limits = reached.double(), thresholds.double()
        if self.form == "squared_hinge":  # sum of (t - d)^2
            slack = counts * limits - first
            return limits * (slack - first) + order.sums(2).gather(1, reached), 2 * slack
        if self.form == "ratio":  # sum of 1 - d / t
            # A threshold at the floor does not move with its distance.
            return counts - first / limits, (first / limits.square()).masked_fill(limits <= _SHORTEST, 0.0)
        return counts * limits - first, counts

    def _of_negatives(
        self, values: Tensor, thresholds: Tensor, reached: Tensor, is_positive: Tensor, order: _Ordered
    ) -> Tensor:
        """Slope (T, N) of the loss in each negative's distance, 0 elsewhere."""
        ones = is_positive.double()
        if self.form == "squared_hinge":  # -2 sum of (t - d) over the positives that reach d
            slopes = 2 * order.over(reached, ones) * values - 2 * order.over(reached, thresholds * ones)
        elif self.form == "ratio":
            slopes = -order.over(reached, ones / thresholds)
        else:
            slopes = -order.over(reached, ones)
        return slopes.to(values.dtype)


class _Ordered:
    """The negatives of each anchor of a tile (T, N) in order of distance; what is no negative comes last."""

    def __init__(self, values: Tensor, is_negative: Tensor) -> None:
        self.values, self.columns = values.masked_fill(~is_negative, torch.inf).sort(dim=1)
        self.finite = self.values.masked_fill(self.values == torch.inf, 0.0).double()

    def reached(self, thresholds: Tensor) -> Tensor:
        """How many negatives are nearer than each threshold; int64 in the shape of thresholds."""
        return torch.searchsorted(self.values, thresholds)

    def sums(self, power: int) -> Tensor:
        """Float64 (T, N + 1): column k holds the sum over the k nearest of distance to the power."""
        sums = self.finite.new_zeros(self.finite.shape[0], self.finite.shape[1] + 1)
        torch.cumsum(self.finite.pow(power), dim=1, out=sums[:, 1:])
        return sums

    def over(self, reached: Tensor, worth: Tensor) -> Tensor:
        """Float64 (T, N): for each column the sum of `worth` over the positives that reach it."""
        at = self.finite.new_zeros(self.finite.shape[0], self.finite.shape[1] + 1)
        at.scatter_add_(1, reached, worth.double())
        # The negative at place j of the order is reached by those with more than j negatives below them.
        suffix = at[:, 1:].flip(1).cumsum(1).flip(1)
        return torch.zeros_like(suffix).scatter_(1, self.columns, suffix)
