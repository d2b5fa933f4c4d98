"""torchvision's video networks with timm's interface, as references to compare with.

Shapes: N clips of T frames; rows are the frames of all clips, clip by clip; D embedding width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision.models import video

from sslkit.contracts import ClipRows
from sslkit.errors import ModelError, WeightsError

RESNET_STAGES = (("stem", "layer1"), ("layer2",), ("layer3",), ("layer4",))
S3D_STAGES = tuple(
    tuple(f"features.{place}" for place in range(first, stop))
    for first, stop in ((0, 1), (1, 4), (4, 7), (7, 13), (13, 16))
)
"""A stage ends where the next layer pools."""

PREVIOUS = 99999
"""timm's mark of parameters that belong to the layer before."""


def r3d_18(*, pretrained: bool = False) -> nn.Module:
    """ResNet with 3 x 3 x 3 convolutions (Tran et al. 2018, R3D); trained on Kinetics-400 at 112 pixels."""
    weights = video.R3D_18_Weights.DEFAULT
    return Staged("r3d_18", video.r3d_18, weights, pretrained, RESNET_STAGES)


def r2plus1d_18(*, pretrained: bool = False) -> nn.Module:
    """ResNet whose convolutions are split into space and time (Tran et al. 2018, R(2+1)D); 112 pixels."""
    weights = video.R2Plus1D_18_Weights.DEFAULT
    return Staged("r2plus1d_18", video.r2plus1d_18, weights, pretrained, RESNET_STAGES)


def s3d(*, pretrained: bool = False) -> nn.Module:
    """Separable 3D Inception (Xie et al. 2018, S3D); Kinetics-400 at 224 pixels; clips of 5 frames and more.

    Its last pooling leaves out a frame that has no partner: only of clips of 8, 16, ... frames does every
    frame count, and T' is T / 8.
    """
    return Staged("s3d", video.s3d, video.S3D_Weights.DEFAULT, pretrained, S3D_STAGES, minimum_frames=5)


def mvit_v1_b(*, pretrained: bool = False) -> nn.Module:
    """Multiscale vision transformer, base (Fan et al. 2021); clips of exactly 16 frames of 224 pixels."""
    return MultiscaleTokens("mvit_v1_b", video.mvit_v1_b, video.MViT_V1_B_Weights.DEFAULT, pretrained)


def mvit_v2_s(*, pretrained: bool = False) -> nn.Module:
    """Improved multiscale vision transformer, small (Li et al. 2022); clips as `mvit_v1_b` takes them."""
    return MultiscaleTokens("mvit_v2_s", video.mvit_v2_s, video.MViT_V2_S_Weights.DEFAULT, pretrained)


