"""Backbones built by name: timm's networks, those of plugins, and what changes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import timm
from torch import nn

from sslkit.errors import ModelError, UnknownNameError, WeightsError
from sslkit.models.architecture import Architecture, Transform
from sslkit.models.backbone import Backbone
from sslkit.models.stem import has_resnet_stem, make_stem_small

SMALL_SIDE = 64
"""Up to this input side `stem="auto"` means the small stem."""


def create_backbone(
    name: str,
    *,
    size: int | None = None,
    stem: str = "auto",
    pretrained: bool = False,
    options: Mapping[str, Any] | None = None,
    transforms: Sequence[Transform] = (),
    network: Callable[..., nn.Module] | None = None,
) -> Backbone:
    """Build a backbone by timm name for inputs of side `size` (None: the family's own).

    stem: "standard", "small" or "auto" (small up to 64 pixels where the family has one). options: keyword
    arguments of `timm.create_model`. transforms: applied to the network, in this order. network: what builds
    a network that is not timm's, from `pretrained` and the options. Raises UnknownNameError, ModelError, or
    WeightsError when pretrained weights cannot be had.
    """
    if stem not in ("auto", "standard", "small"):
        raise ModelError(f"stem '{stem}' is not one of auto, standard, small")
    if network is not None:
        arguments, built = dict(options or {}), network(pretrained=pretrained, **(options or {}))
    else:
        arguments, built = _timm_network(name, size, pretrained, dict(options or {}))
    if stem == "auto":
        stem = "small" if size is not None and size <= SMALL_SIDE and has_resnet_stem(built) else "standard"
    if stem == "small":
        make_stem_small(built, name)
    tag = cast(dict[str, Any], built.pretrained_cfg).get("tag") or "default"
    weights = f"{'timm' if network is None else 'plugin'}:{name}.{tag}" if pretrained else "random"
    architecture = Architecture(name, stem, arguments, network=network)
    backbone = transformed(Backbone(built, architecture, weights=weights), transforms)
    asked = arguments.get("output_stride", 32)
    if asked != 32 and backbone.info.strides[-1] != asked:
        raise ModelError(_refusal(name, arguments, f"its last map has stride {backbone.info.strides[-1]}"))
    return backbone


def transformed(backbone: Backbone, transforms: Sequence[Transform]) -> Backbone:
    """A backbone around the changed network, which the given one gives up; raises ModelError."""
    for transform in transforms:
        known = backbone.architecture
        network = transform(backbone.network, known.described)
        network.train(backbone.training)
        changed = replace(known, transforms=(*known.transforms, transform))
        loaded = backbone.loaded_fraction
        backbone = Backbone(network, changed, weights=backbone.weights)
        backbone.loaded_fraction = loaded
        backbone.training = network.training
    return backbone


def rebuilt(architecture: Architecture, options: Mapping[str, Any] | None = None) -> Backbone:
    """The same architecture at random initialisation; options: some that are to be other than before."""
    return create_backbone(
        architecture.name,
        stem=architecture.stem,
        options={**architecture.options, **(options or {})},
        transforms=architecture.transforms,
        network=architecture.network,
    )


def is_timms(name: str) -> bool:
    """Whether a network of this name is timm's."""
    return bool(timm.is_model(name))


def timm_names() -> list[str]:
    """The names of all of timm's networks."""
    return list(timm.list_models())


def _timm_network(
    name: str, size: int | None, pretrained: bool, arguments: dict[str, Any]
) -> tuple[dict[str, Any], nn.Module]:
    """The keyword arguments it takes at this size, and timm's network."""
    if not timm.is_model(name):
        raise UnknownNameError("backbone", name, timm.list_models(), "(any timm model name works)")
    entry = timm.models.model_entrypoint(name)
    default_side = timm.get_pretrained_cfg(name).input_size[-1]
    if size is not None and size != default_side and takes(entry, "img_size"):
        arguments.setdefault("img_size", size)
    try:
        return arguments, timm.create_model(name, pretrained=pretrained, num_classes=0, **arguments)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise ModelError(_refusal(name, arguments, error)) from error
        raise WeightsError(
            f"pretrained weights of '{name}' could not be loaded ({error}); "
            "download them once with a network, or use backbone.pretrained=false"
        ) from error
    except (TypeError, AssertionError, ValueError) as error:
        raise ModelError(_refusal(name, arguments, error)) from error


def _refusal(name: str, arguments: Mapping[str, Any], reason: object) -> str:
    told = str(reason) or "timm refuses them"
    text = f"backbone '{name}' cannot be built with options {dict(arguments)}: {told}"
    if "output_stride" in arguments:
        text += (
            "; an output_stride of 8 or 16 is known to ResNet, ResNetV2, RegNet, ConvNeXt, EfficientNet, "
            "NFNet, ReXNet, CSPNet and Xception families, such as resnet18"
        )
    return text


def takes(entry: Any, argument: str) -> bool:
    """Whether the network behind a timm entry point has this constructor argument.

    Entry points take **kwargs, so the class they return in their signature is asked.
    """
    hints = inspect.signature(entry).return_annotation
    cls = getattr(inspect.getmodule(entry), hints, None) if isinstance(hints, str) else hints
    return inspect.isclass(cls) and argument in inspect.signature(cls).parameters
