"""Backbones by every name a recipe may use: timm's, those of plugins, saved runs, and what changes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from sslkit.config.recipe import Backbone as Choice
from sslkit.errors import UnknownNameError
from sslkit.models.architecture import Transform
from sslkit.models.backbone import Backbone
from sslkit.models.creation import create_backbone, is_timms, timm_names
from sslkit.models.weights import load_backbone as load_saved
from sslkit.registry import build, names
from sslkit.registry.lookup import absence, find


def build_backbone(choice: Choice, *, size: int | None, options: Mapping[str, Any]) -> Backbone:
    """What the `backbone` of a recipe asks for, at views of side `size`; options: of the network.

    Raises UnknownNameError, ConfigError, ModelError or WeightsError.
    """
    return create_backbone(
        choice.name,
        size=size,
        stem=choice.stem,
        pretrained=choice.pretrained,
        options=options,
        transforms=transforms_of(choice.transforms),
        network=_network(choice.name),
    )


def load_backbone(model: str | Path, *, size: int | None = None, pretrained: bool = True) -> Backbone:
    """A backbone in eval mode, from a run folder (or its backbone.safetensors), or the name of a network.

    size: input side for families with fixed sizes; a run brings its own. pretrained: for names, whether to
    load the weights they come with or leave the network at random initialisation.
    Raises ConfigError when neither fits, WeightsError when weights do not match to the last tensor.
    """
    return load_saved(model, size=size, pretrained=pretrained, find=_found)


def transforms_of(named: Mapping[str, Mapping[str, Any]]) -> tuple[Transform, ...]:
    """Transforms by name with their options, in this order; raises UnknownNameError.

    Options are checked where a transform is applied.
    """
    return tuple(Transform(name, dict(options), _transform(name)) for name, options in named.items())


def _transform(name: str) -> Callable[..., nn.Module]:
    find("backbone_transform", name)
    return partial(build, "backbone_transform", name)


def _network(name: str) -> Callable[..., nn.Module] | None:
    """What builds a network that is not timm's."""
    if is_timms(name):
        return None
    try:
        find("network", name)
    except UnknownNameError:
        known = [*names("network"), *timm_names()]
        hint = absence("network", name) or "(any timm model name works)"
        raise UnknownNameError("backbone", name, known, hint) from None
    return partial(build, "network", name)


def _found(kind: str, name: str) -> Callable[..., nn.Module] | None:
    return _transform(name) if kind == "backbone_transform" else _network(name)
