"""A part of the labelled training samples, drawn anew for every seed: how far do few labels go?"""

from __future__ import annotations

from typing import cast

import numpy as np

from sslkit.config.head_training import HeadTraining
from sslkit.contracts import LabelledSource
from sslkit.data.label_draws import drawn_rows
from sslkit.data.subset import Subset
from sslkit.errors import ConfigError


def drawn_part(source: LabelledSource, plan: HeadTraining, seed: int) -> LabelledSource:
    """The training samples whose targets are used: those `training.labels` draws, all of them without it.

    A part is a function of the source and of the seed, and parts of one seed are nested. Samples with one
    class each are drawn class by class; of others (boxes, maps, sets of classes, flow) only a share can be
    taken. Raises ConfigError where it is asked for anything else, DataError for classes with too few samples.
    """
    draw = plan.labels
    if draw is None:
        return source
    labels = source.labels
    if source.target_kind != "label":
        asked = "per_class" if draw.per_class is not None else "imbalance"
        if draw.share is None:
            raise ConfigError(
                f"training.labels.{asked} draws class by class, and a target of kind '{source.target_kind}' "
                "is of no one class; use training.labels={share: 0.1}"
            )
        labels = np.zeros(len(source), np.int64)  # all alike, so that a share is a plain one
    assert labels is not None
    rows = drawn_rows(labels, **draw.model_dump(), trial=seed, classes=source.classes)
    return cast(LabelledSource, Subset(source, rows))
