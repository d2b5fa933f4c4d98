"""Checks of a head's predictions, figures and drawings, and that it leaves the process as it found it."""

from __future__ import annotations

import os
import pickle
import random
import warnings
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any
from unittest import SkipTest

import numpy as np
import torch

from sslkit.contracts import ClassLabel, Figures, LabelledBatch, Objects
from sslkit.testing.head_predictions import check_forms, check_inside, check_labels, difference
from sslkit.testing.head_samples import TYPES, in_original, picture, pictures
from sslkit.testing.head_trials import (
    HeadClass,
    assemble,
    example_of,
    figures_of,
    learnt,
    main_figure,
    mixed_predictions,
    predict,
    predict_noise,
    reaches,
    step,
)

_LARGER = (2, 3)  # down and right, so that mixed-up axes show


def check_original_pixels(head: HeadClass) -> None:
    """Of samples that were larger than on the canvas, predictions are in pixels of the original."""
    if head.spec.target not in TYPES:
        raise SkipTest(f"how predictions of target '{head.spec.target}' scale is not known to this kit")
    trial = learnt(head)
    batch = trial.example.batch
    metas = tuple(replace(meta, original=meta.valid) for meta in batch.metas)
    larger = tuple(
        replace(meta, original=(_LARGER[0] * meta.valid[0], _LARGER[1] * meta.valid[1])) for meta in metas
    )
    made = []
    for chosen in (metas, larger):
        made.append(predict(trial.model, replace(batch, metas=chosen)))
    check_forms(made[1], larger, TYPES[head.spec.target])
    check_inside(made[1], larger)
    for place, (one, other) in enumerate(zip(*made, strict=True)):
        wrong = difference(one, other, (float(_LARGER[0]), float(_LARGER[1])))
        assert not wrong, (
            f"for an original {_LARGER} times as large (down, right), prediction {place}: {wrong}"
        )


def check_batch_independent(head: HeadClass) -> None:
    """The prediction of a sample is the same alone, in other company and at another place."""
    trial = learnt(head)
    batch = trial.example.batch
    together = predict(trial.model, batch)
    for places in ([0], [5, 2, 7]):
        apart = predict(trial.model, _chosen(batch, places))
        for place, prediction in zip(places, apart, strict=True):
            wrong = difference(together[place], prediction)
            assert not wrong, f"sample {place} in a batch of {len(places)} instead of {len(batch)}: {wrong}"


def check_known_labels(head: HeadClass) -> None:
    """Trained or not, on images or loud noise, no label comes out that the task does not have."""
    trial = learnt(head)
    classes = len(trial.example.task.classes)
    for model in (trial.model, assemble(head, trial.example)):
        check_labels(predict(model, trial.example.batch), classes)
        check_labels(predict_noise(model, trial.example.batch), classes)


def check_figures(head: HeadClass) -> None:
    """The metric computes what the spec names, as numbers, and targets as predictions reach the goal."""
    trial = learnt(head)
    figures = figures_of(trial.model, trial.example.batch, predict(trial.model, trial.example.batch))
    main_figure(head, figures)
    for name, value in {**figures.figures, **figures.per_class}.items():
        assert isinstance(value, float), f"figure '{name}' is a {type(value).__name__}, not a float"
    strangers = sorted(set(figures.per_class) - set(trial.example.task.classes))
    assert not strangers, f"per_class names {strangers}, which are no classes of the task"
    right = [
        _as_prediction(target, trial.example.task.classes) for target in in_original(trial.example.batch)
    ]
    value = main_figure(head, figures_of(trial.model, trial.example.batch, right))
    assert reaches(head, value, trial.example.goal), (
        f"'{head.spec.metric}' of the targets themselves is {value:.3f}, below the goal {trial.example.goal}"
    )


def check_ranks(head: HeadClass) -> None:
    """Halves on two ranks, pickled and merged in either order, give exactly the figures of the whole."""
    whole, parts = _shared_out(head, [range(8)]), []
    for shares in ([range(4), range(4, 8)], [range(4, 8), range(4)], [range(1), range(1, 3), range(3, 8)]):
        parts.append(_shared_out(head, shares))
        wrong = _other(whole, parts[-1])
        assert not wrong, f"figures depend on how samples were shared out over {len(shares)} ranks: {wrong}"


def check_order(head: HeadClass) -> None:
    """The figures are exactly the same in whatever order samples are taken in."""
    whole = _shared_out(head, [range(8)])
    for order in ([7, 6, 5, 4, 3, 2, 1, 0], [3, 0, 6, 1, 7, 4, 2, 5]):
        wrong = _other(whole, _shared_out(head, [order], singly=True))
        assert not wrong, f"figures depend on the order of samples: {wrong}"


def check_views(head: HeadClass) -> None:
    """Of several views of a sample, which come under one id, the figures do not depend on order or ranks."""
    if head.spec.input != "clip":
        raise SkipTest(f"a sample of input '{head.spec.input}' is seen once")
    whole = _shared_out(head, [range(8)], views=(0, 1))
    for shares in ([[7, 6, 5, 4, 3, 2, 1, 0]], [range(4, 8), range(4)], [range(1), range(1, 3), range(3, 8)]):
        wrong = _other(whole, _shared_out(head, shares, views=(1, 0)))
        assert not wrong, f"of two views of each sample figures depend on how they are taken in: {wrong}"
    missing = sorted(set(_shared_out(head, [range(8)]).figures) - set(whole.figures))
    assert not missing, f"of two views of each sample figures {missing} are missing"


