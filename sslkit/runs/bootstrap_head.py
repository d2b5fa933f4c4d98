"""Bootstrapping a detector: train, look at images without objects, add those with false alarms, train again.

The loop is bootstrap.py's (Sung and Poggio 1994); here a negative is an image in which nothing is to be
found, and its score is that of the surest object the detector finds in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from sslkit.config.head_training import read_training
from sslkit.contracts import LabelledSource, Objects
from sslkit.data.subset import Subset
from sslkit.errors import ConfigError, DataError, RunError
from sslkit.runs.bootstrap import Bootstrap, Ids, Scores, bootstrap
from sslkit.runs.embedder import open_embedder
from sslkit.runs.head_backbone import head_layout
from sslkit.runs.head_evaluation import choose_head, head_parts
from sslkit.runs.head_judging import judge
from sslkit.runs.head_parts import HeadRun
from sslkit.runs.head_training import train_head
from sslkit.runs.splits import HeadSplits, checked_source

THRESHOLD = 0.5
"""An object found with at least this score is an alarm."""

LEAST = 5
"""Images of each kind below which nothing can be held out."""

_HELD_OUT = 0.2
_START = 0.1
_TOLERANCE = 0.01


def bootstrap_head(
    model: str | Path,
    data: str | Path,
    *,
    head: str,
    protocol: str | Path | None = None,
    settings: Sequence[str] = (),
    rounds: int,
    out: str | Path | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Bootstrap:
    """Train a detector in rounds; the images without objects are the pool of negatives.

    It starts with a tenth of the pool and adds at most as many false alarms a round. A fifth of both kinds is
    never trained on and gives the rates. out: folder for each round's training and rounds.json.
    Raises ConfigError for a head that finds no objects, DataError for too few images of a kind, RunError for
    a folder with something in it.
    """
    spec, described = choose_head(head, protocol, settings)
    if spec.target not in ("boxes", "masks"):
        raise ConfigError(
            f"--rounds look for false alarms, and head '{head}' finds no objects; use a detector"
        )
    if out is not None and Path(out).is_dir() and any(Path(out).iterdir()):
        raise RunError(
            f"{out} is not empty, and rounds do not go on where others stopped; choose another --out"
        )
    plan = read_training(described.training, described.id)
    source = checked_source(spec, str(data), plan)
    found = source.class_counts().sum(axis=1) > 0
    positives, pool = np.flatnonzero(found), np.flatnonzero(~found)
    if min(len(positives), len(pool)) < LEAST:
        raise DataError(
            f"{data} has {len(positives)} images with objects and {len(pool)} without; --rounds needs at "
            f"least {LEAST} of each: list images in which nothing is to be found, without annotations"
        )
    embedder = open_embedder(model)
    layout = head_layout(embedder, plan, described)
    count = 0
    with TemporaryDirectory(prefix="sslkit-") if out is None else nullcontext(str(out)) as folder:

        def fit(chosen: Ids, negatives: Ids) -> Scores:
            nonlocal count
            count += 1
            train = _part(source, np.concatenate([chosen, negatives]))
            splits = HeadSplits(train, None, train, str(data))
            run = HeadRun(described, plan, spec, splits, layout, Path(folder), progress)
            parts = head_parts(run, embedder, seed, Path(folder) / f"round-{count}")
            trained = train_head(parts, progress=progress, label=f"round {count}")

            def scores(ids: Ids) -> Tensor:
                surest = torch.zeros(len(ids))

                def keep(meta: Any, prediction: Objects, target: Any) -> None:
                    if prediction.scores is not None and len(prediction):
                        surest[meta.id] = float(prediction.scores.max())

                if len(ids):
                    judge(trained, _part(source, ids), plan, parts.accelerator, on_prediction=keep)
                return surest

            return scores

        start = max(1, round(_START * len(pool)))
        result = bootstrap(
            fit,
            positives,
            pool,
            start=start,
            most_added=start,
            threshold=THRESHOLD,
            tolerance=_TOLERANCE,
            rounds=rounds,
            held_out=_HELD_OUT,
            seed=seed,
        )
        if out is not None:
            result.write(Path(out) / "rounds.json")
    return result


def _part(source: LabelledSource, ids: Ids) -> LabelledSource:
    return cast(LabelledSource, Subset(source, ids))
