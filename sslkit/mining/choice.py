"""Which of an anchor's nearest neighbours it is compared with: by rank band first, then by strategy.

The nearest neighbours of an anchor are mostly of its own class, so that they are false negatives; the far
ones teach nothing. A band of ranks in between is where negatives are taken from, and a near band may be
attracted instead (NNCLR, Dwibedi et al. 2021). Everywhere N anchors have C candidates each, nearest first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from sslkit.errors import ConfigError, UnknownNameError
from sslkit.keyed_random import Stream, hashed, word
from sslkit.mining.distance_weighted import log_weights

Strategy = Literal["random", "semi_hard", "hard", "distance_weighted"]
Action = Literal["repel", "attract", "exclude"]


@dataclass(frozen=True)
class Band:
    """Ranks first to last, both included (0 is the nearest other sample), and what is done with them.

    action: "repel" makes them candidates for negatives, "attract" for positives, "exclude" for neither.
    weight: what each of them counts, >= 0, beside the others of its anchor. Raises ConfigError.
    """

    ranks: tuple[int, int]
    action: Action
    weight: float = 1.0

    def __post_init__(self) -> None:
        first, last = self.ranks
        if not 0 <= first <= last:
            raise ConfigError(
                f"mining.bands: ranks [{first}, {last}]; ranks begin at 0 and the first is not above the last"
            )
        if self.action not in get_args(Action):
            raise UnknownNameError("action in mining.bands", self.action, get_args(Action))
        if not 0 <= self.weight < math.inf:
            raise ConfigError(f"mining.bands: weight {self.weight} of ranks {[first, last]}; it must be >= 0")

    def holds(self, ranks: Tensor) -> Tensor:
        """Whether ranks of any shape lie in the band."""
        return (ranks >= self.ranks[0]) & (ranks <= self.ranks[1])


@dataclass(frozen=True)
class Bands:
    """Which candidates may be negatives: all that no rule takes out; and positives: attracted bands alone.

    skip_nearest: ranks below it are left alone, being mostly false negatives. similarity_cap: those more
    similar than it are left alone. quantiles: of an anchor's n candidates those ranked from round(low n) to
    before round(high n) stay. positive_margin: those stay whose similarity to the anchor is at most that of
    its positive minus this margin, >= 0. bands: an action and a weight by rank; outside them candidates are
    repelled with weight 1. Rules before `bands` are about negatives only: an attracted band may be nearer.

    Raises ConfigError for values out of range, for bands that overlap, and for a repelled one that begins
    among the skipped.
    """

    skip_nearest: int = 0
    similarity_cap: float | None = None
    quantiles: tuple[float, float] | None = None
    positive_margin: float | None = None
    bands: tuple[Band, ...] = ()

    def __post_init__(self) -> None:
        if self.skip_nearest < 0:
            raise ConfigError(f"mining.skip_nearest is {self.skip_nearest}; it must be >= 0")
        if self.similarity_cap is not None and not -1 <= self.similarity_cap <= 1:
            raise ConfigError(f"mining.similarity_cap is {self.similarity_cap}; cosines lie in [-1, 1]")
        if self.quantiles is not None and not 0 <= self.quantiles[0] < self.quantiles[1] <= 1:
            given = list(self.quantiles)
            raise ConfigError(f"mining.quantiles is {given}; give [low, high] with 0 <= low < high <= 1")
        if self.positive_margin is not None and not 0 <= self.positive_margin < math.inf:
            raise ConfigError(f"mining.positive_margin is {self.positive_margin}; it must be >= 0")
        for one, other in pairwise(sorted(self.bands, key=lambda band: band.ranks)):
            if other.ranks[0] <= one.ranks[1]:
                both = f"{list(one.ranks)} and {list(other.ranks)}"
                raise ConfigError(f"mining.bands: ranks {both} overlap; a rank belongs to one band at most")
        for band in self.bands:
            if band.action == "repel" and band.ranks[0] < self.skip_nearest:
                raise ConfigError(
                    f"mining.bands: ranks {list(band.ranks)} are to be repelled, but mining.skip_nearest="
                    f"{self.skip_nearest} leaves the first of them alone; begin the band at "
                    f"{self.skip_nearest} or set skip_nearest={band.ranks[0]}"
                )

    def apply(
        self, similarities: Tensor, ranks: Tensor, allowed: Tensor, positive_similarity: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Candidates (N, C) of anchors with positives at (N,) to (repelled, attracted), bool (N, C) each.

        Raises ConfigError when a positive margin is set and no positive is known.
        """
        repelled, attracted = allowed & (ranks >= self.skip_nearest), torch.zeros_like(allowed)
        if self.similarity_cap is not None:
            repelled = repelled & (similarities <= self.similarity_cap)
        if self.quantiles is not None:
            low, high = ((allowed.sum(1, keepdim=True).float() * q).round() for q in self.quantiles)
            repelled = repelled & (ranks >= low) & (ranks < high)
        if self.positive_margin is not None:
            positive = _known(positive_similarity, "mining.positive_margin")
            repelled = repelled & (similarities <= positive[:, None] - self.positive_margin)
        for band in self.bands:
            within = allowed & band.holds(ranks)
            if band.action != "repel":
                repelled = repelled & ~within
            if band.action == "attract":
                attracted = attracted | within
        return repelled, attracted

    def weights(self, ranks: Tensor) -> Tensor:
        """The weight of each rank's band, float32 in the shape of `ranks`; 1 outside all bands."""
        weights = torch.ones_like(ranks, dtype=torch.float32)
        for band in self.bands:
            weights = weights.masked_fill(band.holds(ranks), band.weight)
        return weights


