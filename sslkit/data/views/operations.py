"""The visible list of operations a policy may name, and how one is built from plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sslkit.data.views.colour import ColorDrop, ColorJitter, Solarize
from sslkit.data.views.crops import CropResize, CropResizeFlip
from sslkit.data.views.filters import GaussianBlur, GaussianNoise, Sobel
from sslkit.data.views.operation import Crop, Operation
from sslkit.data.views.placement import Cutout, Flip, Original, Rotate
from sslkit.errors import ConfigError, UnknownNameError

CROPS: dict[str, type[Crop]] = {
    "crop_resize": CropResize,
    "crop_resize_flip": CropResizeFlip,
}
"""The operations that may start a view."""

CHANGES: dict[str, type[Operation]] = {
    "color_drop": ColorDrop,
    "color_jitter": ColorJitter,
    "cutout": Cutout,
    "flip": Flip,
    "gaussian_blur": GaussianBlur,
    "gaussian_noise": GaussianNoise,
    "original": Original,
    "rotate": Rotate,
    "sobel": Sobel,
    "solarize": Solarize,
}
"""The operations that may follow."""

OPERATIONS: dict[str, type[Crop] | type[Operation]] = {**CROPS, **CHANGES}


def build_operation(spec: Mapping[str, Any]) -> Crop | Operation:
    """An operation from its data, as {"op": "color_drop", "p": 0.2}.

    Raises UnknownNameError for an operation or option nobody knows, ConfigError for a value out of range.
    """
    if not isinstance(spec, Mapping) or "op" not in spec:
        raise ConfigError(
            f"an operation is a mapping with the key 'op', as {{op: flip, p: 0.5}}, not {spec!r}."
        )
    name = spec["op"]
    if name not in OPERATIONS:
        raise UnknownNameError("operation", str(name), OPERATIONS)
    kind: Any = OPERATIONS[name]
    known = [option.name for option in fields(kind)]
    options: dict[str, Any] = {}
    for option, value in spec.items():
        if option == "op":
            continue
        if option not in known:
            raise UnknownNameError(f"option of {name}", str(option), known)
        options[option] = tuple(value) if isinstance(value, list) else value
    built: Crop | Operation = kind(**options)
    return built
