"""All it takes to build the same network again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from sslkit.errors import ModelError


@dataclass(frozen=True)
class Transform:
    """A change of a network, such as one that makes it look along time: name, options and the function."""

    name: str
    options: Mapping[str, Any]
    function: Callable[..., nn.Module]

    def __call__(self, network: nn.Module, who: str) -> nn.Module:
        """The changed network; who: what messages call it. Raises ModelError where it cannot be changed."""
        try:
            return self.function(network, **self.options)
        except ModelError as error:
            raise ModelError(f"backbone '{who}' with {self.name}: {error}") from error


@dataclass(frozen=True)
class Architecture:
    """The name of a network and what was changed about it.

    name: timm's, or that of a network of a plugin, which `network` builds. stem: "standard", or "small" for
    inputs up to 64 pixels (first stride 1, no pooling). options: further keyword arguments of
    `timm.create_model` or of `network`. transforms: applied in this order.
    """

    name: str
    stem: str = "standard"
    options: Mapping[str, Any] = field(default_factory=dict)
    transforms: tuple[Transform, ...] = ()
    network: Callable[..., nn.Module] | None = None

    @property
    def described(self) -> str:
        """For people: "resnet18 + inflate"."""
        return " + ".join([self.name, *(transform.name for transform in self.transforms)])
