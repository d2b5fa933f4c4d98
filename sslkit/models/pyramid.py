"""A feature pyramid over any backbone: maps of one width at the strides a head asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation, FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from sslkit.contracts import FeatureInfo, FeatureMap
from sslkit.errors import ConfigError
from sslkit.models.alignment import cells, check_maps, nearest_stride, resampled

Kind = Literal["auto", "fpn", "simple"]
Norm = Literal["auto", "none", "batch", "group", "layer"]
Extra = Literal["none", "pool", "p6p7"]
_EXTRA_LEVELS = {"none": 0, "pool": 1, "p6p7": 2}


class Pyramid(nn.Module):
    """The maps of a backbone to one map at each asked stride, all with `channels`.

    info: the maps it is going to be given, as a head gets it. strides: fine to coarse, each twice the one
    before or a larger multiple. kind: "fpn" (Lin et al. 2017, torchvision's) for networks that get coarser;
    "simple" (Li et al. 2022, ViTDet, section 3) makes all levels from the last map of a network of one
    stride; "auto" chooses by the strides. norm: after each convolution; "auto" is none in an FPN and layer in
    a simple one, as in the papers. extra: levels beyond the last stride, each twice as coarse: one subsampled
    ("pool", as for the RPN of Faster R-CNN), two by convolutions ("p6p7", as in RetinaNet), or none.

    `strides` then names all levels, the extra ones included. Raises ConfigError for strides that do not fit.
    """

    def __init__(
        self,
        info: FeatureInfo,
        *,
        channels: int = 256,
        strides: Sequence[int] = (4, 8, 16, 32),
        extra: Extra = "none",
        norm: Norm = "auto",
        kind: Kind = "auto",
    ) -> None:
        super().__init__()
        _check_strides(strides)
        if extra not in _EXTRA_LEVELS:
            raise ConfigError(
                f"extra levels '{extra}' of a pyramid are not one of {', '.join(_EXTRA_LEVELS)}"
            )
        if kind not in ("auto", "fpn", "simple"):
            raise ConfigError(f"a pyramid of kind '{kind}' is not one of auto, fpn, simple")
        if kind == "auto":
            kind = "fpn" if len(set(info.strides)) > 1 else "simple"
        self.info, self.kind, self.channels = info, kind, channels
        laterals = tuple(strides)
        self.strides = laterals + tuple(laterals[-1] * 2 ** (i + 1) for i in range(_EXTRA_LEVELS[extra]))
        build = _Simple if kind == "simple" else _Lateral
        self.levels = build(info, channels, laterals, normed(norm, "layer" if kind == "simple" else "none"))
        self.extra: nn.Module | None = None
        if extra == "pool":
            self.extra = LastLevelMaxPool()
        elif extra == "p6p7":
            self.extra = LastLevelP6P7(channels, channels)

    def forward(self, maps: Sequence[FeatureMap], canvas: tuple[int, int]) -> tuple[FeatureMap, ...]:
        """Maps of a canvas of (H, W) pixels to (N, channels, ceil(H / stride), ceil(W / stride)) each.

        Raises ModelError for other maps than those it was built for.
        """
        check_maps(maps, self.info, canvas)
        values: list[Tensor] = self.levels(maps, canvas)
        if self.extra is not None:
            with _full_precision(values[-1]):
                last = values[-1].float()
                coarser, _ = self.extra([last], [last], [""])
            values = [*values, *coarser[1:]]
        return tuple(
            FeatureMap(value[..., : cells(canvas, stride)[0], : cells(canvas, stride)[1]], stride)
            for value, stride in zip(values, self.strides, strict=True)
        )


class _Lateral(nn.Module):
    """An FPN on the maps of the nearest strides; strides beyond all of them by strided convolutions."""

    def __init__(
        self,
        info: FeatureInfo,
        channels: int,
        strides: tuple[int, ...],
        norm: Callable[[int], nn.Module] | None,
    ) -> None:
        super().__init__()
        # Of several maps of one stride the deepest. A stride more than 3/2 beyond the coarsest has none.
        place = {stride: index for index, stride in enumerate(info.strides)}
        self.strides = tuple(s for s in strides if s <= 1.5 * max(place)) or strides[:1]
        self.sources = tuple(place[nearest_stride(sorted(place), stride)] for stride in self.strides)
        self.network = FeaturePyramidNetwork(
            [info.channels[source] for source in self.sources], channels, norm_layer=norm
        )
        coarser = strides[len(self.strides) :]
        factors = [b // a for a, b in pairwise((self.strides[-1], *coarser))]
        self.coarser = nn.ModuleList(
            Conv2dNormActivation(
                channels, channels, factor + 1, stride=factor, padding=factor // 2, norm_layer=norm,
                activation_layer=None,
            )
            for factor in factors
        )  # fmt: skip

    def forward(self, maps: Sequence[FeatureMap], canvas: tuple[int, int]) -> list[Tensor]:
        # On a canvas of whole coarsest cells every level is an exact multiple of the next.
        whole = _whole(canvas, self.strides[-1])
        given = {
            str(stride): resampled(maps[source], stride, whole).values
            for stride, source in zip(self.strides, self.sources, strict=True)
        }
        levels = list(self.network(given).values())
        for convolution in self.coarser:
            with _full_precision(levels[-1]):
                levels.append(convolution(levels[-1].float()))
        return levels


class _Simple(nn.Module):
    """ViTDet's simple pyramid: deconvolutions to finer, max pooling to coarser, from the last map alone."""

    def __init__(
        self,
        info: FeatureInfo,
        channels: int,
        strides: tuple[int, ...],
        norm: Callable[[int], nn.Module] | None,
    ) -> None:
        super().__init__()
        own = info.strides[-1]
        # A patch of 14 is resampled once to 16, from where all is powers of two.
        self.base = nearest_stride(strides, own) if own not in strides else own
        self.coarsest = max(*strides, self.base)
        self.branches = nn.ModuleList(
            _branch(info.channels[-1], channels, math.log2(stride / self.base), norm) for stride in strides
        )

    def forward(self, maps: Sequence[FeatureMap], canvas: tuple[int, int]) -> list[Tensor]:
        base = resampled(maps[-1], self.base, _whole(canvas, self.coarsest)).values
        return [branch(base) for branch in self.branches]


def _branch(
    inputs: int, channels: int, octaves: float, norm: Callable[[int], nn.Module] | None
) -> nn.Sequential:
    """From the base map to one level, `octaves` powers of two coarser (finer where negative)."""
    parts: list[nn.Module] = []
    width = inputs
    for step in range(-round(octaves)):
        if step:
            parts += [norm(width)] if norm else []
            parts.append(nn.GELU())
        halved = max(width // 2, 1)
        parts.append(nn.ConvTranspose2d(width, halved, 2, stride=2))
        width = halved
    parts += [nn.MaxPool2d(2) for _ in range(round(octaves))]
    for kernel, taken in ((1, width), (3, channels)):
        parts.append(Conv2dNormActivation(taken, channels, kernel, norm_layer=norm, activation_layer=None))
    return nn.Sequential(*parts)


def normed(norm: Norm, auto: Norm) -> Callable[[int], nn.Module] | None:
    """What builds the norm of a number of channels; None is no norm. Raises ConfigError for other words."""
    chosen = auto if norm == "auto" else norm
    builders: dict[str, Callable[[int], nn.Module] | None] = {
        "none": None,
        "batch": nn.BatchNorm2d,
        "group": lambda width: nn.GroupNorm(math.gcd(32, width), width),
        "layer": partial(LayerNorm2d, eps=1e-6),
    }
    if chosen not in builders:
        raise ConfigError(f"a norm '{norm}' is not one of auto, {', '.join(builders)}")
    return builders[chosen]


def _whole(canvas: tuple[int, int], stride: int) -> tuple[int, int]:
    rows, columns = cells(canvas, stride)
    return rows * stride, columns * stride


def _check_strides(strides: Sequence[int]) -> None:
    fits = bool(strides) and strides[0] > 0
    fits = fits and all(b > a and b % a == 0 and (b // a) & (b // a - 1) == 0 for a, b in pairwise(strides))
    if not fits:
        raise ConfigError(
            f"a pyramid of strides {tuple(strides)} was asked for; each must be the one before times "
            "2, 4, ..., such as (4, 8, 16, 32)"
        )


def _full_precision(values: Tensor) -> torch.autocast:
    """For strided convolutions on maps that may have one cell.

    Their bf16 gradient holds memory that nobody wrote on some CPUs (torch 2.15): NaN now and then.
    """
    return torch.autocast(values.device.type, enabled=False)
