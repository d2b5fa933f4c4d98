"""Checks of a head's training: it learns, reaches every parameter, survives targets of nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from sslkit.contracts import Example
from sslkit.models.task_model import TaskModel
from sslkit.testing.head_predictions import check_forms, check_inside, identical
from sslkit.testing.head_samples import ignored, on_canvas, one_pixel, without_objects
from sslkit.testing.head_trials import (
    HeadClass,
    assemble,
    example_of,
    judged,
    learnt,
    main_figure,
    optimizer_of,
    predict,
    reaches,
    seeded,
    step,
    summed,
    train,
)

TOLERANCE = 0.05  # by which a figure may fall short of the goal on larger canvases
_ENDS = 5  # steps whose mean is the loss at first and at last


def check_loss_falls(head: HeadClass) -> None:
    """On one batch the loss is lower at last than at first."""
    losses = learnt(head).losses
    first, last = (sum(part) / len(part) for part in (losses[:_ENDS], losses[-_ENDS:]))
    assert last < first, (
        f"the loss did not fall in {len(losses)} steps: {first:.4f} at first, {last:.4f} at last"
    )


def check_overfits(head: HeadClass) -> None:
    """Its own example, learnt by heart, is predicted as well as the example says."""
    trial = learnt(head)
    value, goal = main_figure(head, judged(trial.model, trial.example)), trial.example.goal
    assert reaches(head, value, goal), (
        f"after {len(trial.losses)} steps '{head.spec.metric}' is {value:.3f}, the goal is {goal}"
    )


def check_padded(head: HeadClass) -> None:
    """The same images on larger canvases reach the goal as well, and no prediction lies in the padding.

    It goes on from what was learnt, for at most as many steps again: zeros around an image change what a
    convolution sees of its border.
    """
    trial = learnt(head)
    height, width = trial.example.task.size
    example = on_canvas(trial.example, (height + 32, width + 32))
    model = assemble(head, example)
    known, own = trial.model.state_dict(), model.state_dict()
    fitting = {name: value for name, value in known.items() if value.shape == own[name].shape}
    model.load_state_dict(fitting, strict=False)
    goal = example.goal + (-1 if head.spec.higher_is_better else 1) * TOLERANCE * max(1.0, abs(example.goal))
    pieces = 5
    for piece in range(pieces + 1):
        value = main_figure(head, judged(model, example))
        if reaches(head, value, goal):
            break
        if piece < pieces:
            train(model, example, math.ceil(example.steps / pieces))
    assert reaches(head, value, goal), (
        f"with 32 pixels more padding '{head.spec.metric}' is {value:.3f}; {goal:.3f} was expected"
    )
    check_inside(predict(model, example.batch), example.batch.metas)


def check_gradients(head: HeadClass) -> None:
    """Every parameter that trains gets a finite gradient, in head and backbone."""
    example = example_of(head)
    model = assemble(head, example)
    step(model, example.batch, None)
    _check_reached(model)
    for owner, module in (("head", model.head), ("backbone", model.backbone)):
        slopes = [p.grad for p in module.parameters() if p.grad is not None]
        moved = any(bool(slope.any()) for slope in slopes)
        assert moved, f"all gradients of the {owner} are zero or missing: nothing of it would be learnt"


def check_frozen(head: HeadClass) -> None:
    """In mode frozen nothing of the backbone changes, buffers included; the head does."""
    example = example_of(head)
    model = assemble(head, example, mode="frozen")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = optimizer_of(model, example.lr)
    with seeded(0):
        for _ in range(3):
            step(model, example.batch, optimizer)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    touched = sorted(name for name in changed if name.startswith("backbone."))
    assert not touched, f"a frozen backbone changed in training: {touched[0]} and {len(touched) - 1} more"
    trained = {f"head.{name}" for name, _ in model.head.named_parameters()}
    assert changed & trained, "no parameter of the head changed in training"


def check_empty_targets(head: HeadClass) -> None:
    """Samples without any object can be trained on, alone and among others."""
    _check_trains_on(head, without_objects)


def check_ignored_targets(head: HeadClass) -> None:
    """Samples of which nothing counts can be trained on, alone and among others."""
    _check_trains_on(head, ignored)


def check_one_pixel_object(head: HeadClass) -> None:
    """An object of one pixel can be trained on, alone and among others."""
    _check_trains_on(head, one_pixel)


def check_deterministic(head: HeadClass) -> None:
    """The same seeds give the same losses to the bit."""
    example = example_of(head)
    runs = [train(assemble(head, example), example, 3) for _ in range(2)]
    assert runs[0] == runs[1], f"the same seed gave losses {runs[0]} and {runs[1]}"


def check_state_dict(head: HeadClass) -> None:
    """A head that loads the state of another predicts the same to the bit."""
    trial = learnt(head)
    other = assemble(head, trial.example, seed=1)
    other.load_state_dict(trial.model.state_dict())
    pairs = zip(*(predict(model, trial.example.batch) for model in (trial.model, other)), strict=True)
    for place, (before, after) in enumerate(pairs):
        assert identical(before, after), f"prediction {place} is another after a state_dict round trip"


def check_bf16(head: HeadClass) -> None:
    """Under autocast to bfloat16 losses and gradients are finite, and predictions well formed."""
    example = example_of(head)
    model = assemble(head, example)
    with torch.autocast("cpu", torch.bfloat16):
        total = summed(model(example.batch.pixels, example.batch.metas, example.batch.targets))
    torch.autograd.backward(total)
    for name, parameter in model.named_parameters():
        finite = parameter.grad is None or bool(parameter.grad.isfinite().all())
        assert finite, f"the gradient of '{name}' is not finite under autocast"
    with torch.autocast("cpu", torch.bfloat16):
        predictions = predict(model, example.batch)
    check_forms(predictions, example.batch.metas, type(example.batch.targets[0]))


def _check_trains_on(head: HeadClass, make: Callable[[Example], Sequence[Any]]) -> None:
    example = example_of(head)
    special = list(make(example))
    half = len(special) // 2
    for targets in (special, [*special[:half], *example.batch.targets[half:]]):
        model = assemble(head, example)
        batch = replace(example.batch, targets=tuple(targets))
        step(model, batch, optimizer_of(model, example.lr))
        _check_reached(model)
        _check_finite(model)
        expected = type(example.batch.targets[0])
        check_forms(predict(model, batch), batch.metas, expected)


def _check_reached(model: TaskModel) -> None:
    for name, parameter in model.named_parameters():
        slope: Tensor | None = parameter.grad
        if parameter.requires_grad:
            assert slope is not None, f"no gradient reaches '{name}'"
            assert bool(slope.isfinite().all()), f"the gradient of '{name}' is not finite"


def _check_finite(model: nn.Module) -> None:
    for name, value in model.state_dict().items():
        assert bool(value.isfinite().all()), f"'{name}' is not finite after one step"
