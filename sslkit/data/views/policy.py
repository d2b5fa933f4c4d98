"""View policies: lists of operations as data, and the pipeline that runs them on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from sslkit.data.views.crops import Whole
from sslkit.data.views.engine import Engine, Renderer, View
from sslkit.data.views.exact import ExactEngine
from sslkit.data.views.fused import FusedEngine
from sslkit.data.views.operation import Crop, Operation, Parameters
from sslkit.data.views.operations import CROPS, build_operation
from sslkit.data.views.specs import POLICIES, Spec, ViewSpec, changed, listed
from sslkit.data.views.threads import alone
from sslkit.errors import ConfigError, DataError, UnknownNameError
from sslkit.keyed_random import Keys

ENGINES = ("exact", "fused", "kornia", "kornia_compiled")
"""Ways to compute the same views: the reference, the fast one, and kornia's, as it is or compiled."""


class ViewPolicy:
    """Random views of a batch on its device (implements `sslkit.contracts.Views`); built by `build_views`.

    Every row of the result is a function of that row of pixels, rectangles and keys alone; to the last bit,
    if the engine has `exact_rows`, as exact and fused have.
    size: the side of a view that has none of its own, and the largest there may be. sizes: that of each view.
    engine: what computes the views, one of ENGINES; the numbers drawn are the same with all. shared: whether
    every view of a sample takes the numbers of view 0, so that views of two moments differ in time alone.
    """

    takes_clips = True

    def __init__(
        self,
        spec: Spec,
        *,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        engine: str = "exact",
        shared: bool = False,
    ) -> None:
        if size < 1:
            raise ConfigError(f"the size of views is {size}; it must be at least 1 pixel.")
        if len(mean) != len(std) or not mean or min(std) <= 0:
            raise ConfigError(
                f"mean {list(mean)} and std {list(std)}: give both for each channel, std above 0."
            )
        if isinstance(spec, str) or not isinstance(spec, Sequence) or not spec:
            raise ConfigError(f"a policy is a list of views, each a list of operations, not {spec!r}.")
        self.size, self.mean, self.std = size, tuple(mean), tuple(std)
        self.engine, self.shared, self._spec = engine, shared, spec
        self._views = tuple(self._parsed(view) for view in spec)
        self.sizes = tuple(view.size for view in self._views)
        self.count = len(self._views)
        chosen, exact = _engine(engine), ExactEngine()
        self._renderers: list[Renderer] = [
            chosen.renderer(view, self.mean, self.std) or exact.renderer(view, self.mean, self.std)
            for view in self._views
        ]

    @property
    def spec(self) -> Spec:
        """The policy as data."""
        return self._spec

    def with_engine(self, name: str, *, shared: bool | None = None) -> ViewPolicy:
        """The same policy, computed by another engine; shared: if given, whether views share their draw."""
        shared = self.shared if shared is None else shared
        return ViewPolicy(
            self._spec, size=self.size, mean=self.mean, std=self.std, engine=name, shared=shared
        )

    @torch.no_grad()
    def __call__(self, pixels: Tensor, rectangles: Tensor, keys: Keys) -> list[Tensor]:
        """uint8 (N, C, S, S), int64 (N, 4) and the batch's keys to float32 (N, C, s, s) for s in `sizes`.

        Of video, (N, M, T, C, S, S), view v shows moment v modulo M, every frame with the same numbers:
        (N, T, C, s, s), or (N, C, s, s) where T is 1. Raises DataError when shapes or types are others.
        """
        self._check(pixels, rectangles, keys)
        drawn = (
            alone(lambda: self.parameters(rectangles, keys))
            if rectangles.device.type == "cpu"
            else self.parameters(rectangles, keys)
        )
        if pixels.dim() == 4:
            return [render(pixels, numbers) for render, numbers in zip(self._renderers, drawn, strict=True)]
        rows, moments, frames = pixels.shape[:3]
        views = []
        for number, (render, numbers) in enumerate(zip(self._renderers, drawn, strict=True)):
            repeated = [_repeated(parameters, frames) for parameters in numbers]
            view = render(pixels[:, number % moments].flatten(0, 1), repeated)
            views.append(view if frames == 1 else view.view(rows, frames, *view.shape[1:]))
        return views

    def parameters(self, rectangles: Tensor, keys: Keys) -> list[list[Parameters]]:
        """The numbers drawn for each view: those of its crop, then those of each operation."""
        drawn: list[list[Parameters]] = []
        for number, view in enumerate(self._views):
            source = 0 if self.shared else number
            numbers = [view.crop.draw(keys.stream(source, f"0.{view.crop.name}"), rectangles)]
            for position, operation in enumerate(view.operations, start=1):
                numbers.append(operation.draw(keys.stream(source, f"{position}.{operation.name}")))
            drawn.append(numbers)
        return drawn

    def displayable(self, view: Tensor) -> Tensor:
        """A view (..., C, s, s) with its normalisation undone, in [0, 1]."""
        mean = torch.tensor(self.mean, dtype=torch.float32, device=view.device).view(-1, 1, 1)
        std = torch.tensor(self.std, dtype=torch.float32, device=view.device).view(-1, 1, 1)
        return (view * std + mean).clamp_(0.0, 1.0)

    def _parsed(self, spec: ViewSpec) -> View:
        built = [build_operation(operation) for operation in listed(spec)]
        for operation in built:
            if operation.colour and len(self.mean) != 3:
                raise ConfigError(
                    f"{operation.name} needs red, green and blue, but images have {len(self.mean)} channels; "
                    "leave it out of the policy, or take the policy multi_channel."
                )
        crop: Crop = Whole()
        if built[0].name in CROPS:
            crop = cast(Crop, built.pop(0))
        for late in built:
            if late.name in CROPS:
                raise ConfigError(
                    f"{late.name} must be the first operation of a view, so that pixels are resampled once."
                )
        return View(self._own_size(spec), crop, tuple(cast(list[Operation], built)))

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
        if pixels.dtype != torch.uint8 or pixels.dim() not in (4, 6) or tuple(pixels.shape[-3:]) != expected:
            raise DataError(
                f"pixels are {pixels.dtype} {tuple(pixels.shape)}; these views take uint8 "
                f"(N, {len(self.mean)}, S, S), or (N, M, T, {len(self.mean)}, S, S) of video."
            )
        rows = pixels.shape[0]
        if rectangles.dtype != torch.int64 or rectangles.shape != (rows, 4) or keys.ids.shape != (rows,):
            raise DataError(
                f"{rows} images came with rectangles {rectangles.dtype} {tuple(rectangles.shape)} and ids "
                f"{tuple(keys.ids.shape)}; rectangles are int64 ({rows}, 4) and ids ({rows},)."
            )


