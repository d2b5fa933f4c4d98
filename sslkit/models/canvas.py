"""The same weights for another canvas: networks that know only one size of input made ready for a head's."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import timm
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from sslkit.contracts import FeatureInfo
from sslkit.errors import ModelError
from sslkit.models.backbone import Backbone
from sslkit.models.creation import rebuilt, takes

ANY_SIZE = ({"dynamic_img_size": True}, {"strict_img_size": False})
"""Options of timm with which a network takes every size, its weights as they are (ViT; Swin)."""


def for_canvas(backbone: Backbone, size: tuple[int, int]) -> Backbone:
    """A backbone of the same weights whose `feature_maps` take (height, width) pixels, square or not.

    Networks that take any size come back as they are. Of others a copy is made: where timm can, one that
    takes every size (ViTs resample their table of positions in each forward, Swin pads its windows); else one
    for this size, rounded up to `size_divisor`, with the tables resampled once. Mode, device and what is
    frozen stay. Raises ModelError where the weights cannot serve another size.
    """
    fixed = backbone.fixed_size
    divisor = backbone.size_divisor
    whole = (-(-size[0] // divisor) * divisor, -(-size[1] // divisor) * divisor)
    if fixed is None or fixed == whole:
        return backbone
    try:
        fitted = _any_size(backbone) or _resized(backbone, whole) or _rebuilt(backbone, whole)
        info: FeatureInfo = fitted.info  # one forward at the size
    except (ModelError, RuntimeError, AssertionError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"backbone '{backbone.architecture.name}' is built for {fixed[0]}x{fixed[1]} pixels and cannot "
            f"be made ready for {size[0]}x{size[1]}: {error}; use a canvas of {fixed[0]}x{fixed[1]}, or "
            "another backbone, such as a ViT or a convolutional network"
        ) from error
    assert info.size_divisor == divisor
    return fitted


def _any_size(backbone: Backbone) -> Backbone | None:
    if backbone.architecture.network is not None:
        return None
    entry = timm.models.model_entrypoint(backbone.architecture.name)
    for option in ANY_SIZE:
        if takes(entry, next(iter(option))):
            fitted = _built(backbone, option)
            fitted.network.load_state_dict(backbone.network.state_dict())
            return _like(fitted, backbone)
    return None


def _resized(backbone: Backbone, whole: tuple[int, int]) -> Backbone | None:
    """By timm's own `set_input_size`, which resamples tables of positions and changes windows."""
    if not hasattr(backbone.network, "set_input_size"):
        return None
    network = copy.deepcopy(backbone.network)
    network.set_input_size(img_size=whole)  # type: ignore[operator]
    recorded = getattr(network, "_model_args", {})  # window sizes it changed, where timm says so
    architecture = backbone.architecture
    options = {**architecture.options, **_plain(recorded), "img_size": whole}
    fitted = Backbone(network, replace(architecture, options=options))
    return _like(fitted, backbone)


def _rebuilt(backbone: Backbone, whole: tuple[int, int]) -> Backbone:
    """Built anew for the size; of the tensors only an absolute table of positions may differ."""
    fitted = _built(backbone, {"img_size": whole})
    target, given = fitted.network.state_dict(), dict(backbone.network.state_dict())
    for name, table in given.items():
        want = target[name].shape if name in target else table.shape
        if table.shape == want or not name.endswith("pos_embed"):
            continue
        given[name] = _positions(backbone.network, table, want, whole)
    wrong = [name for name, table in given.items() if name not in target or target[name].shape != table.shape]
    if wrong:
        raise ModelError(f"its {wrong[0]} holds one entry for each place of the original size")
    fitted.network.load_state_dict(given)
    return _like(fitted, backbone)


def _positions(network: nn.Module, table: Tensor, want: Any, whole: tuple[int, int]) -> Tensor:
    patch: Any = getattr(network, "patch_embed", None)
    if not hasattr(patch, "grid_size") or not hasattr(patch, "img_size"):
        raise ModelError("its table of positions has no known grid")
    old: tuple[int, int] = tuple(patch.grid_size)
    new = tuple(side * cells // own for side, cells, own in zip(whole, old, patch.img_size, strict=True))
    prefix = table.shape[1] - old[0] * old[1]
    if table.dim() != 3 or want[1] != new[0] * new[1] + prefix:
        raise ModelError(f"its table of positions of shape {tuple(table.shape)} has no known grid")
    resampled: Tensor = resample_abs_pos_embed(
        table, new_size=list(new), old_size=list(old), num_prefix_tokens=prefix
    )
    return resampled


def _built(backbone: Backbone, option: Mapping[str, Any]) -> Backbone:
    return rebuilt(backbone.architecture, option)


def _like(fitted: Backbone, backbone: Backbone) -> Backbone:
    """Device, type, mode, frozen parameters and provenance of another backbone."""
    first = next(backbone.parameters())
    fitted.to(device=first.device, dtype=first.dtype).train(backbone.training)
    for new, old in zip(fitted.parameters(), backbone.parameters(), strict=True):
        new.requires_grad_(old.requires_grad)
    fitted.weights, fitted.loaded_fraction = backbone.weights, backbone.loaded_fraction
    return fitted


def _plain(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor arguments that a card of JSON can hold, other than what says how weights are loaded."""
    kept = {}
    for name in ("window_size", "window_ratio", "always_partition"):
        if recorded.get(name) is not None:
            kept[name] = recorded[name]
    return kept
