"""View policies as data: what a recipe may write, and the built-in ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sslkit.errors import ConfigError, UnknownNameError

ViewSpec = Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""A view as data: a list of operations, or {size: S, operations: [...]} for one with a side of its own."""

Spec = Sequence[ViewSpec]
"""A policy as data: its views in order, those of full size first."""


def _simclr_view(strength: float, *, blur: bool) -> list[dict[str, Any]]:
    view: list[dict[str, Any]] = [
        {"op": "crop_resize_flip", "scale": [0.08, 1.0], "ratio": [3 / 4, 4 / 3], "p": 0.5},
        {
            "op": "color_jitter",
            "p": 0.8,
            "brightness": 0.8 * strength,
            "contrast": 0.8 * strength,
            "saturation": 0.8 * strength,
            "hue": 0.2 * strength,
        },
        {"op": "color_drop", "p": 0.2},
    ]
    if blur:
        view.append({"op": "gaussian_blur", "p": 0.5, "sigma": [0.1, 2.0], "kernel": 0.1})
    return view


def _byol_view(*, blur: float, solarize: float, scale: Sequence[float] = (0.08, 1.0)) -> list[dict[str, Any]]:
    jitter = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1}
    return [
        {"op": "crop_resize_flip", "scale": scale, "ratio": [3 / 4, 4 / 3], "p": 0.5},
        {"op": "color_jitter", "p": 0.8, **jitter},
        {"op": "color_drop", "p": 0.2},
        {"op": "gaussian_blur", "p": blur, "sigma": [0.1, 2.0], "kernel": 0.1},
        {"op": "solarize", "p": solarize},
    ]


def _multi_channel_view() -> list[dict[str, Any]]:
    return [
        {"op": "crop_resize_flip", "scale": [0.08, 1.0], "ratio": [3 / 4, 4 / 3], "p": 0.5},
        {"op": "intensity_jitter", "p": 0.8, "brightness": 0.4, "contrast": 0.4},
        {"op": "gaussian_blur", "p": 0.5, "sigma": [0.1, 2.0], "kernel": 0.1},
        {"op": "gaussian_noise", "p": 0.5, "std": [0.0, 0.05]},
    ]


POLICIES: dict[str, Spec] = {
    # SimCLR (Chen et al., 2020), appendix A, strength 1.0.
    "simclr": [_simclr_view(1.0, blur=True)] * 2,
    # The same paper's CIFAR-10 setting, appendix B.9: strength 0.5, no blur.
    "simclr_small": [_simclr_view(0.5, blur=False)] * 2,
    # BYOL (Grill et al., 2020), appendix B: two unlike views.
    "byol": [_byol_view(blur=1.0, solarize=0.0), _byol_view(blur=0.1, solarize=0.2)],
    # Nothing that takes channels for red, green and blue: for grey, depth, microscopy, satellites.
    "multi_channel": [_multi_channel_view()] * 2,
}
"""The built-in policies that are the same whatever the size."""


def multi_crop_spec(
    *, local_size: int, local_crops: int, global_scale: Sequence[float], local_scale: Sequence[float]
) -> Spec:
    """Two global views, then `local_crops` local ones of local_size pixels (Caron et al., 2021, section 3).

    global_scale, local_scale: shares of the picture's area. Colours, blur and solarisation are those of the
    paper's code, which are BYOL's but for the local views: blurred half of the time, never solarised.
    """
    local = {"size": local_size, "operations": _byol_view(blur=0.5, solarize=0.0, scale=local_scale)}
    return [
        _byol_view(blur=1.0, solarize=0.0, scale=global_scale),
        _byol_view(blur=0.1, solarize=0.2, scale=global_scale),
        *[local] * local_crops,
    ]


def listed(view: ViewSpec) -> Sequence[Mapping[str, Any]]:
    """The operations of a view, whichever way it is written; raises ConfigError where it is not a view."""
    operations = view
    if isinstance(view, Mapping) and "operations" in view:
        operations = view["operations"]
        for key in view:
            if key not in ("operations", "size"):
                raise UnknownNameError("key of a view", str(key), ["operations", "size"])
    if isinstance(operations, str | Mapping) or not isinstance(operations, Sequence) or not operations:
        raise ConfigError(
            f"a view is a list of operations, as [{{op: flip, p: 0.5}}], or, with a side of its own, "
            f"{{size: 96, operations: [...]}}, not {view!r}."
        )
    return operations


def changed(spec: Spec, options: Mapping[str, Mapping[str, Any]]) -> Spec:
    """The policy with the options of some operations changed, wherever they stand.

    Raises UnknownNameError for an operation that the policy does not have.
    """
    used = {str(operation["op"]) for view in spec for operation in listed(view)}
    for name, change in options.items():
        if name not in used:
            raise UnknownNameError("operation of this policy", name, used)
        if not isinstance(change, Mapping):
            raise ConfigError(f"{name} is {change!r}; give its options as a mapping, as {{p: 0.5}}.")
    views: list[ViewSpec] = []
    for view in spec:
        operations = [{**operation, **options.get(operation["op"], {})} for operation in listed(view)]
        views.append({**view, "operations": operations} if isinstance(view, Mapping) else operations)
    return views