def check_draw(head: HeadClass) -> None:
    """Targets and predictions are drawn on a copy of the image, of the same form."""
    trial = learnt(head)
    batch = trial.example.batch
    module: Any = trial.model.head
    targets, predictions = in_original(batch), predict(trial.model, batch)
    for what, shown in (("target", targets[0]), ("prediction", predictions[0])):
        image = picture(batch, 0)
        before = image.copy()
        drawn = module.draw(image, shown)
        assert isinstance(drawn, np.ndarray), f"drawing a {what} gave a {type(drawn).__name__}, not an array"
        form = f"{drawn.dtype} {drawn.shape}"
        fits = drawn.dtype == np.uint8 and drawn.shape == before.shape
        assert fits, f"a {what} drawn is {form}, expected uint8 {before.shape}"
        assert np.array_equal(image, before), f"drawing a {what} changed the image itself"
        plain = isinstance(shown, ClassLabel) or (isinstance(shown, Objects) and not len(shown))
        assert plain or not np.array_equal(drawn, before), f"drawing a {what} drew nothing"
        if hasattr(module, "draw_frames"):
            _check_draw_frames(module, pictures(batch, 0), shown, what)


def _check_draw_frames(module: Any, frames: np.ndarray, shown: Any, what: str) -> None:
    before = frames.copy()
    drawn = module.draw_frames(frames, shown)
    assert isinstance(drawn, np.ndarray), f"draw_frames of a {what} gave a {type(drawn).__name__}, no array"
    fits = drawn.dtype == np.uint8 and drawn.ndim == 3 and drawn.shape[2] == 3 and drawn.size > 0
    form = f"{drawn.dtype} {drawn.shape}"
    assert fits, f"draw_frames of a {what} gave {form}, expected a picture uint8 (height, width, 3)"
    assert np.array_equal(frames, before), f"draw_frames of a {what} changed the frames themselves"


def check_no_global_state(head: HeadClass) -> None:
    """Nothing of the process changes while it is built, trained, predicts, judges and draws."""
    random.random()  # who sets a seed again, to what it was, is seen too
    np.random.random()
    torch.rand(1)
    before = _global_state()
    example = example_of(head)
    _compare(before, "example_batch")
    model = assemble(head, example)
    _compare(before, "building")
    random_before = torch.get_rng_state()
    step(model, example.batch, None)
    torch.set_rng_state(random_before)  # dropout may draw while training
    _compare(before, "forward and loss")
    predictions = predict(model, example.batch)
    _compare(before, "forward and decode in eval mode")
    figures_of(model, example.batch, predictions)
    _compare(before, "metrics")
    module: Any = model.head
    module.draw(picture(example.batch, 0), predictions[0])
    if hasattr(module, "draw_frames"):
        module.draw_frames(pictures(example.batch, 0), predictions[0])
    _compare(before, "draw")


def _global_state() -> dict[str, Any]:
    cudnn = torch.backends.cudnn
    return {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's default device": torch.get_default_device(),
        "grad mode": torch.is_grad_enabled(),
        "torch's number of threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32 matmul precision": torch.get_float32_matmul_precision(),
        "cudnn's flags": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic),
        "the warnings filters": list(warnings.filters),
        "os.environ": dict(os.environ),
        "torch's generator": torch.get_rng_state().tolist(),
        "numpy's generator": pickle.dumps(np.random.get_state()),
        "Python's generator": random.getstate(),
    }


def _compare(before: dict[str, Any], during: str) -> None:
    for name, value in _global_state().items():
        assert value == before[name], f"{during} changed {name}"


def _chosen(batch: LabelledBatch, places: Sequence[int]) -> LabelledBatch:
    rows = torch.tensor(places)
    return LabelledBatch(
        batch.ids[rows],
        batch.pixels[rows],
        tuple(batch.metas[place] for place in places),
        tuple(batch.targets[place] for place in places),
    )


def _as_prediction(target: Any, classes: Sequence[str]) -> Any:
    if isinstance(target, ClassLabel):
        return ClassLabel(target.label, torch.eye(len(classes))[target.label])
    if isinstance(target, Objects):
        kept = target if target.crowd is None else target[~target.crowd]
        return Objects(kept.boxes, kept.labels, torch.linspace(1.0, 0.9, len(kept)), kept.masks)
    return target


def _shared_out(
    head: HeadClass, shares: Sequence[Sequence[int]], *, singly: bool = False, views: Sequence[int] = (0,)
) -> Figures:
    """Figures of right and wrong predictions, each share taken in by a metric of its own, pickled, merged.

    views: of each sample, in this order; those beside 0 have the prediction of another sample.
    """
    trial = learnt(head)
    module: Any = trial.model.head
    predictions, targets = mixed_predictions(trial), in_original(trial.example.batch)
    ids = trial.example.batch.ids.tolist()
    metrics = []
    for share in shares:
        metric = module.metrics()
        for places in [[place] for place in share] if singly else [list(share)]:
            rows = [(place, view) for place in places for view in views]
            metric.update(
                [ids[place] for place, _ in rows],
                [predictions[(place + view) % len(predictions)] for place, view in rows],
                [targets[place] for place, _ in rows],
            )
        metrics.append(pickle.loads(pickle.dumps(metric)))
    for other in metrics[1:]:
        metrics[0].merge(other)
    figures = metrics[0].compute()
    assert isinstance(figures, Figures), f"compute gave a {type(figures).__name__}, not Figures"
    return figures


def _other(one: Figures, other: Figures) -> str:
    for field in fields(Figures):
        first, second = getattr(one, field.name), getattr(other, field.name)
        for name in sorted({*first, *second}):
            pair = (first.get(name), second.get(name))
            if pair[0] != pair[1] and not all(value is not None and value != value for value in pair):
                return f"'{name}' is {pair[0]} and {pair[1]}"
    return ""
