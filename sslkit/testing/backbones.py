"""Backbones small enough for tests of milliseconds, with everything real ones have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import FeatureInfo, FeatureMap
from sslkit.models.backbone import create_backbone


class TinyBackbone(nn.Module):
    """Two strided convolutions with BatchNorm: embeddings (N, 16), maps at strides 2 and 4.

    seed: its weights are a function of it.
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
        """(N, 3, H, W) to (N, 16)."""
        embedding: Tensor = self.second(self.first(pixels)).mean(dim=(2, 3))
        return embedding

    def feature_maps(self, pixels: Tensor) -> dict[str, FeatureMap]:
        """(N, 3, H, W), sides multiples of 4, to "first" (N, 8, H/2, W/2), "second" (N, 16, H/4, W/4)."""
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


class PooledBackbone(nn.Module):
    """Convolutions with max-pooling between them, one map after each: (N, C, H / stride, W / stride).

    strides: of the maps, fine to coarse, each a multiple of the one before; embeddings are the mean of the
    last map. Inputs are zero-padded to multiples of the coarsest stride.
    """

    def __init__(self, strides: Sequence[int], channels: Sequence[int]) -> None:
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

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, D); of clips (N, T, 3, H, W) the mean of the frames."""
        if pixels.dim() == 5:
            frames: Tensor = self(pixels.flatten(0, 1))
            return frames.view(*pixels.shape[:2], -1).mean(dim=1)
        return self._maps(pixels)[-1].mean(dim=(2, 3))

    def feature_maps(self, pixels: Tensor) -> dict[str, FeatureMap]:
        """(N, 3, H, W) to one map a stage, "stage0" the finest."""
        maps = zip(self.info.names, self._maps(pixels), self.strides, strict=True)
        return {name: FeatureMap(values, stride) for name, values, stride in maps}

    @property
    def info(self) -> FeatureInfo:
        """What it offers."""
        coarsest = self.strides[-1]
        names = tuple(f"stage{place}" for place in range(len(self.strides)))
        grey = (0.5,) * 3
        return FeatureInfo(
            names, self.widths, self.strides, coarsest, coarsest, grey, grey, embedding_dim=self.embedding_dim
        )

    def _maps(self, pixels: Tensor) -> list[Tensor]:
        height, width = pixels.shape[-2:]
        maps = [F.pad(pixels, (0, -width % self.strides[-1], 0, -height % self.strides[-1]))]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


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
}
"""Networks of milliseconds for square inputs of a side: the families by what their maps are like.

resnet: strides 2 to 32. convnext: 4 to 32. vit: four maps of stride 16. swin: 4 to 32, channels last inside.
vgg: from stride 1 on, as VGG offers. odd_stride: 3, 6, 12.
"""
