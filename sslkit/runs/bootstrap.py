"""Hard negatives by bootstrapping: train, test on unseen negatives, add those taken for positives, repeat.

Sung and Poggio, "Example-Based Learning for View-Based Human Face Detection", MIT A.I. Memo 1521, 1994 (IEEE
PAMI 20(1), 1998), their boot-strap strategy. A pool of negatives is too large to train on, and nearly all of
it is easy; the detector itself says which part of it is not.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslkit.atomic import replace_text
from sslkit.contracts import Features, Source
from sslkit.errors import ConfigError, DataError, UnknownNameError
from sslkit.evaluation.linear import fit_linear
from sslkit.keyed_random import hashed, word

Ids = NDArray[np.int64]
Scores = Callable[[Ids], Tensor | NDArray[Any]]
"""Ids (N,) to one number each, larger where the thing is more likely a positive."""
Fit = Callable[[Ids, Ids], Scores]
"""Trains on (positives, negatives) from scratch and gives what scores others."""

_PENALTIES = (1e-3, 1e-2, 1e-1)
_HELD_OUT = 0.2


@dataclass(frozen=True)
class Round:
    """One training and what came of it.

    negatives: how many it was trained on. false_positives: how many of the unseen part of the pool scored at
    least the threshold; added: how many of those the next round trains on. false_positive_rate, recall:
    shares of held-out negatives and positives, never trained on, that score at least the threshold.
    """

    number: int
    negatives: int
    false_positives: int
    added: int
    false_positive_rate: float
    recall: float


@dataclass(frozen=True)
class Bootstrap:
    """The rounds and the negatives they chose.

    ids: int64 (N,), the negatives of the last training, in the order of choice; found_in: int64 (N,), the
    round that found each, 0 for the random ones of the start; scores: what the last training gave. stopped:
    "tolerance" (the rate is low enough), "nothing new" (no unseen negative is a false positive) or "rounds".
    """

    rounds: tuple[Round, ...]
    ids: Ids
    found_in: Ids
    stopped: str
    scores: Scores

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `scores` is left out."""
        negatives = [
            {"id": id, "round": number}
            for id, number in zip(self.ids.tolist(), self.found_in.tolist(), strict=True)
        ]
        return {
            "rounds": [vars(one) for one in self.rounds],
            "stopped": self.stopped,
            "negatives": negatives,
        }

    def to_text(self) -> str:
        """A line for each round and why there is no further one."""
        lines = ["round  negatives  false positives  added  false-positive rate  recall"]
        lines += [
            f"{one.number:5}  {one.negatives:9,}  {one.false_positives:15,}  {one.added:5,}"
            f"  {one.false_positive_rate:19.4f}  {one.recall:6.3f}"
            for one in self.rounds
        ]
        reasons = {
            "tolerance": "the false-positive rate is low enough",
            "nothing new": "no unseen negative is taken for a positive any more",
            "rounds": "all rounds are done",
        }
        return "\n".join([*lines, f"stopped: {reasons[self.stopped]}"])

    def write(self, path: Path) -> None:
        """Write `to_dict` as JSON, in one step; raises ConfigError when the place cannot be written to."""
        replace_text(path, json.dumps(self.to_dict(), indent=2) + "\n")


def bootstrap(
    fit: Fit,
    positives: Ids,
    pool: Ids,
    *,
    start: int,
    most_added: int,
    threshold: float,
    tolerance: float,
    rounds: int,
    held_out: float = 0.2,
    seed: int = 0,
) -> Bootstrap:
    """Train on positives (P,) and on those of the negatives `pool` (M,) that are taken for positives.

    A share `held_out` of both is never trained on and gives the rates. Round 1 trains with `start` random
    negatives; after each round the unseen negatives that score at least `threshold` are added, the highest
    first, at most `most_added`. It ends when the held-out false-positive rate is at most `tolerance`, when
    there is nothing to add, or after `rounds` rounds. A function of its arguments; the order of ids is none.

    Raises:
        ConfigError: an option out of range, ids that repeat or stand on both sides, or too few of them.
        DataError: scores that are not one finite number for each id.
    """
    _check(positives, pool, most_added, tolerance, rounds, held_out)
    trained, judged = _parted(positives, held_out, seed, "positives")
    unseen, sea = _parted(pool, held_out, seed, "pool")
    if not 1 <= start <= len(unseen):
        raise ConfigError(
            f"start={start} random negatives of {len(unseen)} to train on ({len(sea)} of the pool are held "
            f"out); it may be 1 to {len(unseen)}"
        )
    chosen, unseen = unseen[:start], unseen[start:]
    found_in = np.zeros(start, dtype=np.int64)
    done: list[Round] = []
    while True:
        scores = fit(trained, chosen)
        rate = float((_scored(scores, sea) >= threshold).mean())
        recall = float((_scored(scores, judged) >= threshold).mean())
        values = _scored(scores, unseen)
        wrong = np.flatnonzero(values >= threshold)
        stopped = _stopped(rate <= tolerance, len(wrong) == 0, len(done) + 1 == rounds)
        hardest = wrong[np.lexsort((unseen[wrong], -values[wrong]))][: 0 if stopped else most_added]
        done.append(Round(len(done) + 1, len(chosen), len(wrong), len(hardest), rate, recall))
        if stopped:
            return Bootstrap(tuple(done), chosen, found_in, stopped, scores)
        chosen = np.concatenate([chosen, unseen[hardest]])
        found_in = np.concatenate([found_in, np.full(len(hardest), len(done))])
        unseen = np.delete(unseen, hardest)


