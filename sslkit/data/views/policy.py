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

Spec = Sequence[Sequence[Mapping[str, Any]]]
"""A policy as data: one list of operations for each view."""


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


def _byol_view(*, blur: float, solarize: float) -> list[dict[str, Any]]:
    jitter = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1}
    return [
        {"op": "crop_resize_flip", "scale": [0.08, 1.0], "ratio": [3 / 4, 4 / 3], "p": 0.5},
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
"""The built-in policies."""

# Values worked on at once on a CPU: larger pieces leave the cache, smaller ones drown in call overhead.
_PIECE = 2**21


@dataclass(frozen=True)
class _View:
    crop: Crop
    operations: tuple[Operation, ...]


class ViewPolicy:
    """Random views of a batch on its device (implements `sslkit.contracts.Views`); built by `build_views`.

    Every row of the result is a function of that row of pixels, rectangles and keys alone, to the last bit.
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
        self.count = len(self._views)

    @torch.no_grad()
    def __call__(self, pixels: Tensor, rectangles: Tensor, keys: Keys) -> list[Tensor]:
        """uint8 (N, C, S, S), int64 (N, 4) and the batch's keys to `count` float32 (N, C, size, size).

        Raises DataError when shapes or types are others.
        """
        self._check(pixels, rectangles, keys)
        rows, channels, side, _ = pixels.shape
        drawn = self.parameters(rectangles, keys)
        shape = (rows, channels, self.size, self.size)
        views = [torch.empty(shape, device=pixels.device) for _ in self._views]
        piece = max(1, rows)
        if pixels.device.type == "cpu":
            piece = max(1, _PIECE // (channels * max(side, self.size) ** 2))
        for start in range(0, rows, piece):
            part = slice(start, start + piece)
            canvases = pixels[part].float()
            for view, numbers, result in zip(self._views, drawn, views, strict=True):
                images = view.crop.apply(canvases, _rows(numbers[0], part), self.size)
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
        """A view (N, C, size, size) with its normalisation undone, in [0, 1]."""
        mean, std = self._normalisation(view.device)
        return (view * std + mean).clamp_(0.0, 1.0)

    def _parsed(self, spec: Sequence[Mapping[str, Any]]) -> _View:
        if isinstance(spec, str | Mapping) or not isinstance(spec, Sequence) or not spec:
            raise ConfigError(f"a view is a list of operations, as [{{op: flip, p: 0.5}}], not {spec!r}.")
        built = [build_operation(operation) for operation in spec]
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
        return _View(crop, tuple(cast(list[Operation], built)))

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
    """Views of size x size by a built-in policy's name or its data, normalised by mean and std per channel.

    options: for an operation of the policy, the values to change wherever it stands, as
    `color_jitter={"hue": 0.1}`. Raises UnknownNameError for an unknown policy, operation or
    option, ConfigError for a value out of range or an operation that does not suit the channels.
    """
    if isinstance(policy, str):
        if policy not in POLICIES:
            raise UnknownNameError("view policy", policy, POLICIES)
        policy = POLICIES[policy]
    return ViewPolicy(_changed(policy, options) if options else policy, size=size, mean=mean, std=std)


def _changed(spec: Spec, options: Mapping[str, Mapping[str, Any]]) -> Spec:
    used = {str(operation["op"]) for view in spec for operation in view}
    for name, change in options.items():
        if name not in used:
            raise UnknownNameError("operation of this policy", name, used)
        if not isinstance(change, Mapping):
            raise ConfigError(f"{name} is {change!r}; give its options as a mapping, as {{p: 0.5}}.")
    return [[{**operation, **options.get(operation["op"], {})} for operation in view] for view in spec]
