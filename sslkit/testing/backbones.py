"""Backbones small enough for tests of milliseconds, with everything real ones have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import FeatureInfo, FeatureMap
from sslkit.models.creation import create_backbone


class TinyBackbone(nn.Module):
    """Two strided convolutions with BatchNorm: embeddings (N, 16), maps at strides 2 and 4.

    Of clips it sees each frame alone. seed: its weights are a function of it.
    """

    embedding_dim = 16

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.first = _block(3, 8)
        self.second = _block(8, 16)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                bound = parameter[0].numel() ** -0.5
                nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 16); of clips (N, T, 3, H, W) the mean of the frames."""
        if pixels.dim() == 5:
            return self.embed_frames(pixels).mean(dim=1)
        embedding: Tensor = self.second(self.first(pixels)).mean(dim=(2, 3))
        return embedding

    def embed_frames(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) to (N, T, 16)."""
        embeddings: Tensor = self(clips.flatten(0, 1))
        return embeddings.view(*clips.shape[:2], -1)

    def feature_maps(self, pixels: Tensor) -> dict[str, FeatureMap]:
        """(N, 3, H, W), sides multiples of 4, to "first" (N, 8, H/2, W/2), "second" (N, 16, H/4, W/4).

        Of clips (N, T, 3, H, W) they are (N, T, ...).
        """
        if pixels.dim() == 5:
            return in_clips(self.feature_maps(pixels.flatten(0, 1)), len(pixels))
        fine = self.first(pixels)
        return {"first": FeatureMap(fine, 2), "second": FeatureMap(self.second(fine), 4)}

    @property
    def info(self) -> FeatureInfo:
        """What it offers."""
        return FeatureInfo(
            ("first", "second"), (8, 16), (2, 4), 4, 4, (0.5,) * 3, (0.5,) * 3, embedding_dim=16
        )


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def in_clips(maps: Mapping[str, FeatureMap], clips: int) -> dict[str, FeatureMap]:
    """Maps whose rows are the frames of so many clips, (N * T', ...), as (N, T', ...)."""
    return {
        name: replace(one, values=one.values.view(clips, -1, *one.values.shape[1:]))
        for name, one in maps.items()
    }


class PooledBackbone(nn.Module):
    """Convolutions with max-pooling between them, one map after each: (N, C, H / stride, W / stride).

    strides: of the maps, fine to coarse, each a multiple of the one before; embeddings are the mean of the
    last map. Inputs are zero-padded to multiples of the coarsest stride. temporal_strides: of the maps,
    each a multiple of the one before: a stage then sees the mean of so many frames, of the last ones of
    fewer where T is no multiple. Empty: each frame is seen alone.
    """

    def __init__(
        self, strides: Sequence[int], channels: Sequence[int], temporal_strides: Sequence[int] = ()
    ) -> None:
        super().__init__()
        factors = [stride // before for before, stride in pairwise((1, *strides))]
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
                nn.MaxPool2d(factor),
            )
            for inputs, outputs, factor in zip((3, *channels), channels, factors, strict=False)
        )
        self.strides, self.widths, self.embedding_dim = tuple(strides), tuple(channels), channels[-1]
        self.temporal_strides = tuple(temporal_strides)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, D); of clips (N, T, 3, H, W) the mean of the frames."""
        clips = pixels if pixels.dim() == 5 else pixels[:, None]
        return self.embed_frames(clips).mean(dim=1)

    def embed_frames(self, clips: Tensor) -> Tensor:
        """(N, T, 3, H, W) to (N, T', D)."""
        return self._maps(clips)[-1].mean(dim=(3, 4))

    def feature_maps(self, pixels: Tensor) -> dict[str, FeatureMap]:
        """(N, 3, H, W) to one map a stage, "stage0" the finest; of clips (N, T, 3, H, W) (N, T', ...)."""
        clips = pixels.dim() == 5
        maps = self._maps(pixels if clips else pixels[:, None])
        times = self.temporal_strides or (1,) * len(maps)
        return {
            name: FeatureMap(values if clips else values[:, 0], stride, time)
            for name, values, stride, time in zip(self.info.names, maps, self.strides, times, strict=True)
        }

    @property
    def info(self) -> FeatureInfo:
        """What it offers."""
        coarsest = self.strides[-1]
        grey = (0.5,) * 3
        return FeatureInfo(
            tuple(f"stage{place}" for place in range(len(self.strides))),
            self.widths,
            self.strides,
            coarsest,
            coarsest,
            grey,
            grey,
            embedding_dim=self.embedding_dim,
            temporal_strides=self.temporal_strides,
        )

    def _maps(self, clips: Tensor) -> list[Tensor]:
        """(N, T, 3, H, W) to (N, T', C, h, w) of each stage."""
        height, width = clips.shape[-2:]
        maps = [F.pad(clips, (0, -width % self.strides[-1], 0, -height % self.strides[-1]))]
        times = self.temporal_strides or (1,) * len(self.strides)
        for stage, (before, time) in zip(self.stages, pairwise((1, *times)), strict=True):
            frames = _means(maps[-1], time // before)
            maps.append(stage(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]))
        return maps[1:]


def _means(frames: Tensor, count: int) -> Tensor:
    """(N, T, ...) to the means of each `count` frames, the last of as many as are left."""
    if count == 1:
        return frames
    return torch.stack([part.mean(dim=1) for part in torch.split(frames, count, dim=1)], dim=1)


NETWORKS: Mapping[str, Callable[[int], nn.Module]] = {
    "resnet": lambda side: create_backbone("test_resnet", size=side, stem="standard"),
    "convnext": lambda side: create_backbone(
        "convnext_atto", size=side, options={"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}
    ),
    "vit": lambda side: create_backbone(
        "vit_tiny_patch16_224", size=side, options={"depth": 4, "embed_dim": 32, "num_heads": 2}
    ),
    "swin": lambda side: create_backbone(
        "swin_tiny_patch4_window7_224",
        size=side,
        options={"depths": (1, 1, 1, 1), "embed_dim": 8, "num_heads": (1, 1, 2, 2), "window_size": 4},
    ),
    "vgg": lambda side: PooledBackbone((1, 2, 4, 8, 16, 32), (8, 8, 16, 16, 32, 32)),
    "odd_stride": lambda side: PooledBackbone((3, 6, 12), (8, 16, 32)),
    "video": lambda side: PooledBackbone((4, 8, 16, 32), (8, 16, 16, 32), (1, 2, 2, 4)),
}
"""Networks of milliseconds for square inputs of a side: the families by what their maps are like.

resnet: strides 2 to 32. convnext: 4 to 32. vit: four maps of stride 16. swin: 4 to 32, channels last inside.
vgg: from stride 1 on, as VGG offers. odd_stride: 3, 6, 12. video: 4 to 32, and 1 to 4 frames.
"""
