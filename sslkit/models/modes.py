"""What of a backbone a head's training may change: nothing, its last layers, or all at falling rates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from timm.models import group_parameters
from torch import nn

from sslkit.errors import ConfigError

FROZEN, FINETUNE, PARTIAL, UNTIL = "frozen", "finetune", "partial:", "until:"


@dataclass(frozen=True)
class Mode:
    """`frozen`, `partial:k`, `until:STAGE` or `finetune`.

    partial: the last k layers of the backbone train. until: what comes after a stage trains (Yosinski et al.
    2014, "How transferable are features in deep neural networks?", section 3, but keeping those weights).
    Frozen layers stay in eval mode: no gradient, and the buffers of their BatchNorm do not move.
    """

    text: str

    def __post_init__(self) -> None:
        count = self.text.removeprefix(PARTIAL)
        fits = self.text in (FROZEN, FINETUNE) or (
            self.text.startswith(PARTIAL) and count.isdecimal() and int(count) > 0
        )
        if not fits and not self.stage:
            raise ConfigError(
                f"mode '{self.text}' is not one of frozen, finetune, partial:k, such as partial:2 for the "
                "last two layers of the backbone, and until:STAGE, such as until:layer3 for what comes after"
            )

    @property
    def frozen(self) -> bool:
        """Whether no parameter of the backbone trains."""
        return self.text == FROZEN

    @property
    def stage(self) -> str:
        """The last stage that stays as it is, "" where the mode names none."""
        return self.text.removeprefix(UNTIL).strip() if self.text.startswith(UNTIL) else ""

    def __str__(self) -> str:
        return self.text


def layers(backbone: nn.Module) -> list[list[str]]:
    """The names of the backbone's parameters, layer by layer from the input; the stem is the first.

    timm's own grouping (stages of a convolutional network, blocks of a transformer), of other networks their
    children, the first together with parameters of the network itself. What comes after the last layer, such
    as a final norm, belongs to it.
    """
    network = getattr(backbone, "network", None)
    if network is None or not hasattr(network, "group_matcher"):
        own = [name for name, _ in backbone.named_parameters(recurse=False)]  # such as a class token
        children = [
            [f"{name}.{inner}" for inner, _ in child.named_parameters()]
            for name, child in backbone.named_children()
        ]
        first, *rest = [names for names in children if names] or [[]]
        return [own + first, *rest]
    grouped = cast("dict[int, list[str]]", group_parameters(network, network.group_matcher(coarse=False)))
    ordered = [[f"network.{name}" for name in grouped[key]] for key in sorted(grouped)]
    return [names for names in ordered if names]


def stages(backbone: nn.Module) -> list[str]:
    """What `until` may name, from the input: timm's stages, else the children with parameters."""
    network = _network(backbone)
    described = cast("list[dict[str, Any]]", getattr(network, "feature_info", None) or [])
    known = dict(network.named_modules())
    named = [name for name in dict.fromkeys(str(one["module"]) for one in described) if name in known]
    return named or [name for name, child in network.named_children() if [*child.parameters()]]


def set_mode(backbone: nn.Module, mode: Mode) -> list[str]:
    """Say which parameters train; gives the names of the frozen.

    Raises ConfigError for too large a k, and for a stage that is not there or with nothing after it.
    """
    frozen = _frozen(backbone, mode)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return [name for name, _ in backbone.named_parameters() if name in frozen]


def _frozen(backbone: nn.Module, mode: Mode) -> set[str]:
    """The names of the parameters that stay as they are."""
    if mode.frozen:
        return {name for name, _ in backbone.named_parameters()}
    if mode.stage:
        return _upto(backbone, mode)
    groups = layers(backbone)
    trained = len(groups)
    if mode.text.startswith(PARTIAL):
        trained = int(mode.text.removeprefix(PARTIAL))
        if trained > len(groups):
            raise ConfigError(
                f"mode {mode} of a backbone with {len(groups)} layers; use partial:1 to partial:{len(groups)}"
            )
    return {name for group in groups[: len(groups) - trained] for name in group}


def _upto(backbone: nn.Module, mode: Mode) -> set[str]:
    """The parameters of every module up to a stage, itself included, in the order they were made."""
    found, network = stages(backbone), _network(backbone)
    prefix = "" if network is backbone else "network."
    if mode.stage not in found:
        raise ConfigError(f"mode {mode}: the stages of this backbone are {', '.join(found)}")
    frozen: set[str] = set()
    passed = False
    for name, module in network.named_modules():
        inside = name == mode.stage or name.startswith(f"{mode.stage}.")
        if passed and not inside:
            break
        passed = passed or inside
        own = (inner for inner, _ in module.named_parameters(recurse=False))
        frozen |= {f"{prefix}{name}.{inner}" if name else f"{prefix}{inner}" for inner in own}
    if len(frozen) == sum(1 for _ in backbone.parameters()):
        raise ConfigError(f"mode {mode}: nothing of the backbone comes after it; use frozen")
    return frozen


def _network(backbone: nn.Module) -> nn.Module:
    return cast(nn.Module, getattr(backbone, "network", backbone))


def keep_frozen_still(backbone: nn.Module) -> None:
    """Put every module whose own parameters are all frozen into eval mode, buffers and dropout included."""
    for module in backbone.modules():
        own = list(module.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()


def learning_rates(backbone: nn.Module, decay: float) -> dict[str, float]:
    """Factor of the learning rate of each parameter: the last layer's is 1, each before it decay times less.

    Layer-wise decay as in BEiT (Bao et al. 2021, appendix); decay 1 treats all alike.
    """
    groups = layers(backbone)
    return {name: decay ** (len(groups) - 1 - place) for place, group in enumerate(groups) for name in group}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards each module has the mode it had, whatever happened."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
