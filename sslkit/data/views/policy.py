"""View policies: lists of operations as data, and the pipeline that runs them on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from sslkit.data.views.crops import Whole
from sslkit.data.views.operation import Crop, Operation, Parameters
from sslkit.data.views.operations import CROPS, build_operation
from sslkit.errors import ConfigError, DataError, UnknownNameError
from sslkit.keyed_random import Keys

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


POLICIES: dict[str, Spec] = {
    # SimCLR (Chen et al., 2020), appendix A, strength 1.0.
    "simclr": [_simclr_view(1.0, blur=True)] * 2,
    # The same paper's CIFAR-10 setting, appendix B.9: strength 0.5, no blur.
    "simclr_small": [_simclr_view(0.5, blur=False)] * 2,
    # BYOL (Grill et al., 2020), appendix B: two unlike views.
    "byol": [_byol_view(blur=1.0, solarize=0.0), _byol_view(blur=0.1, solarize=0.2)],
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


# Values worked on at once on a CPU: larger pieces leave the cache, smaller ones drown in call overhead.
_PIECE = 2**21


@dataclass(frozen=True)
class _View:
    size: int
    crop: Crop
    operations: tuple[Operation, ...]


class ViewPolicy:
    """Random views of a batch on its device (implements `sslkit.contracts.Views`); built by `build_views`.

    Every row of the result is a function of that row of pixels, rectangles and keys alone, to the last bit.
    size: the side of a view that has none of its own, and the largest there may be. sizes: that of each view.
    """

    def __init__(self, spec: Spec, *, size: int, mean: Sequence[float], std: Sequence[float]) -> None:
        if size < 1:
            raise ConfigError(f"the size of views is {size}; it must be at least 1 pixel.")
        if len(mean) != len(std) or not mean or min(std) <= 0:
            raise ConfigError(
                f"mean {list(mean)} and std {list(std)}: give both for each channel, std above 0."
            )
        if isinstance(spec, str) or not isinstance(spec, Sequence) or not spec:
            raise ConfigError(f"a policy is a list of views, each a list of operations, not {spec!r}.")
        self.size, self.mean, self.std = size, tuple(mean), tuple(std)
        self._views = tuple(self._parsed(view) for view in spec)
        self.sizes = tuple(view.size for view in self._views)
        self.count = len(self._views)

    @torch.no_grad()
    def __call__(self, pixels: Tensor, rectangles: Tensor, keys: Keys) -> list[Tensor]:
        """uint8 (N, C, S, S), int64 (N, 4) and the batch's keys to float32 (N, C, s, s) for s in `sizes`.

        Raises DataError when shapes or types are others.
        """
        self._check(pixels, rectangles, keys)
        rows, channels, side, _ = pixels.shape
        drawn = self.parameters(rectangles, keys)
        views = [torch.empty((rows, channels, own, own), device=pixels.device) for own in self.sizes]
        piece = max(1, rows)
        if pixels.device.type == "cpu":
            piece = max(1, _PIECE // (channels * max(side, self.size) ** 2))
        for start in range(0, rows, piece):
            part = slice(start, start + piece)
            canvases = pixels[part].float()
            for view, numbers, result in zip(self._views, drawn, views, strict=True):
                images = view.crop.apply(canvases, _rows(numbers[0], part), view.size)
                for operation, parameters in zip(view.operations, numbers[1:], strict=True):
                    images = operation.apply(images, _rows(parameters, part))
                self._normalise(images, result[part])
        return views

    def parameters(self, rectangles: Tensor, keys: Keys) -> list[list[Parameters]]:
        """The numbers drawn for each view: those of its crop, then those of each operation."""
        drawn: list[list[Parameters]] = []
        for number, view in enumerate(self._views):
            numbers = [view.crop.draw(keys.stream(number, f"0.{view.crop.name}"), rectangles)]
            for position, operation in enumerate(view.operations, start=1):
                numbers.append(operation.draw(keys.stream(number, f"{position}.{operation.name}")))
            drawn.append(numbers)
        return drawn

    def displayable(self, view: Tensor) -> Tensor:
        """A view (N, C, s, s) with its normalisation undone, in [0, 1]."""
        mean, std = self._normalisation(view.device)
        return (view * std + mean).clamp_(0.0, 1.0)

    def _parsed(self, spec: ViewSpec) -> _View:
        built = [build_operation(operation) for operation in _listed(spec)]
        for operation in built:
            if operation.colour and len(self.mean) != 3:
                raise ConfigError(
                    f"{operation.name} needs red, green and blue, but images have {len(self.mean)} channels; "
                    "leave it out of the policy."
                )
        crop: Crop = Whole()
        if built[0].name in CROPS:
            crop = cast(Crop, built.pop(0))
        for late in built:
            if late.name in CROPS:
                raise ConfigError(
                    f"{late.name} must be the first operation of a view, so that pixels are resampled once."
                )
        return _View(self._own_size(spec), crop, tuple(cast(list[Operation], built)))

    def _own_size(self, spec: ViewSpec) -> int:
        size = spec.get("size", self.size) if isinstance(spec, Mapping) else self.size
        if not isinstance(size, int) or not 1 <= size <= self.size:
            raise ConfigError(
                f"the size of a view is {size!r}; it must be a whole number of pixels from 1 to {self.size}, "
                "the policy's own size."
            )
        return size

    def _check(self, pixels: Tensor, rectangles: Tensor, keys: Keys) -> None:
        expected = (len(self.mean), pixels.shape[-1], pixels.shape[-1])
        if pixels.dtype != torch.uint8 or pixels.dim() != 4 or tuple(pixels.shape[1:]) != expected:
            raise DataError(
                f"pixels are {pixels.dtype} {tuple(pixels.shape)}; these views take uint8 "
                f"(N, {len(self.mean)}, S, S)."
            )
        rows = pixels.shape[0]
        if rectangles.dtype != torch.int64 or rectangles.shape != (rows, 4) or keys.ids.shape != (rows,):
            raise DataError(
                f"{rows} images came with rectangles {rectangles.dtype} {tuple(rectangles.shape)} and ids "
                f"{tuple(keys.ids.shape)}; rectangles are int64 ({rows}, 4) and ids ({rows},)."
            )

    def _normalisation(self, device: torch.device) -> tuple[Tensor, Tensor]:
        mean = torch.tensor(self.mean, dtype=torch.float32, device=device).view(-1, 1, 1)
        std = torch.tensor(self.std, dtype=torch.float32, device=device).view(-1, 1, 1)
        return mean, std

    def _normalise(self, images: Tensor, out: Tensor) -> None:
        mean, std = self._normalisation(images.device)
        torch.sub(images, mean, out=out).div_(std)


def _listed(view: ViewSpec) -> Sequence[Mapping[str, Any]]:
    """The operations of a view, whichever way it is written."""
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


def _rows(parameters: Parameters, part: slice) -> Parameters:
    return {name: values[part] for name, values in parameters.items()}


def build_views(
    policy: str | Spec,
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    **options: Mapping[str, Any],
) -> ViewPolicy:
    """Views by a built-in policy's name or its data, normalised by mean and std per channel.

    size: the side of every view that names none of its own. options: for an operation of the policy, the
    values to change wherever it stands, as `color_jitter={"hue": 0.1}`. Raises UnknownNameError for an
    unknown policy, operation or option, ConfigError for a value out of range or an operation that does not
    suit the channels.
    """
    if isinstance(policy, str):
        if policy not in POLICIES:
            raise UnknownNameError("view policy", policy, POLICIES)
        policy = POLICIES[policy]
    return ViewPolicy(_changed(policy, options) if options else policy, size=size, mean=mean, std=std)


def _changed(spec: Spec, options: Mapping[str, Mapping[str, Any]]) -> Spec:
    used = {str(operation["op"]) for view in spec for operation in _listed(view)}
    for name, change in options.items():
        if name not in used:
            raise UnknownNameError("operation of this policy", name, used)
        if not isinstance(change, Mapping):
            raise ConfigError(f"{name} is {change!r}; give its options as a mapping, as {{p: 0.5}}.")
    changed: list[ViewSpec] = []
    for view in spec:
        operations = [{**operation, **options.get(operation["op"], {})} for operation in _listed(view)]
        changed.append({**view, "operations": operations} if isinstance(view, Mapping) else operations)
    return changed