def bootstrap_class(
    features: Features,
    source: Source,
    name: str,
    *,
    rounds: int = 5,
    tolerance: float = 0.01,
    seed: int = 0,
) -> Bootstrap:
    """Bootstrap a logistic classifier on embeddings for class `name` of the source against all others.

    As many random negatives as there are positives to train on begin, and at most as many are added a round;
    the threshold is a probability of one half. Ids are the source's. Raises DataError for a source without
    labels or for a class with fewer than 5 samples, UnknownNameError for a class it does not have.
    """
    if source.labels is None:
        raise DataError(
            "bootstrapping one class against the rest needs labels, and the data has none; put images into "
            "one folder per class, or give a list file with a class on each line"
        )
    if name not in source.classes:
        raise UnknownNameError("class", name, source.classes)
    own = (features.labels == list(source.classes).index(name)).numpy()
    ids = features.ids.numpy()
    least = min(own.sum(), (~own).sum())
    if least < 5:
        raise DataError(
            f"class '{name}' has {own.sum()} samples and the others {(~own).sum()}; 5 of each are needed to "
            "train on some and judge by the rest"
        )
    size = int(own.sum()) - _held(int(own.sum()), _HELD_OUT)
    size = min(size, int((~own).sum()) - _held(int((~own).sum()), _HELD_OUT))
    return bootstrap(
        _logistic(features, seed),
        ids[own],
        ids[~own],
        start=size,
        most_added=size,
        threshold=0.0,
        tolerance=tolerance,
        rounds=rounds,
        held_out=_HELD_OUT,
        seed=seed,
    )


def _logistic(features: Features, seed: int) -> Fit:
    """Scores are the logarithm of the odds for a positive."""
    row = np.full(int(features.ids.max()) + 1, -1)
    row[features.ids.numpy()] = np.arange(len(features))

    def fit(positives: Ids, negatives: Ids) -> Scores:
        labels = torch.zeros(len(positives) + len(negatives), dtype=torch.int64)
        labels[: len(positives)] = 1
        probe = fit_linear(
            features.embeddings[row[np.concatenate([positives, negatives])]],
            labels,
            classes=2,
            l2=_PENALTIES,
            held_out_share=_HELD_OUT,
            max_iterations=100,
            seed=seed,
        )

        def scores(ids: Ids) -> Tensor:
            logits = probe.logits(features.embeddings[row[ids]])
            return logits[:, 1] - logits[:, 0]

        return scores

    return fit


def _stopped(low: bool, nothing: bool, last: bool) -> str:
    return "tolerance" if low else "nothing new" if nothing else "rounds" if last else ""


def _held(count: int, share: float) -> int:
    return max(round(count * share), 1)


def _parted(ids: Ids, share: float, seed: int, what: str) -> tuple[Ids, Ids]:
    """(To train on, held out), each in a keyed order that is a function of the set of ids."""
    keys = hashed(seed, word("bootstrap"), word(what), torch.from_numpy(ids)).numpy()
    shuffled = ids[np.argsort(keys, kind="stable")]
    held = _held(len(ids), share)
    return shuffled[held:], shuffled[:held]


def _scored(scores: Scores, ids: Ids) -> NDArray[np.float64]:
    if not len(ids):
        return np.zeros(0)
    values: NDArray[np.float64] = torch.as_tensor(scores(ids)).detach().double().cpu().numpy()
    if values.shape != ids.shape:
        raise DataError(f"scores of {len(ids)} ids have the shape {values.shape}; one number each is needed")
    if bad := int((~np.isfinite(values)).sum()):
        raise DataError(f"{bad} of {len(ids)} scores are not finite; the training that made them diverged")
    return values


def _check(
    positives: Ids, pool: Ids, most_added: int, tolerance: float, rounds: int, held_out: float
) -> None:
    for ids, what in ((positives, "positives"), (pool, "pool")):
        if ids.dtype != np.int64 or ids.ndim != 1 or len(ids) < 2 or len(np.unique(ids)) < len(ids):
            raise ConfigError(
                f"{what} are {ids.dtype} of shape {ids.shape}; distinct int64 (N,) are needed, 2 or more"
            )
        if not 0 < held_out < 1 or _held(len(ids), held_out) == len(ids):
            raise ConfigError(
                f"held_out={held_out} of {len(ids)} {what} leaves none to train on or to judge by; use 0.2"
            )
    if both := len(np.intersect1d(positives, pool)):
        raise ConfigError(f"{both} ids are positives and in the pool of negatives; each belongs to one side")
    if most_added < 1 or rounds < 1 or not 0 <= tolerance < 1:
        raise ConfigError(
            f"most_added={most_added}, rounds={rounds}, tolerance={tolerance}; the first two must be at "
            "least 1, tolerance a share from 0 to below 1, such as 0.01"
        )
