"""In-batch miners by masked reduction: for each anchor one column of a matrix of distances, or none.

N anchors have M candidates; `allowed`, bool (N, M), says which may be chosen and is made from ids, groups or
labels by the caller, never from columns. Every miner gives (columns int64 (N,), found bool (N,)); where
nothing is allowed, found is False and the column 0. Of equals the first column is taken: a caller who wants
ties to be a function of the samples orders its columns by them. No gradient, no lists of indices, memory N M.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from sslkit.errors import UnknownNameError
from sslkit.mining.distance_weighted import log_weights
from sslkit.mining.keyed_pairs import pair_uniform
from sslkit.pairwise.distances import all_pairs

Choice = Literal["semi_hard", "hard", "random", "distance_weighted"]
_AT_ONCE = 2**20  # distances of one tile of anchors


@torch.no_grad()
def hardest(distances: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest allowed candidate: batch-hard's negative (Hermans et al. 2017, equation 5).

    distances: (N, M), plain or squared. A candidate at NaN is taken before all others, so that a broken row
    is seen in the loss; one at +inf never is.
    """
    if not distances.shape[1]:
        return _none(distances)
    return _checked(distances.masked_fill(~allowed, torch.inf).min(dim=1).indices, allowed)


@torch.no_grad()
def farthest(distances: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """The farthest allowed candidate: batch-hard's positive (Hermans et al. 2017, equation 5).

    distances: (N, M), plain or squared. A candidate at NaN is taken before all others, one at -inf never is.
    """
    if not distances.shape[1]:
        return _none(distances)
    return _checked(distances.masked_fill(~allowed, -torch.inf).max(dim=1).indices, allowed)


@torch.no_grad()
def semi_hard(distances: Tensor, positive_distances: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest allowed candidate farther than the positive (FaceNet, Schroff et al. 2015, section 3.2).

    distances: (N, M); positive_distances: (N,), both plain or both squared. Where no allowed candidate is
    farther than the positive, it is the farthest of them, as in TensorFlow Addons' `triplet_semihard_loss`:
    of the hard ones the nearest to being semi-hard, since the hardest collapse a young network (the same
    section).
    """
    beyond = allowed & ~(distances <= positive_distances[:, None])  # true of NaN, which must be seen
    outside, is_outside = hardest(distances, beyond)
    inside, found = farthest(distances, allowed)
    return torch.where(is_outside, outside, inside), found


@torch.no_grad()
def drawn(log_weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """A candidate of each row drawn with chance proportional to exp(log_weights), by the Gumbel-max trick.

    log_weights: (N, M), -inf where never; only differences within a row count, and NaN is never drawn.
    uniform: float (N, M) in [0, 1), from `sslkit.mining.keyed_pairs`: with a number for each pair of samples
    a draw is a function of who they are, not of their place.
    """
    possible = log_weights > -torch.inf
    if not log_weights.shape[1]:
        return _none(log_weights)
    # Large log weights of one row would round the noise away.
    peaks = log_weights.amax(dim=1, keepdim=True).nan_to_num(neginf=0.0)
    noise = -torch.log(-torch.log(uniform.clamp(min=2.0**-25)))
    return farthest(log_weights - peaks + noise, possible)


class Who(NamedTuple):
    """Who R rows are; int64 (R,) each. keys: unlike for every row; labels: -1 where unknown.

    Rows of one group are never negatives of each other, nor are rows of one label or without any.
    """

    keys: Tensor
    groups: Tensor
    labels: Tensor


class Chosen(NamedTuple):
    """Rows of the batch chosen for each of R anchors: their numbers, int64, and whether they exist, bool."""

    numbers: Tensor
    found: Tensor


@dataclass(frozen=True)
class InBatch:
    """Chooses rows of the batch for every row of it, in tiles of anchors: memory is one tile of distances.

    choice: how a negative is chosen. The nearest that is farther than the positive ("semi_hard"), the nearest
    ("hard"), one drawn alike ("random") or by distance ("distance_weighted", on unit rows; cutoff, longest:
    see `log_weights`). seed: of the draws. squared: whether distances to positives are given squared.

    What is chosen is a function of the rows, of who they are and of the step: candidates are in order of
    their keys, so that a tie is not broken by the place in the batch. Raises ConfigError.
    """

    choice: Choice
    squared: bool
    seed: int = 0
    cutoff: float = 0.5
    longest: float = 1.4

    def __post_init__(self) -> None:
        if self.choice not in get_args(Choice):
            raise UnknownNameError("choice of negatives", self.choice, get_args(Choice))
        # Refuses bad bounds.
        log_weights(torch.ones(1), 2, cutoff=self.cutoff, longest=self.longest)

    @torch.no_grad()
    def positives(self, rows: Tensor, who: Who) -> Chosen:
        """The farthest other row of each row's label (Hermans et al. 2017, equation 5): (R, 1)."""
        order = who.keys.argsort()
        order = order[who.labels[order].argsort(stable=True)]  # by label, then by key
        rows, (keys, _, labels) = rows[order], (column[order] for column in who)
        # Rows of a label stand side by side, so that a tile of anchors meets a strip of candidates.
        starts, stops = torch.searchsorted(labels, labels), torch.searchsorted(labels, labels, right=True)
        parts = []
        for part in _tiles(len(rows)):
            strip = slice(int(starts[part.start]), int(stops[part.stop - 1]))
            same = (labels[part, None] == labels[strip]) & (keys[part, None] != keys[strip])
            columns, found = farthest(all_pairs(rows[part], rows[strip], squared=True), same)
            parts.append((columns + strip.start, found & (labels[part] >= 0)))
        chosen = _joined([parts], order)
        return Chosen(*(torch.empty_like(column).index_copy_(0, order, column) for column in chosen))

    @torch.no_grad()
    def negatives(self, rows: Tensor, who: Who, near: Tensor, step: int | Tensor) -> Chosen:
        """A row of another group and label for each positive of each row; near, their distances: (R, Q)."""
        order = who.keys.argsort()
        order = order[who.labels[order] >= 0]
        candidates, others = rows[order], Who(*(column[order] for column in who))
        parts: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(near.shape[1])]
        for part in _tiles(len(rows)):
            anchors = Who(*(column[part] for column in who))
            distances = all_pairs(rows[part], candidates, squared=self.squared)
            allowed = anchors.groups[:, None] != others.groups
            allowed &= anchors.labels[:, None] != others.labels
            for number, positive in enumerate(near[part].unbind(1)):
                if self.choice == "hard":
                    columns, found = hardest(distances, allowed)
                elif self.choice == "semi_hard":
                    columns, found = semi_hard(distances, positive, allowed)
                else:
                    keys, name = (anchors.keys, others.keys), f"negative {number}"
                    uniform = pair_uniform(*keys, step=step, seed=self.seed, draw=name)
                    logs = self._log_weights(distances, rows.shape[1])
                    columns, found = drawn(logs.masked_fill_(~allowed, -torch.inf), uniform)
                parts[number].append((columns, found & (anchors.labels >= 0)))
        return _joined(parts, order)

    def _log_weights(self, distances: Tensor, dim: int) -> Tensor:
        if self.choice == "random":
            return torch.zeros_like(distances)
        plain = distances.sqrt() if self.squared else distances
        return log_weights(plain, dim, cutoff=self.cutoff, longest=self.longest)


def _tiles(rows: int) -> list[slice]:
    side = max(1, _AT_ONCE // max(1, rows))
    return [slice(start, min(start + side, rows)) for start in range(0, rows, side)]


def _joined(parts: list[list[tuple[Tensor, Tensor]]], order: Tensor) -> Chosen:
    """The columns that tiles gave, for one choice after the other, to numbers of rows (R, Q)."""
    whole = [[torch.cat(column) for column in zip(*tiles, strict=True)] for tiles in parts]
    columns, found = (torch.stack(column, dim=1) for column in zip(*whole, strict=True))
    return Chosen(order[columns], found)


def _checked(columns: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """Whatever the values were, a column that is not allowed is not found."""
    found = allowed.gather(1, columns[:, None]).squeeze(1)
    return columns.masked_fill(~found, 0), found


def _none(candidates: Tensor) -> tuple[Tensor, Tensor]:
    columns = torch.zeros(len(candidates), dtype=torch.int64, device=candidates.device)
    return columns, columns.bool()
