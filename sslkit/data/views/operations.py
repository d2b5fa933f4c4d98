"""The visible list of operations a policy may name, and how one is built from plain data."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

from sslkit.data.views.colour import ColorDrop, ColorJitter, IntensityJitter, Solarize
from sslkit.data.views.crops import CropResize, CropResizeFlip
from sslkit.data.views.filters import GaussianBlur, GaussianNoise, Sobel
from sslkit.data.views.kornia_named import KORNIA, REFUSED, kornia_operation
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
    "intensity_jitter": IntensityJitter,
    "original": Original,
    "rotate": Rotate,
    "sobel": Sobel,
    "solarize": Solarize,
}
"""The operations that may follow; any class named in KORNIA may, too."""

OPERATIONS: dict[str, type[Crop] | type[Operation]] = {**CROPS, **CHANGES}
"""Our own operations."""


def build_operation(spec: Mapping[str, Any]) -> Crop | Operation:
    """An operation from its data, as {"op": "color_drop", "p": 0.2} or {"op": "RandomPosterize", "bits": 3}.

    Raises UnknownNameError for an operation or option nobody knows, ConfigError for a value out of range or a
    class of kornia's that cannot stand in a view.
    """
    if not isinstance(spec, Mapping) or "op" not in spec:
        raise ConfigError(
            f"an operation is a mapping with the key 'op', as {{op: flip, p: 0.5}}, not {spec!r}."
        )
    name = str(spec["op"])
    if name in KORNIA or name in REFUSED:
        options = {option: value for option, value in spec.items() if option != "op"}
        # Its name and its need of colour belong to the object, where the protocol has them on the class.
        return cast(Operation, kornia_operation(name, options))
    if name not in OPERATIONS:
        raise _unknown(name)
    kind: Any = OPERATIONS[name]
    known = [option.name for option in fields(kind)]
    options = {}
    for option, value in spec.items():
        if option == "op":
            continue
        if option not in known:
            raise UnknownNameError(f"option of {name}", str(option), known)
        options[option] = tuple(value) if isinstance(value, list) else value
    built: Crop | Operation = kind(**options)
    return built


def _unknown(name: str) -> UnknownNameError:
    """The nearest of ours and kornia's; ours alone where none is near."""
    both = [*OPERATIONS, *KORNIA]
    near = difflib.get_close_matches(name, both, n=1, cutoff=0.5)
    hint = "" if near else "Classes of kornia.augmentation go by their own names, as RandomPosterize."
    return UnknownNameError("operation", name, both if near else OPERATIONS, hint)
