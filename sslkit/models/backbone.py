"""Any timm network as a backbone: an embedding, feature maps, and exact knowledge of both."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import ClipRows, FeatureInfo, FeatureMap
from sslkit.errors import ModelError
from sslkit.models.architecture import Architecture
from sslkit.models.modes import evaluating


class Backbone(nn.Module):
    """A timm network without classifier, or one with the same interface.

    `forward`: normalised pixels (N, C, H, W) or clips (N, T, C, H, W) to pooled embeddings (N, D).
    `feature_maps`: the same network's intermediate maps, so that one set of weights serves both. A network
    sees each frame of a clip alone, unless it is a `VideoNetwork`, to which an image is a clip of one frame.
    State-dict keys are those of the timm model behind the prefix "network.".
    """

    def __init__(self, network: nn.Module, architecture: Architecture, *, weights: str = "random") -> None:
        super().__init__()
        self.network = network
        self.architecture = architecture
        self.weights = weights
        self.loaded_fraction = 0.0 if weights == "random" else 1.0
        self.embedding_dim = int(network.num_features)  # type: ignore[arg-type]
        head_width = getattr(network, "head_hidden_size", None)  # e.g. MobileNetV3 widens after pooling
        if isinstance(head_width, int):
            self.embedding_dim = head_width

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (N, C, H, W), or of clips (N, T, C, H, W), to embeddings (N, D).

        The embedding of a clip is the mean of its frames'.
        """
        if pixels.dim() == 5:
            return self.embed_frames(pixels).mean(dim=1)
        with self._clips(len(pixels)):
            embedding: Tensor = self.network(pixels)
        return embedding

    def embed_frames(self, clips: Tensor) -> Tensor:
        """Normalised pixels (N, T, C, H, W) to embeddings (N, T', D), one each temporal stride."""
        with self._clips(len(clips)):
            frames: Tensor = self.network(clips.flatten(0, 1))
        return frames.view(len(clips), len(frames) // len(clips), frames.shape[-1])

    @contextmanager
    def _clips(self, count: int) -> Iterator[None]:
        """While it runs, the rows are the frames of so many clips."""
        rows: ClipRows | None = getattr(self.network, "clip_rows", None)
        if rows is None:
            yield
            return
        before, rows.clips = rows.clips, count
        try:
            yield
        finally:
            rows.clips = before

    def feature_maps(self, pixels: Tensor) -> dict[str, FeatureMap]:
        """Normalised pixels (N, C, H, W) to named maps (N, C', H', W'), fine to coarse.

        Of clips (N, T, C, H, W) they are (N, T', C', H', W'), T' = T / temporal stride rounded up. The input
        is zero-padded at the bottom and right to multiples of `info.size_divisor`, then H' = H / stride
        exactly. A network of fixed size gets inputs padded to that size and gives maps of it; raises
        ModelError for larger ones (`for_canvas` makes it ready for them).
        """
        info = self.info
        count = len(pixels)
        clips = pixels.dim() == 5
        if clips:
            pixels = pixels.flatten(0, 1)
        height, width = pixels.shape[-2:]
        down, right = (-height) % info.size_divisor, (-width) % info.size_divisor
        if self.fixed_size is not None:
            down, right = self.fixed_size[0] - height, self.fixed_size[1] - width
            if down < 0 or right < 0:
                raise ModelError(
                    f"backbone '{self.architecture.name}' takes {_shape(self.fixed_size)} pixels and was "
                    f"given {height}x{width}; for_canvas(backbone, ({height}, {width})) makes it fit"
                )
        if down or right:
            pixels = F.pad(pixels, (0, right, 0, down))
        with self._clips(count):
            maps = _intermediates(self.network, pixels, self._taps)
        if clips:
            maps = [values.view(count, len(values) // count, *values.shape[1:]) for values in maps]
        times = info.temporal_strides or (1,) * len(maps)
        described = zip(info.names, maps, info.strides, times, strict=True)
        return {name: FeatureMap(values, stride, time) for name, values, stride, time in described}

    @cached_property
    def info(self) -> FeatureInfo:
        """What this backbone offers, measured by one small forward rather than taken from a table.

        Raises ModelError for a network whose maps have no exact stride.
        """
        taps, divisor = self._taps, self.size_divisor
        side = _probe_side(divisor)
        size = self.fixed_size or (side, side + divisor)
        parameter = next(self.network.parameters())
        try:
            with evaluating(self.network), torch.no_grad(), self._clips(1):
                frames = getattr(self.network, "minimum_frames", 1)
                shape = (frames, self.channels, *size)
                probe = torch.zeros(shape, device=parameter.device, dtype=parameter.dtype)
                maps = _intermediates(self.network, probe, taps)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ModelError(
                f"backbone '{self.architecture.name}' gives no feature maps of {_shape(size)} pixels: {error}"
            ) from error
        return FeatureInfo(
            names=_distinct([str(self._stages[tap]["module"]) for tap in taps]),
            channels=tuple(m.shape[1] for m in maps),
            strides=tuple(self._exact_stride(tap, m, size) for tap, m in zip(taps, maps, strict=True)),
            size_divisor=divisor,
            minimum_side=min(self.fixed_size) if self.fixed_size else divisor,
            mean=self.mean,
            std=self.std,
            weights=self.weights,
            loaded_fraction=self.loaded_fraction,
            embedding_dim=self.embedding_dim,
            temporal_strides=self._temporal_strides,
        )

    @property
    def _temporal_strides(self) -> tuple[int, ...]:
        of_stages: Sequence[int] = getattr(self.network, "temporal_strides", ())
        return tuple(of_stages[tap] for tap in self._taps) if of_stages else ()

    def _exact_stride(self, tap: int, values: Tensor, size: tuple[int, int]) -> int:
        """The stride of a map of an input of this size, rounded up where the size is fixed."""
        cells = tuple(values.shape[-2:])
        if self.fixed_size is not None:
            stride = int(self._stages[tap]["reduction"])
            fits = cells == (math.ceil(size[0] / stride), math.ceil(size[1] / stride))
        else:
            stride = size[0] // cells[0]
            fits = (cells[0] * stride, cells[1] * stride) == size
        if not fits:
            raise ModelError(
                f"backbone '{self.architecture.name}' gives a map of {_shape(cells)} cells of {_shape(size)} "
                "pixels: no exact stride (its convolutions do not pad, or it resizes its input); use it for "
                "embeddings, or choose another for feature maps"
            )
        return stride

    @cached_property
    def _taps(self) -> tuple[int, ...]:
        if not hasattr(self.network, "forward_intermediates"):
            raise ModelError(
                f"backbone '{self.architecture.name}' offers embeddings only: its timm class "
                f"{type(self.network).__name__} has no forward_intermediates; for feature maps choose another"
            )
        count = len(self._stages)
        if len({stage["reduction"] for stage in self._stages}) > 1 or count <= 4:
            return tuple(range(count))
        # One stride throughout, as in a ViT: four depths evenly spaced, the last block among them.
        return tuple(count * (i + 1) // 4 - 1 for i in range(4))

    @property
    def size_divisor(self) -> int:
        """Sides of the input must be its multiples for every map to have whole cells; feature_maps pads."""
        return math.lcm(*(int(self._stages[tap]["reduction"]) for tap in self._taps))

    @property
    def _stages(self) -> list[dict[str, Any]]:
        """timm's description of each stage: module, num_chs, reduction."""
        return cast(list[dict[str, Any]], self.network.feature_info)

    @property
    def _config(self) -> dict[str, Any]:
        return cast(dict[str, Any], self.network.pretrained_cfg)

    @property
    def mean(self) -> tuple[float, ...]:
        """Channel means of the pixels in [0, 1] it expects to be subtracted."""
        return self._per_channel(self._config["mean"])

    @property
    def std(self) -> tuple[float, ...]:
        """Channel deviations of the pixels in [0, 1] it expects to be divided by."""
        return self._per_channel(self._config["std"])

    @property
    def channels(self) -> int:
        """Channels of the pixels it takes."""
        return int(self.architecture.options.get("in_chans", 3))

    def _per_channel(self, values: Sequence[float]) -> tuple[float, ...]:
        """timm describes three channels whatever the network takes; others get the average."""
        if len(values) == self.channels:
            return tuple(values)
        return (sum(values) / len(values),) * self.channels

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The only (height, width) that a network with tables of positions or windows takes, else None."""
        embed = getattr(self.network, "patch_embed", None)
        strict = getattr(embed, "strict_img_size", None)
        options = self.architecture.options
        if strict is False or options.get("dynamic_img_size") or options.get("strict_img_size") is False:
            return None
        if strict is None and not self._config.get("fixed_input_size", False):
            return None
        size = getattr(embed, "img_size", None) or options.get("img_size") or self._config["input_size"][1:]
        return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _intermediates(network: nn.Module, pixels: Tensor, taps: Sequence[int]) -> list[Tensor]:
    maps: list[Tensor] = network.forward_intermediates(  # type: ignore[operator]
        pixels, indices=list(taps), output_fmt="NCHW", intermediates_only=True
    )
    return maps


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Some networks have one name for all their stages; those get a number."""
    if len(set(names)) == len(names):
        return tuple(names)
    return tuple(f"{name}.{place}" for place, name in enumerate(names))


def _shape(size: Sequence[int]) -> str:
    return f"{size[0]}x{size[1]}"


def _probe_side(divisor: int) -> int:
    """Large enough that no map of the probe shrinks to nothing, a multiple of the divisor."""
    return divisor * max(2, math.ceil(64 / divisor))
