"""Mining in a run: from the recipe to a miner, and what its finds say when labels are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from sslkit.config.mining import MiningPlan
from sslkit.contracts import Objective, Source
from sslkit.errors import ConfigError
from sslkit.mining.bank import Bank, wants_file
from sslkit.mining.batches import HardBatches
from sslkit.mining.choice import Band, Bands
from sslkit.mining.confusions import RANK_EDGES
from sslkit.mining.miner import Miner
from sslkit.mining.refresh import Refresher
from sslkit.mining.weights import Weighting, false_negatives_by_rank
from sslkit.neighbours.corpus import IVF_ROWS

MOST_LAG = 50
"""Steps that `lag: auto` gives a build at most; where it takes longer, the loop says so."""


def build_miner(
    plan: MiningPlan,
    source: Source,
    objective: Objective,
    *,
    name: str,
    width: int,
    steps_per_epoch: int,
    seed: int,
    folder: Path,
) -> Miner:
    """The miner of a run; width: of the objective's outputs. ConfigError where it cannot serve them."""
    if (plan.negatives or plan.positives) and not getattr(objective, "takes_mined", False):
        raise ConfigError(
            f"objective '{name}' has no use for mined neighbours; set mining.negatives=0 and "
            "mining.positives=0 (hard batches still work), drop `mining`, or choose an objective that takes "
            "them, such as simclr or triplet"
        )
    count = len(source)
    if plan.index == "ivf" and count < IVF_ROWS:
        raise ConfigError(
            f"mining.index=ivf needs {IVF_ROWS} vectors to learn its cells from, and there are {count} "
            "samples; use mining.index=auto, which searches so few exactly"
        )
    bank = _bank(plan, folder, count, width)
    every = steps_per_epoch if plan.refresh == "epoch" else plan.refresh
    known = steps_per_epoch if every == "auto" else every
    lag = min(known // 8, MOST_LAG) if plan.lag == "auto" else plan.lag
    refresher = Refresher(
        bank,
        every=every,
        lag=lag,
        start=max(plan.start_epoch * steps_per_epoch - lag, 0),
        kind=plan.index,
        initial=max(steps_per_epoch, lag),
    )
    weights = plan.weights
    return Miner(
        bank,
        refresher,
        negatives=plan.negatives,
        positives=plan.positives,
        candidates=plan.candidates,
        strategy=plan.strategy,
        bands=Bands(
            skip_nearest=plan.skip_nearest,
            similarity_cap=plan.similarity_cap,
            quantiles=plan.quantiles,
            positive_margin=plan.positive_margin,
            bands=tuple(Band(band.ranks, band.action, band.weight) for band in plan.bands),
        ),
        weighting=Weighting(
            hardness=weights.hardness,
            temperature=weights.temperature,
            prior=weights.prior,
            corpus=count,
            half_life=weights.half_life,
            mass=weights.mass,
        ),
        groups=getattr(source, "groups", None),
        hard_batches=None if plan.hard_batches is None else HardBatches(**plan.hard_batches.model_dump()),
        seed=seed,
    )


def _bank(plan: MiningPlan, folder: Path, count: int, width: int) -> Bank:
    if not wants_file(count, width):
        return Bank(count, width, momentum=plan.momentum)
    file = folder.parent / f".{folder.name}.bank"
    bank = Bank(count, width, momentum=plan.momentum, mapped=file)
    file.unlink(missing_ok=True)  # mapped, it lives on without a name and goes with the process
    return bank


def mining_figures(miner: Miner, source: Source) -> dict[str, float]:
    """What the diary tells of mining; with labels also the share of false negatives by rank.

    Labels are looked at here alone, after the step; they never reach the miner or the loss.
    """
    figures = miner.figures()
    found = miner.found
    if found is None or source.labels is None:
        return figures
    labels = torch.from_numpy(np.asarray(source.labels, dtype=np.int64))
    there = found.ids >= 0
    candidates = torch.where(there, labels[found.ids.clamp(min=0)], -1)
    shares = false_negatives_by_rank(labels[found.anchors], candidates, found.ranks, RANK_EDGES)
    return figures | {f"false_negatives_{band}": share for band, share in shares.items()}
