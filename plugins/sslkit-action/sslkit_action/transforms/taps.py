"""Where a network's feature maps end, and how something is added to them there.

Shapes: R rows (frames of all clips), C channels, h x w cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.errors import ModelError

DEPTHS = 4
"""Of a network with one stride throughout, as a ViT, so many depths evenly spaced, the last among them."""


@dataclass(frozen=True)
class Tap:
    """A module whose output is a feature map.

    stage: its position in the network's `feature_info`; module: its path in the network. layout: of its
    output, (R, C, h, w), (R, h, w, C), or (R, prefix + h * w, C) with class tokens and the like in front.
    """

    stage: int
    module: str
    channels: int
    stride: int
    layout: Literal["maps", "cells_last", "tokens"]
    prefix: int = 0

    def add(self, output: Tensor, extra: Tensor) -> Tensor:
        """The module's output plus (R, C, h', w'); what of it lies beyond the output's h x w is left out.

        Raises ModelError where tokens are not h' x w'.
        """
        if self.layout == "maps":
            return output + extra[..., : output.shape[2], : output.shape[3]]
        if self.layout == "cells_last":
            return output + extra.permute(0, 2, 3, 1)[:, : output.shape[1], : output.shape[2]]
        height, width = extra.shape[-2:]
        if output.shape[1] != self.prefix + height * width:
            raise ModelError(
                f"{self.module} gives {output.shape[1] - self.prefix} tokens of an image of {height}x{width} "
                f"patches; use sides that are multiples of {self.stride}"
            )
        return output + F.pad(extra.flatten(2).transpose(1, 2), (0, 0, self.prefix, 0))


def find_taps(network: nn.Module) -> tuple[Tap, ...]:
    """The modules where a network with timm's interface has its maps, fine to coarse, as one forward shows.

    Raises ModelError for a network without `forward_intermediates`, whose maps are no module's output, or
    whose strides do not grow by whole factors.
    """
    name = type(network).__name__
    if not hasattr(network, "forward_intermediates"):
        raise ModelError(f"{name} offers no feature maps to add to: it has no forward_intermediates")
    described = cast("list[dict[str, Any]]", network.feature_info)
    stages = list(range(len(described)))
    if len({stage["reduction"] for stage in described}) == 1 and len(stages) > DEPTHS:
        stages = [len(stages) * (depth + 1) // DEPTHS - 1 for depth in range(DEPTHS)]
    outputs, maps = _run(network, [str(described[stage]["module"]) for stage in stages], stages)
    taps: list[Tap] = []
    for stage, output, values in zip(stages, outputs, maps, strict=True):
        module, stride = str(described[stage]["module"]), int(described[stage]["reduction"])
        if taps and stride % taps[-1].stride:
            raise ModelError(
                f"{name} has maps of stride {taps[-1].stride} before {stride}: a second pathway needs "
                "strides that grow by whole factors, as those of ResNet, ConvNeXt, Swin and ViT do"
            )
        taps.append(_tap(name, stage, module, stride, output, values))
    return tuple(taps)


def _tap(name: str, stage: int, module: str, stride: int, output: Any, values: Tensor) -> Tap:
    channels, (height, width) = values.shape[1], values.shape[2:]
    shape = tuple(output.shape) if isinstance(output, Tensor) else ()
    if shape == tuple(values.shape):
        return Tap(stage, module, channels, stride, "maps")
    if shape == (len(values), height, width, channels):
        return Tap(stage, module, channels, stride, "cells_last")
    if len(shape) == 3 and shape[2] == channels and shape[1] >= height * width:
        return Tap(stage, module, channels, stride, "tokens", shape[1] - height * width)
    told = f"gives {shape}" if shape else "gives no tensor" if output is not None else "is not called"
    raise ModelError(
        f"{name}: module '{module}' {told} where its map is {tuple(values.shape)}, so nothing can be "
        "added to it; networks whose stages give their maps work, such as ResNet, ConvNeXt, Swin and ViT"
    )


def _run(network: nn.Module, modules: Sequence[str], stages: Sequence[int]) -> tuple[list[Any], list[Tensor]]:
    """What the modules give of one blank image, None of those that were not called, and the maps."""
    name = type(network).__name__
    seen: dict[str, Any] = {}

    def keep(module: str) -> Any:
        return lambda _module, _inputs, output: seen.update({module: output})

    try:
        handles = [network.get_submodule(module).register_forward_hook(keep(module)) for module in modules]
    except AttributeError as error:
        raise ModelError(f"{name} names a map after a module that it does not have: {error}") from error
    parameter = next(network.parameters())
    size, channels = blank_size(network), input_channels(network)
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            blank = torch.zeros(1, channels, *size, device=parameter.device, dtype=parameter.dtype)
            maps: list[Tensor] = network.forward_intermediates(  # type: ignore[operator]
                blank, indices=list(stages), output_fmt="NCHW", intermediates_only=True
            )
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ModelError(f"{name} gives no feature maps of {size[0]}x{size[1]} pixels: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    return [seen.get(module) for module in modules], maps


def blank_size(network: nn.Module) -> tuple[int, int]:
    """A (height, width) that a network takes: its own where that is fixed, else few cells, not square."""
    own = getattr(getattr(network, "patch_embed", None), "img_size", None)
    config = cast("dict[str, Any]", network.pretrained_cfg)
    if own is None and config.get("fixed_input_size"):
        own = config["input_size"][1:]
    if own is not None:
        return (own, own) if isinstance(own, int) else (int(own[0]), int(own[1]))
    divisor = math.lcm(
        *(int(stage["reduction"]) for stage in cast("list[dict[str, Any]]", network.feature_info))
    )
    cells = max(2, math.ceil(64 / divisor))
    return cells * divisor, (cells + 1) * divisor


def input_channels(network: nn.Module) -> int:
    """Channels of the pixels: what the first kernel of the network takes."""
    return next(int(parameter.shape[1]) for parameter in network.parameters() if parameter.dim() >= 4)
