"""How much each chosen negative counts, and how many of them are false."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from sslkit.errors import ConfigError


@dataclass(frozen=True)
class Weighting:
    """The factors of `weigh`; each is switched off by the value named here.

    hardness: exponent of the similarity in units of `temperature`, 0 for off. prior: share of the `corpus`
    samples that are thought to be of an anchor's own class, 0 for off. curve: in place of the prior, pairs
    (rank, share of false negatives from that rank on), as `false_negatives_by_rank` measures them. half_life:
    steps after which a bank slot counts half, None for off. mass: what a row weighs, as a multiple of its
    number of negatives.

    Raises ConfigError for values out of range, a prior without a corpus, and a prior beside a curve.
    """

    hardness: float = 1.0
    temperature: float = 0.1
    prior: float = 0.0
    corpus: int | None = None
    curve: tuple[tuple[int, float], ...] = ()
    half_life: float | None = None
    mass: float = 1.0

    def __post_init__(self) -> None:
        _require(0 <= self.hardness < math.inf, "hardness", self.hardness, "it must be >= 0")
        _require(0 < self.temperature < math.inf, "temperature", self.temperature, "it must be > 0")
        _require(0 <= self.prior < 1, "prior", self.prior, "a share of the corpus is in [0, 1)")
        _require(
            self.half_life is None or self.half_life > 0,
            "half_life",
            self.half_life,
            "it must be > 0 steps, or null for no decay",
        )
        _require(0 <= self.mass < math.inf, "mass", self.mass, "it must be >= 0")
        if self.prior and (self.corpus is None or self.corpus < 1):
            raise ConfigError(
                f"mining.weights.prior={self.prior} of a corpus of {self.corpus} samples; the size is needed"
            )
        if self.prior and self.curve:
            raise ConfigError("mining.weights has a prior and a curve; both say the same thing, give one")
        ascending = all(one[0] < other[0] for one, other in pairwise(self.curve))
        if not ascending or not all(0 <= share <= 1 for _, share in self.curve):
            raise ConfigError(
                f"mining.weights.curve is {self.curve}; ranks must ascend and shares lie in [0, 1]"
            )

    def log_true_share(self, ranks: Tensor) -> Tensor:
        """Log of the estimated share of true negatives at each rank, float32 in the shape of `ranks`."""
        ranks = ranks.clamp(min=0)
        if self.curve:
            edges = torch.tensor([rank for rank, _ in self.curve], device=ranks.device)
            shares = torch.tensor([0.0, *(share for _, share in self.curve)], device=ranks.device)
            return torch.log1p(-shares[torch.searchsorted(edges, ranks.contiguous(), right=True)])
        if not self.prior or self.corpus is None:
            return torch.zeros_like(ranks, dtype=torch.float32)
        # -expm1 keeps the digits of a share of true negatives near 0.
        return torch.log(-torch.expm1(-(ranks.float() + 0.5) / (self.prior * self.corpus)))


@torch.no_grad()
def weigh(
    similarities: Tensor,
    ranks: Tensor,
    ages: Tensor,
    found: Tensor,
    weighting: Weighting,
    *,
    band_weights: Tensor | None = None,
) -> Tensor:
    """Weights (N, K) of the negatives found for each anchor: float32, 0 where there is none, no gradient.

        w ~ e^(hardness s / temperature) (1 - e^(-(rank + 1/2) / n)) 2^(-age / half_life) band
        n = prior corpus;  the sum over a row is mass times the number found in it

    similarities s, ranks, ages (steps since the slot was written), found and band_weights are all (N, K).

    - Hard negatives teach most (Robinson et al. 2021, section 4).
    - Near ones are more often false. The model: of the n samples of the anchor's class rank r holds one with
      chance e^(-r/n), which adds up to n over all ranks. Handwritten digits, n = 180: 97, 50 and 19 % at
      ranks 5, 125 and 300, where 96, 47 and 12 % were measured.
    - Old slots lie where the network no longer puts the sample.

    Every row is scaled to its mass, so only ratios within a row count, and neither a near-duplicate pair nor
    the choice of factors moves weight between anchors. The product is taken in logarithms, so that no
    temperature overflows. A row whose factors are all 0 has weights 0.
    """
    logs = weighting.log_true_share(ranks)
    if weighting.hardness:
        logs = logs + similarities.float() * (weighting.hardness / weighting.temperature)
    if weighting.half_life is not None:
        logs = logs - ages.clamp(min=0).float() * (math.log(2) / weighting.half_life)
    if band_weights is not None:
        logs = logs + band_weights.float().log()
    there = found & (logs > -torch.inf)
    logs = logs.masked_fill(~there, -torch.inf)
    top = logs.amax(1, keepdim=True).nan_to_num(neginf=0.0)  # a row of nothing is shifted by nothing
    raw = torch.exp(logs - top)
    scale = weighting.mass * found.sum(1, keepdim=True)
    return raw / raw.sum(1, keepdim=True).clamp(min=1.0) * scale


def false_negatives_by_rank(
    anchor_labels: Tensor, candidate_labels: Tensor, ranks: Tensor, edges: Sequence[int]
) -> dict[str, float]:
    """Share of candidates with their anchor's own label, by band of ranks: {"0-9": 0.96, ..., "500+": 0.1}.

    anchor_labels: int64 (N,); candidate_labels, ranks: int64 (N, K), with -1 for unknown and missing ones,
    which are not counted. edges: the first rank of each band, ascending; the last band is open. A band
    without candidates is left out. Raises ConfigError for edges that do not ascend from 0 or above.
    """
    if not edges or edges[0] < 0 or any(one >= other for one, other in pairwise(edges)):
        raise ConfigError(f"edges of rank bands are {list(edges)}; give first ranks >= 0 in ascending order")
    known = (anchor_labels[:, None] >= 0) & (candidate_labels >= 0)
    false = known & (anchor_labels[:, None] == candidate_labels)
    shares = {}
    for first, after in pairwise([*edges, None]):
        within = known & (ranks >= (first or 0))  # missing ones have rank -1
        name = f"{first}+"
        if after is not None:
            within, name = within & (ranks < after), f"{first}-{after - 1}"
        if counted := int(within.sum()):
            shares[name] = int((false & within).sum()) / counted
    return shares


def _require(holds: bool, option: str, value: object, rule: str) -> None:
    if not holds:
        raise ConfigError(f"mining.weights.{option} is {value}; {rule}")
