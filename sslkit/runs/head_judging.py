"""Judging a trained head on every sample of a source, by all processes together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from sslkit.config.head_training import HeadTraining
from sslkit.contracts import Figures, Head, LabelledSource, Meta, Skipped
from sslkit.data.clip_sampling import ClipSampling
from sslkit.data.labelled import LabelledLoader
from sslkit.errors import DataError
from sslkit.models.modes import evaluating
from sslkit.models.task_model import TaskModel
from sslkit.runs.stored_features import FrozenFeatures, feature_loader
from sslkit.training.feature_cache import FeatureCache
from sslkit.training.feature_entry import NotKeptError

Prediction = Callable[[Meta, Any, Any], None]
"""What is done with each (meta, prediction, target), in pixels of the original, of every view of a sample."""


def judge(
    model: TaskModel,
    source: LabelledSource,
    plan: HeadTraining,
    accelerator: Accelerator,
    *,
    on_prediction: Prediction | None = None,
    stored: FrozenFeatures | None = None,
) -> Figures:
    """The head's figures over all samples, each on a canvas of its own and compared at its original size.

    The metric sees every view of a clip that the plan asks for, under the id of its video. stored: what the
    model's frozen backbone makes of samples, then read from a store; a head sees no pixels beside it.

    Each module gets back the mode it had. Raises DataError for a sample that cannot be decoded: figures of
    the others would be those of another data set.
    """
    head = cast(Head, model.head)
    metric = head.metrics()
    rank, world = accelerator.process_index, accelerator.num_processes
    loader = feature_loader(model, plan, source, sampling_of(plan), rank=rank, world=world)
    kept = None if stored is None else _kept(stored, source, plan)
    skipped: list[Skipped] = [] if kept is None else list(kept.skipped)
    with evaluating(model), torch.no_grad():
        if kept is None:
            judged = _from_pixels(model, loader, accelerator, skipped)
        else:
            judged = _from_features(model, loader, accelerator, kept)
        for metas, predictions in judged:
            ids = [meta.id for meta in metas]
            known = {id: source.target(id) for id in set(ids)}
            targets = [known[id] for id in ids]
            metric.update(ids, predictions, targets)
            if on_prediction is not None:
                for meta, prediction, target in zip(metas, predictions, targets, strict=True):
                    on_prediction(meta, prediction, target)
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


def _kept(stored: FrozenFeatures, source: LabelledSource, plan: HeadTraining) -> FeatureCache | None:
    try:
        return stored.of(source, sampling_of(plan))
    except NotKeptError as error:
        stored.store.say_not_kept(error)
        return None


def _from_pixels(
    model: TaskModel, loader: LabelledLoader, accelerator: Accelerator, skipped: list[Skipped]
) -> Iterator[tuple[Sequence[Meta], list[Any]]]:
    for batch in loader.epoch(0):
        skipped += batch.skipped
        if len(batch):
            there = batch.to(accelerator.device)
            with accelerator.autocast():
                predictions = model.predict(there.pixels, there.metas)
            yield batch.metas, predictions


def _from_features(
    model: TaskModel, loader: LabelledLoader, accelerator: Accelerator, kept: FeatureCache
) -> Iterator[tuple[Sequence[Meta], list[Any]]]:
    """The same batches; features lie in memory as the backbone gave them, which shapes a head's last bits."""
    for ids in loader.shares(0):
        features = kept.batch(ids, accelerator.device, as_made=True)
        if features is not None:
            with accelerator.autocast():
                predictions = model.decode(features)
            yield features.metas, predictions


def sampling_of(plan: HeadTraining, **changed: Any) -> ClipSampling | None:
    """How a plan's test looks at videos, with some of it changed; None where a head takes no clips."""
    if plan.clip is None:
        return None
    return ClipSampling(**{**plan.clip.model_dump(), **changed})
