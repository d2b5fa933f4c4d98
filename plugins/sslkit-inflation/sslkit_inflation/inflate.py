"""Networks for images to networks for clips, in place, from whatever weights they hold."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import cast

from timm.layers import CondConv2d, Conv2dSame
from torch import Tensor, nn

from sslkit.contracts import ClipRows
from sslkit.errors import ConfigError, ModelError, did_you_mean
from sslkit_inflation.convolution import INITS, PADDINGS, InflatedConv, Init, Padding
from sslkit_inflation.pacing import FrameMean, Packing
from sslkit_inflation.stages import Stage, intermediates, probe, spatial_convolutions, stages, still

_METHODS = ("forward", "forward_intermediates")


def inflate(
    network: nn.Module,
    *,
    kernel: int | list[int] = 3,
    stride: int | list[int] = 1,
    init: Init = "centre",
    padding: Padding = "replicate",
) -> nn.Module:
    """Give every convolution larger than a pixel an axis in time; names in the state dict stay as they are.

    kernel, stride: taps and stride along time, of all stages, or of the stem and each later stage that holds
    such convolutions. The stem is strided by its first convolution, such as a ViT's patch embedding
    (tubelets); later stages begin with the mean of so many frames. init, padding: see `InflatedConv`; a still
    video gives what the image gave, save "tile" with "zero" near the ends.

    The network then is a `VideoNetwork`; what has no such kernel sees each frame alone, and BatchNorm takes
    its statistics over frames too, as BatchNorm3d. Raises ConfigError for options out of range and ModelError
    for a network, or a stage of it, that cannot be inflated.
    """
    _check_words(init, padding)
    _check_layers(network)
    pixels = probe(network)
    found = stages(network, pixels)
    kernels, strides = _each(kernel, "kernel", found), _each(stride, "stride", found)
    causal = padding == "causal"
    _check_times(found, kernels, strides, causal=causal)
    first = found[0].convolutions[:1]
    if strides[0] > 1 and not first:
        raise ModelError(
            f"its stem has no convolution larger than a pixel that stride {strides[0]} could be of"
        )
    clip_rows = ClipRows()
    layers = spatial_convolutions(network)
    for stage, taps, step in zip(found, kernels, strides, strict=True):
        for name in stage.convolutions if taps > 1 else ():
            own = strides[0] if name in first else 1
            made = InflatedConv(layers[name], clip_rows, kernel=taps, stride=own, init=init, padding=padding)
            made.train(layers[name].training)
            network.set_submodule(name, made)
        if step > 1 and stage is not found[0]:
            network.get_submodule(cast(str, stage.entry)).register_forward_pre_hook(
                FrameMean(clip_rows, step)
            )
    if strides[0] > 1:
        for method in _METHODS:
            if hasattr(network, method):
                packing = Packing(network, method, clip_rows, strides[0], zero=padding == "zero")
                setattr(network, method, packing)
    paces = list(accumulate(strides, mul))
    of_taps = {tap: pace for stage, pace in zip(found, paces, strict=True) for tap in stage.taps}
    network.clip_rows = clip_rows  # type: ignore[assignment]
    network.temporal_strides = tuple(of_taps[tap] for tap in sorted(of_taps)) or (paces[-1],)  # type: ignore[assignment]
    network.causal = causal  # type: ignore[assignment]
    if paces[-1] > 1:
        _check_rows(network, pixels, paces[-1])
    return network


def _check_words(init: str, padding: str) -> None:
    for what, given, known in (("init", init, INITS), ("padding", padding, PADDINGS)):
        if given not in known:
            raise ConfigError(
                f"{what} '{given}' is not one of {', '.join(known)}{did_you_mean(given, known)}"
            )


def _check_layers(network: nn.Module) -> None:
    """Refuse what has no inflated form, by name."""
    if hasattr(network, "clip_rows"):
        raise ModelError("the network looks along time already; inflate it once, with all options")
    for name, layer in network.named_modules():
        if isinstance(layer, CondConv2d):
            raise ModelError(
                f"its convolution '{name}' is a CondConv2d, whose kernel is another for each row; choose a "
                "network with plain convolutions"
            )
    layers = spatial_convolutions(network)
    if not layers:
        raise ModelError("it has no convolution larger than a pixel, so there is nothing to inflate")
    for name, layer in layers.items():
        if type(layer) not in (nn.Conv2d, Conv2dSame):
            raise ModelError(
                f"its convolution '{name}' is a {type(layer).__name__}, which makes its kernel anew from the "
                "weight (such as by standardising it); choose a network with plain convolutions"
            )
        if layer.padding_mode != "zeros":
            raise ModelError(
                f"its convolution '{name}' pads with '{layer.padding_mode}'; only zeros are known here"
            )


def _each(given: int | Sequence[int], what: str, found: Sequence[Stage]) -> list[int]:
    """One number for every stage."""
    numbers = [given] * len(found) if isinstance(given, int) else list(given)
    parts = ", ".join(stage.name for stage in found)
    if len(numbers) != len(found):
        raise ConfigError(f"{what} has {len(numbers)} entries; give one for all, or {len(found)}: {parts}")
    if any(isinstance(number, bool) or not isinstance(number, int) or number < 1 for number in numbers):
        raise ConfigError(f"{what} is {given}; each entry is a whole number of frames, 1 or more")
    return numbers


def _check_times(
    found: Sequence[Stage], kernels: Sequence[int], strides: Sequence[int], *, causal: bool
) -> None:
    if strides[0] > kernels[0]:
        raise ConfigError(
            f"stride {strides[0]} of the stem would pass over frames with a kernel of {kernels[0]}; "
            f"use a kernel of {strides[0]} or more there, or sample fewer frames a second"
        )
    for place, (stage, taps, step) in enumerate(zip(found, kernels, strides, strict=True)):
        own = step if place == 0 else 1
        if taps % 2 == 0 and own % 2 == 1 and not causal:
            raise ConfigError(
                f"kernel {taps} of '{stage.name}' has no middle frame; use {taps - 1} or {taps + 1}, "
                "padding=causal, or in the stem an even stride"
            )
        if step > 1 and place and stage.entry is None:
            raise ModelError(
                f"no single module begins its stage '{stage.name}', so a stride of {step} has no place "
                "there; use stride 1"
            )


def _check_rows(network: nn.Module, pixels: Tensor, pace: int) -> None:
    """Run it on two small clips: every way through must give as many rows as the strides say."""
    clips, frames = 2, 2 * pace
    rows = cast(ClipRows, network.clip_rows)
    pixels = pixels[:1].expand(clips * frames, -1, -1, -1)
    rows.clips = clips
    try:
        with still(network):
            pooled = network(pixels)
            maps = intermediates(network, pixels)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ModelError(f"it cannot be strided in time there: {error}") from error
    finally:
        rows.clips = 1
    times = cast("tuple[int, ...]", network.temporal_strides)
    expected = [clips * frames // time for time in (*times, times[-1])]
    given = [len(values) for values in (*maps, pooled)]
    if maps and given != expected:
        raise ModelError(f"it cannot be strided in time there: {given} rows came for {expected}")
