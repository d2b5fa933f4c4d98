"""Conformance of an objective: what every method, built-in or from a plugin, must hold."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from sslkit.contracts import BackboneLike, Objective, Outcome, Samples
from sslkit.testing.backbones import TinyBackbone

Build = Callable[[BackboneLike], Objective]
ROWS, SIDE = 12, 16


def check_objective(build: Build, *, views: int = 2, steps: int = 40, lr: float = 0.05) -> None:
    """Assert the contract of `Objective` on a tiny backbone; `build` makes the objective for a backbone.

    Checked: shapes, finite scalar loss, gradient to every trainable parameter and to none else, no hold on
    the backbone, independence of row order, determinism, state-dict round trip, and a loss that falls when
    the same batch is trained on for `steps` steps of SGD at `lr`. Raises AssertionError that says which.
    """
    backbone = TinyBackbone()
    torch.manual_seed(0)
    objective = build(backbone)
    module = _module(objective)
    _check_ownership(module, backbone)
    batch = example_views(views)
    samples = Samples.of(torch.arange(ROWS), torch.arange(ROWS) % 4)
    _check_embeddings(objective, backbone, batch)
    _check_gradients(objective, backbone, batch, samples)
    _check_determinism(objective, backbone, batch, samples)
    _check_row_order(objective, backbone, batch, samples)
    _check_round_trip(build, objective, backbone, batch, samples)
    _check_falls(objective, backbone, batch, samples, steps, lr)


def example_views(count: int = 2, *, rows: int = ROWS, seed: int = 0) -> list[Tensor]:
    """Views of different images: a colour each, with noise that differs by view; (rows, 3, 16, 16) each."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(rows, 3, 1, 1, generator=generator).expand(rows, 3, SIDE, SIDE)
    return [images + 0.3 * torch.randn(rows, 3, SIDE, SIDE, generator=generator) for _ in range(count)]


def first_losses(build: Build, *, views: int = 2, steps: int = 20, lr: float = 0.1) -> list[float]:
    """The losses of the first steps of SGD on new example views each, for golden values in tests."""
    torch.manual_seed(0)
    backbone = TinyBackbone()
    objective = build(backbone)
    samples = Samples.of(torch.arange(ROWS), torch.arange(ROWS) % 4)
    parameters = [*backbone.parameters(), *_module(objective).parameters()]
    optimizer = torch.optim.SGD([p for p in parameters if p.requires_grad], lr=lr)
    losses = []
    for step in range(steps):
        outcome = objective.loss(objective.embed(backbone, example_views(views, seed=step)), samples)
        optimizer.zero_grad()
        torch.autograd.backward(outcome.loss)
        optimizer.step()
        objective.after_step(backbone, (step + 1) / steps)
        losses.append(float(outcome.loss.detach()))
    return losses


def _check_ownership(module: nn.Module, backbone: nn.Module) -> None:
    held = {id(parameter) for parameter in module.parameters()}
    kept = [name for name, parameter in backbone.named_parameters() if id(parameter) in held]
    assert not kept, f"the objective keeps the backbone's own parameters ({kept[0]}, ...); copy or leave them"


def _check_embeddings(objective: Objective, backbone: TinyBackbone, batch: list[Tensor]) -> None:
    embeddings = objective.embed(backbone, batch)
    shape = tuple(embeddings.embedding.shape)
    assert shape == (ROWS, backbone.embedding_dim), f"embedding is {shape}, not (N, D) of the first view"
    assert not embeddings.embedding.requires_grad, "embedding must be detached"
    assert embeddings.outputs, "embed returns no outputs"
    for output in embeddings.outputs:
        assert output.shape[0] == ROWS, f"an output has {output.shape[0]} rows for {ROWS} samples"
        assert output.requires_grad, "an output carries no gradient"
    for target in embeddings.targets:
        assert target.shape[0] == ROWS, f"a target has {target.shape[0]} rows for {ROWS} samples"
        assert not target.requires_grad, "targets must carry no gradient"


def _check_gradients(
    objective: Objective, backbone: TinyBackbone, batch: list[Tensor], samples: Samples
) -> None:
    outcome = _outcome(objective, backbone, batch, samples)
    assert outcome.loss.shape == (), f"the loss has shape {tuple(outcome.loss.shape)}, not a scalar"
    assert bool(outcome.loss.isfinite()), f"the loss of an ordinary batch is {float(outcome.loss.detach())}"
    for name, term in outcome.terms.items():
        assert not term.requires_grad, f"term '{name}' must be detached"
    torch.autograd.backward(outcome.loss)
    for owner, module in (("backbone", backbone), ("objective", _module(objective))):
        for name, parameter in module.named_parameters():
            reached = parameter.grad is not None
            assert reached or not parameter.requires_grad, f"no gradient reaches {owner} parameter '{name}'"
            assert not reached or parameter.requires_grad, (
                f"{owner} parameter '{name}' is frozen, yet got one"
            )
        module.zero_grad()


def _check_determinism(
    objective: Objective, backbone: TinyBackbone, batch: list[Tensor], samples: Samples
) -> None:
    losses = [_value(objective, backbone, batch, samples) for _ in range(2)]
    assert losses[0] == losses[1], f"the same rows gave {losses[0]} and {losses[1]}"


def _check_row_order(
    objective: Objective, backbone: TinyBackbone, batch: list[Tensor], samples: Samples
) -> None:
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    straight = _value(objective, backbone, batch, samples)
    shuffled = _value(objective, backbone, [view[order] for view in batch], _reordered(samples, order))
    assert abs(straight - shuffled) <= 1e-5 * max(1.0, abs(straight)), (
        f"the loss depends on the order of rows: {straight} and {shuffled}"
    )


def _check_round_trip(
    build: Build, objective: Objective, backbone: TinyBackbone, batch: list[Tensor], samples: Samples
) -> None:
    torch.manual_seed(1)
    other = build(backbone)
    _module(other).load_state_dict(copy.deepcopy(_module(objective).state_dict()))
    before, after = (_value(o, backbone, batch, samples) for o in (objective, other))
    assert before == after, f"after a state_dict round trip the loss is {after}, it was {before}"


def _check_falls(
    objective: Objective, backbone: TinyBackbone, batch: list[Tensor], samples: Samples, steps: int, lr: float
) -> None:
    parameters = [*backbone.parameters(), *_module(objective).parameters()]
    optimizer = torch.optim.SGD([p for p in parameters if p.requires_grad], lr=lr, momentum=0.9)
    losses = []
    for step in range(steps):
        outcome = _outcome(objective, backbone, batch, samples)
        optimizer.zero_grad()
        torch.autograd.backward(outcome.loss)
        optimizer.step()
        objective.after_step(backbone, (step + 1) / steps)
        losses.append(float(outcome.loss.detach()))
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    assert last < first, f"the loss did not fall on one batch: {first:.4f} at first, {last:.4f} at last"


def _outcome(objective: Objective, backbone: TinyBackbone, batch: list[Tensor], samples: Samples) -> Outcome:
    return objective.loss(objective.embed(backbone, batch), samples)


def _value(objective: Objective, backbone: TinyBackbone, batch: list[Tensor], samples: Samples) -> float:
    return float(_outcome(objective, backbone, batch, samples).loss.detach())


def _reordered(samples: Samples, order: Tensor) -> Samples:
    return Samples(*(column[order] for column in samples))


def _module(objective: Objective) -> nn.Module:
    assert isinstance(objective, nn.Module), f"{type(objective).__name__} is not an nn.Module"
    return cast(nn.Module, objective)
