"""Training one head on one backbone: the loop that serves every head, built in or from a plugin.

    batch -> features of the backbone (or of the cache) -> head -> loss -> step

What shapes the result stands in the protocol; the rest (device, number of processes) does not shape it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from math import isnan
from typing import Any

import torch
from torch import Tensor

from sslkit.config.head_training import HeadTraining
from sslkit.contracts import LabelledBatch, Meta, Skipped, Target
from sslkit.data.augment import Augment, Elastic
from sslkit.data.labelled import LabelledLoader
from sslkit.data.labelled_samples import moved
from sslkit.data.warp import fit
from sslkit.distributed import any_rank
from sslkit.errors import ConfigError, DataError, DivergedError, InterruptedRunError
from sslkit.models.task_model import TaskModel
from sslkit.runs.head_judging import judge, sampling_of
from sslkit.runs.head_parts import Best, HeadParts
from sslkit.runs.head_state import HeadState
from sslkit.runs.interruption import Interruption
from sslkit.training.checkpoint import Position
from sslkit.training.feature_cache import FeatureCache
from sslkit.training.feature_entry import NotKeptError
from sslkit.training.feature_store import FeatureStore
from sslkit.training.monitor import Diary
from sslkit.training.optim import cosine_lr, set_lr, stepped_lr
from sslkit.training.progress import ProgressLine

LOG_EVERY = 20
"""Steps between two lines of the diary."""


def train_head(parts: HeadParts, *, progress: bool = True, label: str = "head") -> TaskModel:
    """Train to the last step, from a checkpoint where there is one; gives the model that is to be judged.

    A plan of no steps trains nothing. Raises DivergedError for a loss that is not finite, InterruptedRunError
    after a signal, with a checkpoint.
    """
    if not parts.plan.steps:
        return _chosen(parts)
    parts.folder.mkdir(parents=True, exist_ok=True)
    state = HeadState(parts.folder / "checkpoints")
    with ExitStack() as stack:
        feed = feed_of(parts, stack)
        position = state.restore(parts)
        interruption = stack.enter_context(Interruption())
        main = parts.accelerator.is_main_process
        diary = Diary(parts.folder / "metrics.jsonl", resume_step=position.step) if main else None
        if diary is not None:
            stack.callback(diary.close)
        line = stack.enter_context(
            ProgressLine(total=parts.plan.steps, done=position.step, shown=progress and main, label=label)
        )
        parts.wrapped.train()
        stack.enter_context(parts.timed("training"))
        while position.step < parts.plan.steps:
            position = _epoch(parts, feed, position, state, diary, line, interruption)
        if feed.skipped:
            first = next(iter(feed.skipped.values()))
            line.say(
                f"{len(feed.skipped)} of {len(parts.train)} training samples could not be decoded and were "
                f"left out; the first: {first.name}: {first.reason}"
            )
    return _chosen(parts)


def _epoch(
    parts: HeadParts,
    feed: Feed,
    position: Position,
    state: HeadState,
    diary: Diary | None,
    line: ProgressLine,
    interruption: Interruption,
) -> Position:
    plan = parts.plan
    for seen, targets in feed.epoch(position.epoch, position.batch):
        lr = learning_rate(plan, position.step)
        set_lr(parts.optimizer, lr)
        losses = take_step(parts, seen, targets)
        step = position.step + 1
        position = replace(position, step=step, batch=position.batch + 1)
        ended = step == plan.steps
        if ended or step % LOG_EVERY == 0 or parts.accelerator.device.type == "cpu":
            _refuse_divergence(losses, position, parts)
        if ended or step % LOG_EVERY == 0:
            figures = {name: float(value) for name, value in losses.items()}
            line.update(step, {"loss": f"{sum(figures.values()):.3f}"})
            if diary is not None:
                diary.write("step", step, {"lr": lr, "loss": sum(figures.values()), **figures})
        look = parts.held_out is not None and (ended or step % plan.evaluate_every == 0)
        if look:
            _look(parts, step, diary)
        stop = interruption.signal
        if parts.accelerator.num_processes > 1:
            stop = any_rank(stop, parts.accelerator.device)
        if stop or ended or step % plan.evaluate_every == 0:
            state.save(parts, position)
        if stop and not ended:
            raise InterruptedRunError(
                f"stopped at step {step} of {plan.steps}, saved in {parts.folder}; the same command with "
                "--resume goes on from there",
                stop,
            )
        if ended:
            return position
    return Position(position.step, position.epoch + 1, 0)


def take_step(parts: HeadParts, seen: Any, targets: Any) -> dict[str, Tensor]:
    """One step of the optimiser on what a feed gives; the detached losses by name."""
    accelerator, plan = parts.accelerator, parts.plan
    pixels, metas = seen if isinstance(seen, tuple) else (seen, ())
    losses: dict[str, Tensor] = parts.wrapped(pixels, metas, targets)
    total = torch.stack(list(losses.values())).sum()
    accelerator.backward(total)
    if plan.clip_gradient is not None:
        accelerator.clip_grad_norm_(parts.wrapped.parameters(), plan.clip_gradient)
    parts.optimizer.step()
    parts.optimizer.zero_grad()
    if parts.averaged is not None:
        parts.averaged.update_parameters(parts.model)
    return {name: value.detach() for name, value in losses.items()}


def _look(parts: HeadParts, step: int, diary: Diary | None) -> None:
    """Judge the present weights on what was held out of the training samples, and keep the best."""
    assert parts.held_out is not None
    model = parts.judged
    with parts.timed("judging"):
        figures = judge(model, parts.held_out, parts.plan, parts.accelerator, stored=parts.stored).figures
    if diary is not None:
        diary.write("held_out", step, dict(figures))
    spec = model.spec
    figure = figures[spec.metric] if spec.higher_is_better else -figures[spec.metric]
    if isnan(figure):  # nothing was held out that it could be made of
        return
    if parts.best is None or figure > parts.best.figure:
        weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        parts.best = Best(step, figure, weights)


def _chosen(parts: HeadParts) -> TaskModel:
    """The best weights where samples were held out to pick them, else the last."""
    model = parts.judged
    if parts.best is not None:
        model.load_state_dict(parts.best.weights)
    model.eval()
    return model


def _refuse_divergence(losses: dict[str, Tensor], position: Position, parts: HeadParts) -> None:
    bad = [name for name, value in losses.items() if not bool(value.isfinite())]
    if bad:
        raise DivergedError(
            f"loss '{bad[0]}' of head '{parts.model.spec.name}' is not finite at step {position.step} of "
            f"{parts.plan.steps}; lower training.lr (now {parts.plan.lr:g}), lengthen training.warmup_steps, "
            "or set training.clip_gradient=1"
        )


class Feed:
    """The batches of each epoch, on the device, from pixels: ((pixels, metas), targets)."""

    def __init__(self, parts: HeadParts) -> None:
        self._device = parts.accelerator.device
        self._loader = LabelledLoader(
            parts.train,
            size=parts.plan.size,
            batch_size=min(parts.plan.batch, len(parts.train)),
            channels=getattr(parts.model.backbone, "channels", 3),
            pairs=parts.model.spec.input == "pair",
            clip=sampling_of(parts.plan, drawn=True),
            augment=augmentation(parts.plan),
            seed=parts.seed,
            rank=parts.accelerator.process_index,
            world=parts.accelerator.num_processes,
            shuffle=True,
            drop_last=True,
            threads=torch.get_num_threads(),
            ahead=parts.accelerator.device.type != "cpu",
            oversample=parts.plan.oversample,
        )
        self.skipped: dict[int, Skipped] = {}
        """Training samples that could not be decoded, by id."""

    def epoch(self, number: int, start: int) -> Iterator[tuple[Any, Any]]:
        """The batches of an epoch from batch `start` on."""
        for batch in self._loader.epoch(number, start=start):
            self._note(batch)
            there = batch.to(self._device)
            yield (there.pixels, there.metas), there.targets

    def _note(self, batch: LabelledBatch) -> None:
        self.skipped.update((sample.id, sample) for sample in batch.skipped)


class CachedFeed(Feed):
    """The same from features of a frozen backbone, computed once: (features, targets).

    The order is that of the pixels, so what is learnt of images and pairs is the same; of a video it is the
    middle, where training from pixels draws another clip each epoch. Features come from the store of the
    parts, else from a folder of the training that `stack` deletes; all processes read all of them, since any
    sample may be in the share of any. Targets are kept from the first time on.
    """

    def __init__(self, parts: HeadParts, stack: ExitStack) -> None:
        super().__init__(parts)
        self._source = parts.train
        self._cache = _training_features(parts, stack)
        self._targets: dict[int, Target] = {}
        self.skipped.update((sample.id, sample) for sample in self._cache.skipped)

    def epoch(self, number: int, start: int) -> Iterator[tuple[Any, Any]]:
        """The batches of an epoch from batch `start` on."""
        for ids in self._loader.shares(number, start):
            features = self._cache.batch(ids, self._device)
            if features is None:
                reasons = "; ".join(self.skipped[id].reason for id in ids[:3])
                raise DataError(f"none of the {len(ids)} samples of a batch can be decoded: {reasons}")
            targets = [self._target(meta) for meta in features.metas]
            there = tuple(one.to(self._device) if hasattr(one, "to") else one for one in targets)
            yield features, there

    def _target(self, meta: Meta) -> Target:
        """The target of a sample as it lies on its canvas."""
        if meta.id not in self._targets:
            placed = fit(meta.original, meta.canvas)
            self._targets[meta.id] = moved(self._source.target(meta.id), placed, meta.name, meta.id)
        return self._targets[meta.id]


def _training_features(parts: HeadParts, stack: ExitStack) -> FeatureCache:
    """What the backbone makes of the training samples, of a video those of its middle."""
    clip = sampling_of(parts.plan, views=1, crops=1)
    if parts.stored is not None:
        try:
            return parts.stored.of(parts.train, clip)
        except NotKeptError as error:
            parts.stored.store.say_not_kept(error)
    own = FeatureStore(parts.folder / f"features-{parts.accelerator.process_index}", limit=sys.maxsize)
    stack.callback(own.delete)
    try:
        return parts.features_in(own).of(parts.train, clip)
    except NotKeptError as error:
        raise ConfigError(
            f"features of {len(parts.train)} samples cannot be kept: {error}, or set training.cache=false"
        ) from error


def feed_of(parts: HeadParts, stack: ExitStack) -> Feed:
    """The batches of a training, from kept features where the protocol says so; `stack` closes them."""
    if parts.plan.cache and parts.model.mode.frozen:
        return CachedFeed(parts, stack)
    return Feed(parts)


def learning_rate(plan: HeadTraining, step: int) -> float:
    """Of a step, a function of nothing else: steps down where the plan has a decay, else half a cosine."""
    peak, total, warmup = plan.lr, plan.steps, plan.warmup_steps
    if plan.decay is None:
        return cosine_lr(step, peak=peak, total_steps=total, warmup_steps=warmup)
    at, factor = plan.decay.at, plan.decay.factor
    return stepped_lr(step, peak=peak, total_steps=total, warmup_steps=warmup, at=at, factor=factor)


def augmentation(plan: HeadTraining) -> Augment | None:
    """What a plan asks for, None where every epoch sees the same pixels."""
    given = plan.augment
    if given.none:
        return None
    elastic = None
    if given.elastic is not None:
        elastic = Elastic(alpha=given.elastic.alpha, sigma=given.elastic.sigma, p=given.elastic.p)
    return Augment(flip=given.flip, scale=given.scale, elastic=elastic, colour=given.colour, crop=given.crop)