def _repeated(parameters: Parameters, frames: int) -> Parameters:
    return {name: values.repeat_interleave(frames, dim=0) for name, values in parameters.items()}


def _engine(name: str) -> Engine:
    if name == "exact":
        return ExactEngine()
    if name == "fused":
        return FusedEngine()
    if name in ("kornia", "kornia_compiled"):
        from sslkit.data.views.kornia_engine import KorniaEngine  # only where asked for

        return KorniaEngine(compiled=name == "kornia_compiled")
    raise UnknownNameError("engine of views", str(name), ENGINES)


def build_views(
    policy: str | Spec,
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    engine: str = "exact",
    shared: bool = False,
    **options: Mapping[str, Any],
) -> ViewPolicy:
    """Views by a built-in policy's name or its data, normalised by mean and std per channel.

    size: the side of every view that names none of its own. engine, shared: as of ViewPolicy. options: for an
    operation of the policy, the values to change wherever it stands, as `color_jitter={"hue": 0.1}`. Raises
    UnknownNameError for an unknown policy, engine, operation or option, ConfigError for a value out of range
    or an operation that does not suit the channels.
    """
    if isinstance(policy, str):
        if policy not in POLICIES:
            raise UnknownNameError("view policy", policy, POLICIES)
        policy = POLICIES[policy]
    spec = changed(policy, options) if options else policy
    return ViewPolicy(spec, size=size, mean=mean, std=std, engine=engine, shared=shared)
