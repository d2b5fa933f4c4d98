"""Where a network's stages begin and end, seen in one small forward."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from sslkit.errors import ModelError

_ROWS = 2
"""Images in a probe; two, so that a tensor of rows is told from one of weights."""


@dataclass(frozen=True)
class Call:
    """One call of a module: when it was entered and left, and whether it was given rows of maps."""

    name: str
    entered: int
    left: int
    rows: bool


@dataclass(frozen=True)
class Stage:
    """A part of a network with spatial convolutions, in order of execution.

    convolutions: their names. entry: the module that every frame enters first, None where there is none.
    taps: the places in `feature_info` that lie in it.
    """

    name: str
    convolutions: tuple[str, ...]
    entry: str | None
    taps: tuple[int, ...]


def spatial_convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    """The convolutions with a kernel larger than a pixel, by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and max(cast("tuple[int, int]", module.kernel_size)) > 1
    }


def stages(network: nn.Module, pixels: Tensor) -> tuple[Stage, ...]:
    """The stem, and each later stage of `feature_info` that holds spatial convolutions.

    pixels: those of `probe`. A network whose stages cannot be told is one stage. Raises ModelError where a
    spatial convolution takes no part in the forward pass as a layer, or sees other rows than the images'.
    """
    calls = _traced(network, lambda: network(pixels))
    convolutions = spatial_convolutions(network)
    order = [call for call in calls if call.name in convolutions]
    unseen = [name for name in convolutions if name not in {call.name for call in order}]
    if unseen:
        raise ModelError(
            f"its convolution '{unseen[0]}' is no layer of the forward pass (its weight is used otherwise, "
            "or not at all)"
        )
    others = [call.name for call in order if not call.rows]
    if others:
        raise ModelError(
            f"its convolution '{others[0]}' is given other rows than one for each image (such as one for "
            "each head of attention), so that frames cannot be told from them"
        )
    names = [str(stage["module"]) for stage in getattr(network, "feature_info", [])]
    taps = [next((call for call in calls if call.name == name), None) for name in names]
    known = [tap for tap in taps if tap is not None]
    if len(known) < len(names) or sorted(known, key=lambda tap: tap.left) != known:
        known = []
    inner = calls
    if known and hasattr(network, "forward_intermediates"):
        inner = _traced(network, lambda: intermediates(network, pixels))
    edges = _edges(known, order)
    found: list[Stage] = []
    for name, begin, end, tap in edges:
        mine = tuple(dict.fromkeys(call.name for call in order if begin <= call.entered < end))
        if not mine and found:
            found[-1] = Stage(
                found[-1].name, found[-1].convolutions, found[-1].entry, (*found[-1].taps, *tap)
            )
            continue
        entry = _entry(calls, inner, begin, set(mine)) if found else None
        found.append(Stage(name, mine, entry, tap))
    return tuple(found)


def _edges(taps: Sequence[Call], order: Sequence[Call]) -> Iterator[tuple[str, int, float, tuple[int, ...]]]:
    """Name, first and last moment, and taps, of the stem and of what lies between one tap and the next."""
    if not taps:
        yield "stem", 0, float("inf"), ()
        return
    begin = 0
    if any(call.entered < taps[0].entered for call in order):
        yield "stem", 0, taps[0].entered, ()
        begin = taps[0].entered
    for place, tap in enumerate(taps):
        # What runs after the last tap belongs to it.
        end = tap.left if place + 1 < len(taps) else float("inf")
        yield tap.name if begin else "stem", begin, end, (place,)
        begin = tap.left


def _entry(calls: Sequence[Call], inner: Sequence[Call], begin: int, convolutions: set[str]) -> str | None:
    """The first module that both ways through the network enter once, with rows, as a stage begins."""
    once = {
        name
        for name in {call.name for call in calls}
        if all(sum(call.name == name for call in way) == 1 for way in (calls, inner))
    }
    for call in calls:
        if call.entered >= begin and call.rows and call.name in once:
            return call.name
        if call.entered >= begin and call.name in convolutions:
            return None
    return None


def intermediates(network: nn.Module, pixels: Tensor) -> list[Tensor]:
    """All its maps, none of a network that offers none."""
    if not hasattr(network, "forward_intermediates"):
        return []
    run = cast("Callable[..., list[Tensor]]", network.forward_intermediates)
    return run(pixels, output_fmt="NCHW", intermediates_only=True)


def _traced(network: nn.Module, run: Callable[[], object]) -> list[Call]:
    """The calls of all inner modules while it runs, in the order in which they were entered."""
    clock = itertools.count()
    opened: list[tuple[int, bool]] = []
    done: list[Call] = []

    def enter(name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        first = inputs[0] if inputs else None
        opened.append((next(clock), isinstance(first, Tensor) and first.dim() == 4 and len(first) == _ROWS))

    def leave(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        entered, rows = opened.pop()
        done.append(Call(name, entered, next(clock), rows))

    handles = []
    for name, module in network.named_modules():
        if name:
            handles += [
                module.register_forward_pre_hook(partial(enter, name)),
                module.register_forward_hook(partial(leave, name)),
            ]
    try:
        with still(network):
            run()
    finally:
        for handle in handles:
            handle.remove()
    return sorted(done, key=lambda call: call.entered)


@contextmanager
def still(network: nn.Module) -> Iterator[None]:
    """Eval mode without gradients while it runs, every module then as before."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def probe(network: nn.Module) -> Tensor:
    """Two blank images (2, C, H, W) that the network takes, small ones where it takes any size.

    Raises ModelError with what the network says where it takes none.
    """
    config: dict[str, Any] = getattr(network, "pretrained_cfg", {})
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    if first is None:
        raise ModelError("it has no convolution to inflate")
    own = config.get("input_size") or (3, 224, 224)
    fixed = getattr(getattr(network, "patch_embed", None), "img_size", None)
    sizes = [fixed] if fixed else [(64, 64), own[-2:]]
    # The first convolution that is registered need not be the first that sees pixels.
    shapes = [(channels, *size) for size in sizes for channels in dict.fromkeys((first.in_channels, own[0]))]
    said = ""
    for shape in shapes:
        pixels = torch.zeros(_ROWS, *shape, device=first.weight.device, dtype=first.weight.dtype)
        try:
            with still(network):
                network(pixels)
        except (RuntimeError, AssertionError, ValueError, IndexError) as error:
            said = str(error)
            continue
        return pixels
    raise ModelError(f"it takes no pixels of {tuple(pixels.shape[1:])}: {said}")