class TorchvisionVideo(nn.Module, ABC):
    """One of torchvision's networks, without classifier, on folded rows (N * T, C, H, W).

    Keys of its state are torchvision's behind the prefix "video.". What its maps are is measured by a forward
    of a twin without weights. An image is a clip of one frame; clips of fewer frames than `minimum_frames`
    are refused with ModelError.
    """

    causal = False

    def __init__(
        self,
        name: str,
        network: nn.Module,
        config: dict[str, Any],
        modules: Sequence[str],
        shapes: Sequence[torch.Size],
        probe: torch.Size,
    ) -> None:
        super().__init__()
        self.name, self.video, self.pretrained_cfg = name, network, config
        self.clip_rows = ClipRows()
        self.feature_info = [
            {"module": f"video.{module}", "num_chs": shape[1], "reduction": probe[3] // shape[3]}
            for module, shape in zip(modules, shapes, strict=True)
        ]
        self.temporal_strides = tuple(probe[2] // shape[2] for shape in shapes)
        self.num_features = int(shapes[-1][1])
        self.minimum_frames = 1

    @abstractmethod
    def pooled(self, clips: Tensor) -> Tensor:
        """(N, C, T, H, W) to embeddings of each last row (N, T', D)."""

    @abstractmethod
    def maps(self, clips: Tensor) -> list[Tensor]:
        """(N, C, T, H, W) to maps (N, C', T', h, w), fine to coarse."""

    def check(self, frames: int) -> None:
        """Raises ModelError where clips of so many frames are not taken."""
        if frames < self.minimum_frames:
            raise ModelError(
                f"{self.name} takes clips of at least {self.minimum_frames} frames and was given {frames} "
                "(an image is a clip of one); use longer clips, or r3d_18, which takes any length"
            )

    def forward(self, pixels: Tensor) -> Tensor:
        """Rows (N * T, C, H, W) to pooled (N * T', D)."""
        return self.pooled(self._clips(pixels)).flatten(0, 1)

    def forward_intermediates(
        self,
        pixels: Tensor,
        indices: Sequence[int] | None = None,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """As timm's: rows (N * T, C, H, W) to maps (N * T', C', h, w), after the last one where asked for."""
        if output_fmt != "NCHW":
            raise ModelError(f"{self.name} gives maps as NCHW and was asked for {output_fmt}")
        maps = [values.transpose(1, 2).flatten(0, 1) for values in self.maps(self._clips(pixels))]
        chosen = [maps[place] for place in (range(len(maps)) if indices is None else indices)]
        return chosen if intermediates_only else (maps[-1], chosen)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """timm's grouping of layers: the stem, then blocks; a norm at the end belongs to the last of them."""
        inner = r"^video\.layer(\d+)" if coarse else r"^video\.layer(\d+)\.(\d+)"
        return {
            "stem": r"^video\.(?:stem|conv_proj|pos_encoding)",
            "blocks": [
                (inner, None),
                (r"^video\.(?:features|blocks)\.(\d+)", None),
                (r"^video\.norm", (PREVIOUS,)),
            ],
        }

    def _clips(self, pixels: Tensor) -> Tensor:
        clips = pixels.view(self.clip_rows.clips, -1, *pixels.shape[1:]).transpose(1, 2)
        self.check(clips.shape[2])
        return clips


class Staged(TorchvisionVideo):
    """A convolutional network of torchvision: its stages one after another."""

    def __init__(
        self,
        name: str,
        build: Callable[..., nn.Module],
        weights: Any,
        pretrained: bool,
        stages: Sequence[Sequence[str]],
        *,
        minimum_frames: int = 1,
    ) -> None:
        with torch.device("meta"):
            probe = torch.empty(1, 3, 16, 64, 64)
            shapes = [values.shape for values in run_stages(build(), stages, probe)]
        network = built(name, build, weights if pretrained else None)
        last = "fc" if hasattr(network, "fc") else "classifier"
        setattr(network, last, nn.Identity())
        modules = [stage[-1] for stage in stages]
        super().__init__(name, network, described(weights, fixed=None), modules, shapes, probe.shape)
        self.stages = tuple(stages)
        self.minimum_frames = minimum_frames

    def maps(self, clips: Tensor) -> list[Tensor]:
        """What each stage gives."""
        return run_stages(self.video, self.stages, clips)

    def pooled(self, clips: Tensor) -> Tensor:
        """The last map, averaged over its cells."""
        return self.maps(clips)[-1].mean(dim=(-2, -1)).transpose(1, 2)


class MultiscaleTokens(TorchvisionVideo):
    """A multiscale vision transformer of torchvision: maps are the tokens at the end of each resolution.

    Its embedding is the class token, which stands for the whole clip: every row of a clip is the same.
    """

    def __init__(self, name: str, build: Callable[..., nn.Module], weights: Any, pretrained: bool) -> None:
        network: Any = built(name, build, weights if pretrained else None)
        network.head = nn.Identity()
        table, (time, step, _) = network.pos_encoding, network.conv_proj.stride
        frames, side = table.temporal_size * time, table.spatial_size[0] * step
        with torch.device("meta"):
            probe = torch.empty(1, 3, frames, side, side)
            shapes = [values.shape for values in token_maps(build(), probe)[1]]
        modules = [f"blocks.{place}" for place in resolution_ends(network)]
        super().__init__(name, network, described(weights, fixed=side), modules, shapes, probe.shape)
        self.minimum_frames = frames

    def check(self, frames: int) -> None:
        """Any other number of frames is refused: its table of positions has one for each."""
        if frames != self.minimum_frames:
            raise ModelError(
                f"{self.name} takes clips of exactly {self.minimum_frames} frames and was given {frames} (an "
                "image is a clip of one); use clips of that length, or r3d_18, which takes any length"
            )

    def maps(self, clips: Tensor) -> list[Tensor]:
        """The tokens of places, without the class token."""
        return token_maps(self.video, clips)[1]

    def pooled(self, clips: Tensor) -> Tensor:
        """The class token, once for every row of the last map."""
        tokens, maps = token_maps(self.video, clips)
        token: Tensor = cast(Any, self.video).norm(tokens)[:, :1]
        return token.expand(-1, maps[-1].shape[2], -1)


def run_stages(network: nn.Module, stages: Sequence[Sequence[str]], clips: Tensor) -> list[Tensor]:
    """(N, C, T, H, W) through the layers of each stage in turn; what each stage ends with."""
    maps: list[Tensor] = []
    for stage in stages:
        for layer in stage:
            clips = network.get_submodule(layer)(clips)
        maps.append(clips)
    return maps


def resolution_ends(network: nn.Module) -> list[int]:
    """The last block before each that pools its queries, and the last of all."""
    blocks = cast(Any, network).blocks
    pooling = [place for place, block in enumerate(blocks) if place and block.pool_skip is not None]
    return [place - 1 for place in pooling] + [len(blocks) - 1]


def token_maps(network: Any, clips: Tensor) -> tuple[Tensor, list[Tensor]]:
    """All tokens (N, 1 + T' * h * w, D) of the last block, and the maps (N, C', T', h, w)."""
    tokens = network.pos_encoding(network.conv_proj(clips).flatten(2).transpose(1, 2))
    cells = (network.pos_encoding.temporal_size, *network.pos_encoding.spatial_size)
    ends, maps = set(resolution_ends(network)), []
    for place, block in enumerate(network.blocks):
        tokens, cells = block(tokens, cells)
        if place in ends:
            maps.append(tokens[:, 1:].transpose(1, 2).unflatten(2, cells))
    return tokens, maps


def built(name: str, build: Callable[..., nn.Module], weights: Any) -> nn.Module:
    """torchvision's network, with weights unless None; raises WeightsError when they cannot be had."""
    try:
        return build(weights=weights, progress=False)
    except (OSError, RuntimeError) as error:
        if weights is None:
            raise
        raise WeightsError(
            f"pretrained weights of '{name}' could not be loaded ({error}); "
            "download them once with a network, or use backbone.pretrained=false"
        ) from error


def described(weights: Any, *, fixed: int | None) -> dict[str, Any]:
    """What timm calls a pretrained_cfg: the normalisation and size that torchvision's weights expect."""
    preset = weights.transforms()
    side = fixed or preset.crop_size[0]
    return {
        "mean": tuple(preset.mean),
        "std": tuple(preset.std),
        "input_size": (3, side, side),
        "fixed_input_size": fixed is not None,
        "tag": "kinetics400",
    }
