"""A head on a tiny network: built, trained on its example, judged. What was learnt once is kept."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from sslkit.contracts import Example, Figures, LabelledBatch
from sslkit.models.task_model import TaskModel, offered
from sslkit.testing.backbones import NETWORKS
from sslkit.testing.head_samples import in_original

HeadClass = type[Any]
"""A class that says it keeps the contract of `Head`; nothing about it is taken for granted."""


@dataclass(frozen=True)
class Trial:
    """A model after training on an example, in eval mode, and the summed loss before each step."""

    model: TaskModel
    example: Example
    losses: tuple[float, ...]


def example_of(head: HeadClass, seed: int = 0) -> Example:
    """The example a head generates for itself."""
    example = head.example_batch(seed)
    assert isinstance(example, Example), f"example_batch gave a {type(example).__name__}, not an Example"
    return example


def assemble(
    head: HeadClass, example: Example, *, network: str = "resnet", mode: str = "finetune", seed: int = 0
) -> TaskModel:
    """The head for the example's task on one of `NETWORKS`, in training mode; seed: of its weights."""
    with seeded(seed):
        backbone: Any = NETWORKS[network](max(64, *example.task.size))
        built = head(offered(backbone, head.spec), example.task, **example.options)
    assert isinstance(built, torch.nn.Module), f"{head.__name__} is no nn.Module"
    return TaskModel(backbone, built, mode=mode).train()


def optimizer_of(model: TaskModel, lr: float) -> torch.optim.Optimizer:
    """AdamW over all that trains."""
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)


def step(
    model: TaskModel,
    batch: LabelledBatch,
    optimizer: torch.optim.Optimizer | None,
    targets: Sequence[Any] | None = None,
) -> float:
    """The summed loss of a batch; its gradients are left behind and, with an optimizer, a step is done."""
    losses = model(batch.pixels, batch.metas, batch.targets if targets is None else targets)
    total = summed(losses)
    model.zero_grad()
    torch.autograd.backward(total)
    if optimizer is not None:
        optimizer.step()
    return float(total.detach())


def summed(losses: Any) -> Tensor:
    """The sum of named scalars; AssertionError for anything else."""
    assert isinstance(losses, dict), f"loss gave a {type(losses).__name__}, not a dict of scalars"
    assert losses, "loss gave an empty dict; give at least one named scalar"
    for name, value in losses.items():
        assert isinstance(name, str), f"a loss is named {name!r}; names are strings"
        assert isinstance(value, Tensor), f"loss '{name}' is a {type(value).__name__}, not a tensor"
        assert value.shape == (), f"loss '{name}' has shape {tuple(value.shape)}, not that of a scalar"
        assert bool(value.isfinite()), f"loss '{name}' is {float(value.detach())}; it must be finite"
    total = sum(losses.values(), torch.zeros(()))
    assert total.requires_grad, "the losses carry no gradient"
    return total


def train(model: TaskModel, example: Example, steps: int, *, seed: int = 0) -> list[float]:
    """The losses of `steps` of AdamW at the example's rate on its one batch; leaves eval mode behind."""
    model.train()
    optimizer = optimizer_of(model, example.lr)
    with seeded(seed):
        losses = [step(model, example.batch, optimizer) for _ in range(steps)]
    model.eval()
    return losses


def learnt(head: HeadClass) -> Trial:
    """The head after learning its example by heart; trained once a process, never changed after."""
    return _learnt(cast(Hashable, head))


@lru_cache(maxsize=4)
def _learnt(kind: Hashable) -> Trial:
    head = cast(HeadClass, kind)
    example = example_of(head)
    model = assemble(head, example)
    losses = train(model, example, example.steps)
    return Trial(model, example, tuple(losses))


def predict(model: TaskModel, batch: LabelledBatch) -> list[Any]:
    """Predictions in eval mode."""
    model.eval()
    predictions = model.predict(batch.pixels, batch.metas)
    assert isinstance(predictions, list), f"decode gave a {type(predictions).__name__}, not a list"
    count = len(batch.metas)
    assert len(predictions) == count, f"decode gave {len(predictions)} predictions for {count} samples"
    return predictions


@torch.no_grad()
def predict_noise(model: TaskModel, batch: LabelledBatch) -> list[Any]:
    """Predictions for features that are large noise: whatever a head can say, it says somewhere."""
    model.eval()
    generator = torch.Generator().manual_seed(0)

    def loud(values: Tensor) -> Tensor:
        return 10 * torch.randn(values.shape, generator=generator)

    features = model.features(batch.pixels, batch.metas)
    vector = None if features.vector is None else loud(features.vector)
    maps = tuple(replace(part, values=loud(part.values)) for part in features.maps)
    predictions: list[Any] = model.decode(replace(features, vector=vector, maps=maps))
    return predictions


def mixed_predictions(trial: Trial) -> list[Any]:
    """Right and wrong predictions in turn, so that a metric has something to tell apart."""
    good = predict(trial.model, trial.example.batch)
    bad = predict(assemble(type(trial.model.head), trial.example, seed=1), trial.example.batch)
    return [(good, bad)[place % 2][place] for place in range(len(good))]


def judged(model: TaskModel, example: Example) -> Figures:
    """The figures of the model on the example."""
    return figures_of(model, example.batch, predict(model, example.batch))


def figures_of(model: TaskModel, batch: LabelledBatch, predictions: Sequence[Any]) -> Figures:
    """The figures of predictions, taken in at once."""
    head: Any = model.head
    metric = head.metrics()
    metric.update(batch.ids.tolist(), predictions, in_original(batch))
    figures = metric.compute()
    assert isinstance(figures, Figures), f"compute gave a {type(figures).__name__}, not Figures"
    return figures


def main_figure(head: HeadClass, figures: Figures) -> float:
    """The figure that decides; AssertionError where it is not computed."""
    name = head.spec.metric
    assert name in figures.figures, (
        f"spec.metric is '{name}', but the metric computes {sorted(figures.figures)}"
    )
    return float(figures.figures[name])


def reaches(head: HeadClass, value: float, goal: float) -> bool:
    """Whether a figure is as good as the goal; one that is not a number never is."""
    if math.isnan(value):
        return False
    return value >= goal if head.spec.higher_is_better else value <= goal


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's generator starts at the seed inside and goes on as before after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
