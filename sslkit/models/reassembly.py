"""Several depths of a backbone put together to one fine map, in the style of DPT."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import FeatureInfo, FeatureMap
from sslkit.errors import ConfigError
from sslkit.models.alignment import cells, check_maps, nearest_stride, resampled


class Reassembly(nn.Module):
    """All maps a head is given, fused from coarse to fine: (N, channels, ceil(H / stride), ceil(W / stride)).

    Reassemble and fusion of DPT (Ranftl et al. 2021, section 3). Of a network of one stride (ViT) the i-th
    depth is brought to `stride` 2^i by a transposed or strided convolution; of a network that gets coarser
    each level takes the map of the nearest stride, and there is a level for each octave up to the coarsest.
    The fused map is not made finer than its finest level. Raises ConfigError for a stride that is no
    power of two.
    """

    def __init__(self, info: FeatureInfo, *, channels: int = 256, stride: int = 4) -> None:
        super().__init__()
        if stride < 1 or stride & (stride - 1):
            raise ConfigError(f"a reassembly at stride {stride} was asked for; use a power of two, such as 4")
        self.info, self.stride, self.channels = info, stride, channels
        own = info.strides
        if len(set(own)) == 1:
            self.strides = tuple(stride * 2**i for i in range(len(own)))
            self.sources: tuple[int, ...] = tuple(range(len(own)))
        else:
            octaves = 1
            while stride * 2**octaves <= 1.5 * max(own):
                octaves += 1
            self.strides = tuple(stride * 2**i for i in range(octaves))
            place = {s: index for index, s in enumerate(own)}  # of several maps of one stride the deepest
            self.sources = tuple(place[nearest_stride(sorted(place), s)] for s in self.strides)
        self.reassembled = nn.ModuleList(
            _Reassembled(info.channels[source], channels, own[source], level)
            for source, level in zip(self.sources, self.strides, strict=True)
        )
        self.fusions = nn.ModuleList(
            _Fusion(channels, joins=place < len(self.strides) - 1) for place in range(len(self.strides))
        )

    def forward(self, maps: Sequence[FeatureMap], canvas: tuple[int, int]) -> FeatureMap:
        """Maps of a canvas of (H, W) pixels to one; raises ModelError for others than it was built for."""
        check_maps(maps, self.info, canvas)
        rows, columns = cells(canvas, self.strides[-1])
        whole = (rows * self.strides[-1], columns * self.strides[-1])
        fused: Tensor | None = None
        for place in reversed(range(len(self.strides))):
            level = self.reassembled[place](maps[self.sources[place]], whole)
            fused = self.fusions[place](level, fused)
        assert fused is not None
        rows, columns = cells(canvas, self.stride)
        return FeatureMap(fused[..., :rows, :columns], self.stride)


class _Reassembled(nn.Module):
    """One depth at its level: a 1x1 projection, resampling, and a 3x3 convolution to the common width."""

    def __init__(self, inputs: int, channels: int, own: int, level: int) -> None:
        super().__init__()
        # A stride that is no power of two (patches of 14) is first taken to the nearest one, bilinearly.
        self.base: int = 2 ** round(math.log2(own))
        self.level = level
        self.project = nn.Conv2d(inputs, channels, 1)
        self.resample: nn.Module = nn.Identity()
        if self.base > level:
            factor = self.base // level
            self.resample = nn.ConvTranspose2d(channels, channels, factor, stride=factor)
        elif self.base < level:
            factor = level // self.base
            self.resample = nn.Conv2d(channels, channels, factor + 1, stride=factor, padding=factor // 2)
        self.smooth = nn.Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, feature: FeatureMap, whole: tuple[int, int]) -> Tensor:
        projected = FeatureMap(self.project(feature.values), feature.stride)
        smooth: Tensor = self.smooth(self.resample(resampled(projected, self.base, whole).values))
        return smooth


class _Fusion(nn.Module):
    """A level and what came from coarser ones, by residual convolution units (RefineNet, Lin et al. 2017)."""

    def __init__(self, channels: int, *, joins: bool) -> None:
        super().__init__()
        self.level = _Unit(channels) if joins else None
        self.joined = _Unit(channels)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, level: Tensor, coarser: Tensor | None) -> Tensor:
        if self.level is not None and coarser is not None:
            finer = F.interpolate(coarser, scale_factor=2, mode="bilinear", align_corners=False)
            level = finer + self.level(level)
        fused: Tensor = self.out(self.joined(level))
        return fused


class _Unit(nn.Module):
    """x + two convolutions of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.refine = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, values: Tensor) -> Tensor:
        refined: Tensor = self.refine(values)
        return values + refined