def ranked(
    ids: Tensor, own_ids: Tensor, own_groups: Tensor, groups_of: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Ranks among other samples: (ranks int64 (N, C), -1 where not allowed; allowed bool (N, C)).

    ids: int64 (N, C), nearest first, -1 where none; own_ids, own_groups: int64 (N,). groups_of: the group of
    every id, int64 (M,), or None where every sample is its own group. The anchor itself, its group and
    missing candidates are not allowed, and ranks count only what is left. Raises ConfigError for an id
    beyond M.
    """
    allowed = (ids >= 0) & (ids != own_ids[:, None])
    if groups_of is not None and ids.numel():
        if int(ids.max()) >= len(groups_of):
            raise ConfigError(f"candidate id {int(ids.max())}, but groups are known for {len(groups_of)} ids")
        allowed &= groups_of[ids.clamp(min=0)] != own_groups[:, None]
    ranks = allowed.cumsum(1) - 1
    return ranks.masked_fill(~allowed, -1), allowed


def candidate_uniform(anchor_ids: Tensor, candidate_ids: Tensor, *, step: int, seed: int) -> Tensor:
    """Uniform float32 (N, C) in [0, 1), a function of (seed, step, anchor id, candidate id) alone.

    anchor_ids: int64 (N,); candidate_ids: int64 (N, C). The number of a pair is that of `pair_uniform` in
    `sslkit.mining.keyed_pairs` with draw="candidates".
    """
    keys = hashed(seed, word("pairs"), word("candidates"), step, anchor_ids[:, None], candidate_ids)
    return Stream(keys.reshape(-1)).uniform(1).view(candidate_ids.shape)


def choose(
    similarities: Tensor,
    allowed: Tensor,
    ranks: Tensor,
    *,
    count: int,
    strategy: Strategy,
    uniform: Tensor,
    positive_similarity: Tensor | None,
    dim: int,
) -> tuple[Tensor, Tensor]:
    """Up to `count` allowed candidates of each anchor: (columns int64 (N, count), found bool (N, count)).

    similarities, allowed, ranks, uniform: (N, C), see `ranked` and `candidate_uniform`; positive_similarity:
    (N,), needed by semi_hard; dim: width of the embeddings. What is found comes first and never twice; where
    fewer can be chosen, found is False and the column 0. Raises ConfigError.

    hard: the most similar. semi_hard: the most similar that are less similar than the positive (Schroff et
    al. 2015, section 3.2), and none beyond that. random: every set equally likely. distance_weighted: without
    replacement by the inverse density of distances on the sphere (Wu et al. 2017, section 4): the largest of
    log weight + Gumbel noise (Kool et al. 2019); each row draws for itself, so that one near-duplicate pair
    cannot silence the others.
    """
    uniform = uniform.float()
    if strategy in ("hard", "semi_hard"):
        scores = -ranks.float()
        if strategy == "semi_hard":
            positive = _known(positive_similarity, "mining.strategy=semi_hard")
            allowed = allowed & (similarities < positive[:, None])
    elif strategy == "random":
        scores = uniform
    elif strategy == "distance_weighted":
        distances = (2 - 2 * similarities.float().clamp(-1, 1)).sqrt()
        scores = log_weights(distances, dim) - torch.log(-torch.log(uniform.clamp(min=2.0**-25)))
    else:
        raise UnknownNameError("mining.strategy", strategy, get_args(Strategy))
    scores = scores.masked_fill(~(allowed & similarities.isfinite()), -torch.inf)
    # A fifth of the time of a sort. Ranks are never equal, and random numbers of 24 bits hardly ever.
    best, columns = scores.topk(min(count, scores.shape[1]), dim=1)
    found = torch.zeros(len(scores), count, dtype=torch.bool, device=scores.device)
    found[:, : best.shape[1]] = best > -torch.inf
    chosen = torch.zeros(len(scores), count, dtype=torch.int64, device=scores.device)
    chosen[:, : best.shape[1]] = columns.masked_fill(best == -torch.inf, 0)
    return chosen, found


def _known(positive_similarity: Tensor | None, option: str) -> Tensor:
    if positive_similarity is None:
        raise ConfigError(
            f"{option} compares candidates with the anchor's positive, and there is none; "
            "use two views or more, or another rule, such as mining.similarity_cap"
        )
    return positive_similarity
