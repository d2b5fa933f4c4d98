"""The part of a recipe that says how neighbours are mined from the whole corpus."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sslkit.config.section import Count, NotNegative, Positive, Section, Share

Whole = Annotated[int, Field(ge=0)]


class BandPlan(Section):
    """Ranks first to last (0 is the nearest other sample) and what to do with the neighbours there."""

    ranks: Annotated[tuple[Whole, Whole], Field(strict=False)]
    action: Literal["repel", "attract", "exclude"]
    weight: NotNegative = 1.0


class WeightsPlan(Section):
    """How much each mined negative counts; the product of all factors, normalised for each anchor."""

    hardness: NotNegative = 1.0
    """Exponent of the similarity, in units of `temperature`."""
    temperature: Positive = 0.1
    prior: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the corpus thought to be of an anchor's own class: near ranks count less for it."""
    half_life: Positive | None = None
    """Steps after which a slot of the bank counts half; None for no decay."""
    mass: NotNegative = 1.0
    """What an anchor's negatives weigh together, as a multiple of their number."""


class HardBatchesPlan(Section):
    """Batches made of neighbourhoods of `cluster` near samples; a share `mix` of them stays random."""

    cluster: Annotated[int, Field(ge=2)] = 8
    mix: Share = 0.0
    start_epoch: Count = 1


class MiningPlan(Section):
    """Neighbours from the whole corpus for each anchor; see docs/mining.md."""

    negatives: Whole = 64
    """Negatives for each anchor."""
    positives: Whole = 0
    """Neighbours to agree with for each anchor, from bands whose action is attract."""
    strategy: Literal["random", "semi_hard", "hard", "distance_weighted"] = "random"
    candidates: Count = 500
    """How many of an anchor's nearest neighbours are considered."""
    skip_nearest: Whole = 50
    """Nearest neighbours left alone, since most of them are false negatives."""
    similarity_cap: Annotated[float, Field(ge=-1, le=1)] | None = None
    quantiles: Annotated[tuple[Share, Share], Field(strict=False)] | None = None
    positive_margin: NotNegative | None = None
    bands: Annotated[tuple[BandPlan, ...], Field(strict=False)] = ()
    weights: WeightsPlan = WeightsPlan()
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of the moving average in a slot of the bank; 0 keeps the newest output."""
    start_epoch: Count = 1
    """The first epoch (from 0) that mines; before it the bank fills."""
    refresh: Count | Literal["auto", "epoch"] = "epoch"
    """Steps between two indexes; auto adapts it to the measured staleness."""
    lag: Whole | Literal["auto"] = "auto"
    """Steps from a snapshot to the takeover of its index; auto: an eighth of refresh, at most 50."""
    index: Literal["auto", "flat", "ivf", "hnsw"] = "auto"
    hard_batches: HardBatchesPlan | None = None
