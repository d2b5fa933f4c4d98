"""What of a backbone a head's training may change: nothing, its last layers, or all at falling rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from timm.models import group_parameters
from torch import nn

from sslkit.errors import ConfigError

FROZEN, FINETUNE, PARTIAL = "frozen", "finetune", "partial:"


@dataclass(frozen=True)
class Mode:
    """`frozen`, `partial:k` (the last k layers of the backbone train) or `finetune`.

    Frozen layers stay in eval mode: no gradient, and the buffers of their BatchNorm do not move.
    """

    text: str

    def __post_init__(self) -> None:
        count = self.text.removeprefix(PARTIAL)
        fits = self.text in (FROZEN, FINETUNE) or (
            self.text.startswith(PARTIAL) and count.isdecimal() and int(count) > 0
        )
        if not fits:
            raise ConfigError(
                f"mode '{self.text}' is not one of frozen, finetune, partial:k, such as partial:2 for the "
                "last two layers of the backbone"
            )

    @property
    def frozen(self) -> bool:
        """Whether no parameter of the backbone trains."""
        return self.text == FROZEN

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


def set_mode(backbone: nn.Module, mode: Mode) -> list[str]:
    """Say which parameters train; gives the names of the frozen. Raises ConfigError for too large a k."""
    groups = layers(backbone)
    trained = len(groups)
    if mode.frozen:
        trained = 0
    elif mode.text.startswith(PARTIAL):
        trained = int(mode.text.removeprefix(PARTIAL))
        if trained > len(groups):
            raise ConfigError(
                f"mode {mode} of a backbone with {len(groups)} layers; use partial:1 to partial:{len(groups)}"
            )
    frozen = {name for group in groups[: len(groups) - trained] for name in group}
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name not in frozen and not mode.frozen)
    return [name for name, parameter in backbone.named_parameters() if not parameter.requires_grad]


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
