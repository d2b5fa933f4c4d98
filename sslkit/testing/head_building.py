"""Checks of what a head declares, and of whether it can be built on networks and canvases of any kind."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import os
import subprocess
import sys
from typing import get_args
from unittest import SkipTest

import torch

from sslkit.contracts import Example, HeadSpec, Task
from sslkit.contracts.heads import FeatureKind, InputKind
from sslkit.errors import ConfigError, ModelError
from sslkit.hookspecs import ENTRY_POINT_GROUP
from sslkit.testing.backbones import NETWORKS
from sslkit.testing.head_predictions import check_forms, check_inside, identical, tensors_of
from sslkit.testing.head_samples import TYPES, on_canvas, square
from sslkit.testing.head_trials import HeadClass, assemble, example_of, optimizer_of, predict, step

SAMPLES = 8
VIDEO = "video"
"""The network of the kit that offers fewer frames than it is given."""


def check_spec(head: HeadClass) -> None:
    """The spec knows the words of the contract and agrees with the task of the example."""
    spec = getattr(head, "spec", None)
    assert isinstance(spec, HeadSpec), f"{head.__name__}.spec is a {type(spec).__name__}, not a HeadSpec"
    for word, value, known in (
        ("input", spec.input, get_args(InputKind)),
        ("features", spec.features, get_args(FeatureKind)),
    ):
        assert value in known, f"spec.{word} is '{value}', not one of {', '.join(known)}"
    for word in ("name", "target", "metric"):
        assert getattr(spec, word), f"spec.{word} is empty"
    assert spec.finest >= 1, f"spec.finest is {spec.finest}; strides begin at 1"
    task = example_of(head).task
    assert task.target == spec.target, (
        f"spec.target is '{spec.target}', the example's task has '{task.target}'"
    )
    labelled = spec.target in ("label", "boxes", "masks", "semantic")
    assert task.classes or not labelled, f"the example's task of target '{spec.target}' has no classes"


def check_options(head: HeadClass) -> None:
    """`Head(info, task, *, option: type = default, ...)`: what the registry checks recipes against."""
    parameters = list(inspect.signature(head).parameters.values())
    first = [parameter.name for parameter in parameters[:2]]
    assert first == ["info", "task"], f"{head.__name__} takes {first} first, expected info and task"
    for option in parameters[2:]:
        who = f"option '{option.name}' of {head.__name__}"
        assert option.kind is option.KEYWORD_ONLY, f"{who} is not keyword-only; put it after a *"
        assert option.default is not option.empty, f"{who} has no default"
        assert option.annotation is not option.empty, f"{who} has no annotation"
    names = {option.name for option in parameters[2:]}
    unknown = sorted(set(example_of(head).options) - names)
    assert not unknown, f"the example uses options {unknown}, which {head.__name__} does not take"


def check_example(head: HeadClass) -> None:
    """Eight well-formed samples, a function of the seed."""
    example = example_of(head)
    batch, task = example.batch, example.task
    counts = (len(batch), len(batch.pixels), len(batch.metas), len(batch.targets))
    assert counts == (SAMPLES,) * 4, (
        f"ids, pixels, metas and targets are {counts}, expected {SAMPLES} of each"
    )
    assert batch.pixels.dtype == torch.uint8, f"pixels are {batch.pixels.dtype}, not uint8"
    dims = 4 if head.spec.input == "image" else 5
    shape = tuple(batch.pixels.shape)
    assert len(shape) == dims, f"pixels have shape {shape}; input '{head.spec.input}' has {dims} dimensions"
    assert shape[-3:] == (3, *task.size), f"pixels have shape {shape}, expected (..., 3, *{task.size})"
    assert head.spec.input != "pair" or shape[1] == 2, (
        f"pixels of pairs have shape {shape}: {shape[1]} frames"
    )
    frames = 1 if dims == 4 else shape[1]
    assert task.frames == frames, f"pixels are {shape}: {frames} frames, and task.frames is {task.frames}"
    expected = TYPES.get(head.spec.target, object)
    for place, (image, meta, target) in enumerate(zip(batch.pixels, batch.metas, batch.targets, strict=True)):
        assert meta.canvas == task.size, f"sample {place} has canvas {meta.canvas}, the task {task.size}"
        padding = image[..., meta.valid[0] :, :].any() or image[..., meta.valid[1] :].any()
        assert not bool(padding), f"sample {place} has pixels outside its valid {meta.valid}"
        assert isinstance(target, expected), (
            f"target {place} is a {type(target).__name__}; '{head.spec.target}' is {expected.__name__}"
        )
    _check_seed(head, example)


def check_builds(head: HeadClass, network: str) -> None:
    """On a network of another family it gives finite losses, gradients and well-formed predictions."""
    _check_works(head, square(example_of(head)), network)


def check_builds_on_video(head: HeadClass) -> None:
    """On a network with temporal strides, which gives a head of clips fewer frames than the task has."""
    if head.spec.input != "clip":
        raise SkipTest(f"a head of input '{head.spec.input}' sees no clips")
    _check_works(head, square(example_of(head)), VIDEO)


def check_size(head: HeadClass, kind: str) -> None:
    """On canvases of other shapes too; one that is too small for a head may be refused in words."""
    example = example_of(head)
    height, width = example.task.size
    sizes = {"nonsquare": (height, width + 32), "odd": (height + 5, width + 3), "minimum": (32, 32)}
    moved = on_canvas(example, sizes[kind])
    refusal = ""
    try:
        _check_works(head, moved, "resnet")
    except (ConfigError, ModelError) as error:
        refusal = str(error)
        if kind == "minimum" and any(letter.isdigit() for letter in refusal):
            refusal = ""
    assert not refusal, f"a canvas of {sizes[kind]} is refused: {refusal}"


def check_light_import(head: HeadClass) -> None:
    """The entry module of the head's package imports no torch; passes where there is none."""
    package = head.__module__.partition(".")[0]
    entries = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    modules = {entry.module for entry in entries if entry.module.partition(".")[0] == package}
    if not modules and hasattr(sys.modules.get(package), "__path__"):
        modules = {f"{package}.plugin"} if importlib.util.find_spec(f"{package}.plugin") else set()
    for module in sorted(modules):
        code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
        path = os.pathsep.join(entry for entry in sys.path if entry)
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not done.stderr, f"importing {module} alone fails: {done.stderr.strip().splitlines()[-1]}"
        assert done.returncode == 0, f"importing {module} imports torch; name heads as 'module:object' there"


def _check_works(head: HeadClass, example: Example, network: str) -> None:
    model = assemble(head, example, network=network)
    step(model, example.batch, optimizer_of(model, example.lr))
    predictions = predict(model, example.batch)
    check_forms(predictions, example.batch.metas, type(example.batch.targets[0]))
    check_inside(predictions, example.batch.metas)


def _check_seed(head: HeadClass, example: Example) -> None:
    torch.rand(3)
    again, other = example_of(head), example_of(head, seed=1)
    same = _same(example, again)
    assert same, "example_batch(0) gave something else the second time; it must be a function of the seed"
    assert not _same(example, other), "example_batch(0) and example_batch(1) are the same"


def _same(one: Example, other: Example) -> bool:
    targets = zip(one.batch.targets, other.batch.targets, strict=True)
    if not all(identical(a, b) for a, b in targets if tensors_of(a)):
        return False
    return _task(one.task) == _task(other.task) and torch.equal(one.batch.pixels, other.batch.pixels)


def _task(task: Task) -> tuple[object, ...]:
    return task.target, task.classes, task.size, task.frames


BUILDS = tuple(name for name in NETWORKS if name != VIDEO)
SIZES = ("nonsquare", "odd", "minimum")
