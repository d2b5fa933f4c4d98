"""Optimisers and the learning-rate schedule, which is a function of the step and keeps no state."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from sslkit.errors import ConfigError, UnknownNameError

OPTIMIZERS = ("adamw", "lars", "sgd")


def build_optimizer(
    module: nn.Module,
    *,
    name: str,
    lr: float,
    weight_decay: float,
    momentum: float,
    factors: Mapping[str, float] = MappingProxyType({}),
) -> torch.optim.Optimizer:
    """An optimiser over the trainable parameters; biases and normalisation weights are never decayed.

    momentum: of SGD and LARS; AdamW keeps (0.9, 0.999). factors: of the learning rate, by parameter name; 1
    where none is given. Raises UnknownNameError.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter_name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decay = weight_decay if parameter.dim() > 1 else 0.0
            groups.setdefault((factors.get(parameter_name, 1.0), decay), []).append(parameter)
    if not groups:
        raise ConfigError("nothing to train: no parameter requires a gradient")
    # Decayed ones first, as in every checkpoint so far.
    order = sorted(groups, key=lambda group: (-group[0], -group[1]))
    return _optimizer(
        [{"params": groups[key], "weight_decay": key[1], "factor": key[0]} for key in order],
        name=name,
        lr=lr,
        momentum=momentum,
    )


def _optimizer(
    groups: list[dict[str, Any]], *, name: str, lr: float, momentum: float
) -> torch.optim.Optimizer:
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=lr)
    if name == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=momentum)
    if name == "lars":
        return LARS(groups, lr=lr, momentum=momentum)
    raise UnknownNameError("optimizer", name, OPTIMIZERS)


class LARS(torch.optim.Optimizer):
    """SGD with momentum, each layer's step scaled by |w| / (|gradient| + decay |w|) (You et al. 2017).

    Layers without weight decay (biases, normalisation) are not scaled, as in SimCLR (Chen et al. 2020).
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        *,
        lr: float,
        momentum: float = 0.9,
        trust_coefficient: float = 0.001,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "trust_coefficient": trust_coefficient})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        if closure is not None:
            raise ConfigError("LARS takes no closure")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, weights: Tensor, group: dict[str, Any]) -> None:
        assert weights.grad is not None
        decay, direction = group["weight_decay"], weights.grad
        if decay > 0:
            size, slope = weights.norm(), weights.grad.norm()
            scale = group["trust_coefficient"] * size / (slope + decay * size)
            # A zero norm on either side says nothing about the layer: take the plain step.
            scale = torch.where((size > 0) & (slope > 0), scale, torch.ones_like(scale))
            direction = (weights.grad + decay * weights) * scale
        state = self.state[weights]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weights)
        state["momentum"].mul_(group["momentum"]).add_(direction)
        weights.sub_(group["lr"] * state["momentum"])


def cosine_lr(step: int, *, peak: float, total_steps: int, warmup_steps: int, final: float = 0.0) -> float:
    """Linear warm-up to `peak`, then half a cosine down to `final` (Loshchilov and Hutter 2017)."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return final + (peak - final) * (1.0 + math.cos(math.pi * min(1.0, done))) / 2.0


def stepped_lr(
    step: int,
    *,
    peak: float,
    total_steps: int,
    warmup_steps: int,
    at: Sequence[float],
    factor: float,
) -> float:
    """`peak`, times `factor` from each of the steps `at` on, shares of all steps; warmed up as the cosine is.

    He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2: divided by 10 at two steps.
    """
    passed = sum(step >= round(share * total_steps) for share in at)
    begun = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    return float(peak * factor**passed * begun)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group the learning rate, times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * float(group.get("factor", 1.0))
