"""Judging a trained head on every sample of a source, by all processes together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from sslkit.config.head_training import HeadTraining
from sslkit.contracts import Figures, Head, LabelledSource, Meta, Skipped
from sslkit.data.clip_sampling import ClipSampling
from sslkit.data.labelled import LabelledLoader
from sslkit.errors import DataError
from sslkit.models.task_model import TaskModel

Prediction = Callable[[Meta, Any, Any], None]
"""What is done with each (meta, prediction, target), in pixels of the original, of every view of a sample."""


def judge(
    model: TaskModel,
    source: LabelledSource,
    plan: HeadTraining,
    accelerator: Accelerator,
    *,
    on_prediction: Prediction | None = None,
) -> Figures:
    """The head's figures over all samples, each on a canvas of its own and compared at its original size.

    The metric sees every view of a clip that the plan asks for, under the id of its video.
    The model gets back the mode it had. Raises DataError for a sample that cannot be decoded: figures of the
    others would be those of another data set.
    """
    head = cast(Head, model.head)
    metric = head.metrics()
    loader = LabelledLoader(
        source,
        size=plan.size,
        batch_size=min(plan.batch, len(source)),
        channels=getattr(model.backbone, "channels", 3),
        pairs=model.spec.input == "pair",
        clip=sampling_of(plan),
        augment=None,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        shuffle=False,
        drop_last=False,
        threads=torch.get_num_threads(),
    )
    was_training = model.training
    model.eval()
    skipped: list[Skipped] = []
    for batch in loader.epoch(0):
        skipped += batch.skipped
        if not len(batch):
            continue
        there = batch.to(accelerator.device)
        with torch.no_grad(), accelerator.autocast():
            predictions = model.predict(there.pixels, there.metas)
        known = {id: source.target(id) for id in set(batch.ids.tolist())}
        targets = [known[id] for id in batch.ids.tolist()]
        metric.update(batch.ids.tolist(), predictions, targets)
        if on_prediction is not None:
            for meta, prediction, target in zip(batch.metas, predictions, targets, strict=True):
                on_prediction(meta, prediction, target)
    model.train(was_training)
    if skipped:
        raise DataError(
            f"{len(skipped)} of {len(source)} samples to be judged cannot be decoded; the first: "
            f"{skipped[0].name}: {skipped[0].reason}; mend them, or take them out of the annotations"
        )
    first, *others = gather_object([metric])
    for other in others:
        first.merge(other)
    figures: Figures = first.compute()
    return figures


def sampling_of(plan: HeadTraining, **changed: Any) -> ClipSampling | None:
    """How a plan's test looks at videos, with some of it changed; None where a head takes no clips."""
    if plan.clip is None:
        return None
    return ClipSampling(**{**plan.clip.model_dump(), **changed})
