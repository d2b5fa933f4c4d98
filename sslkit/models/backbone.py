"""Any timm network as a backbone: an embedding, feature maps, and exact knowledge of both."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import FeatureInfo, FeatureMap
from sslkit.errors import ModelError, UnknownNameError, WeightsError

SMALL_SIDE = 64
"""Up to this input side `stem="auto"` means the small stem."""


@dataclass(frozen=True)
class Architecture:
    """All it takes to build the same network again: the timm name and what was changed about it.

    stem: "standard", or "small" for inputs up to 64 pixels (first stride 1, no pooling).
    options: further keyword arguments of `timm.create_model`.
    """

    name: str
    stem: str = "standard"
    options: Mapping[str, Any] = field(default_factory=dict)


class Backbone(nn.Module):
    """A timm network without classifier.

    `forward`: normalised pixels (N, C, H, W) or clips (N, T, C, H, W) to pooled embeddings (N, D).
    `feature_maps`: the same network's intermediate maps, so that one set of weights serves both. State-dict
    keys are those of the timm model behind the prefix "network.".
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
            frames: Tensor = self.network(pixels.flatten(0, 1))
            return frames.view(*pixels.shape[:2], -1).mean(dim=1)
        embedding: Tensor = self.network(pixels)
        return embedding

    def feature_maps(self, pixels: Tensor) -> dict[str, FeatureMap]:
        """Normalised pixels (N, C, H, W) to named maps (N, C', H', W'), fine to coarse.

        The input is zero-padded at the bottom and right to multiples of `info.size_divisor`, then
        H' = H / stride exactly.
        """
        info = self.info
        height, width = pixels.shape[-2:]
        down, right = (-height) % info.size_divisor, (-width) % info.size_divisor
        if down or right:
            pixels = F.pad(pixels, (0, right, 0, down))
        maps = _intermediates(self.network, pixels, self._taps)
        return {
            name: FeatureMap(values, stride)
            for name, values, stride in zip(info.names, maps, info.strides, strict=True)
        }

    @cached_property
    def info(self) -> FeatureInfo:
        """What this backbone offers, measured by one small forward rather than taken from a table."""
        taps, divisor = self._taps, self._size_divisor
        side = self._fixed_side or _probe_side(divisor)
        parameter = next(self.network.parameters())
        was_training = self.network.training
        self.network.eval()
        with torch.no_grad():
            probe = torch.zeros(1, self.channels, side, side, device=parameter.device, dtype=parameter.dtype)
            maps = _intermediates(self.network, probe, taps)
        self.network.train(was_training)
        return FeatureInfo(
            names=tuple(str(self._stages[tap]["module"]) for tap in taps),
            channels=tuple(m.shape[1] for m in maps),
            strides=tuple(side // m.shape[-1] for m in maps),
            size_divisor=divisor,
            minimum_side=self._fixed_side or divisor,
            mean=self.mean,
            std=self.std,
            weights=self.weights,
            loaded_fraction=self.loaded_fraction,
        )

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
    def _size_divisor(self) -> int:
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
    def _fixed_side(self) -> int | None:
        """The only input side a network with absolute position or window tables accepts, else None."""
        embed = getattr(self.network, "patch_embed", None)
        if embed is None or not getattr(embed, "strict_img_size", False):
            return None
        size = getattr(embed, "img_size", None)
        return int(size[0]) if size else None


def create_backbone(
    name: str,
    *,
    size: int | None = None,
    stem: str = "auto",
    pretrained: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Backbone:
    """Build a backbone by timm name for inputs of side `size` (None: the family's own).

    stem: "standard", "small" or "auto" (small up to 64 pixels where the family has one). options: keyword
    arguments of `timm.create_model`. Raises UnknownNameError, ModelError, or WeightsError when pretrained
    weights cannot be had.
    """
    if stem not in ("auto", "standard", "small"):
        raise ModelError(f"stem '{stem}' is not one of auto, standard, small")
    if not timm.is_model(name):
        raise UnknownNameError("backbone", name, timm.list_models(), "(any timm model name works)")
    arguments = dict(options or {})
    entry = timm.models.model_entrypoint(name)
    default_side = timm.get_pretrained_cfg(name).input_size[-1]
    if size is not None and size != default_side and _takes(entry, "img_size"):
        arguments.setdefault("img_size", size)
    try:
        network = timm.create_model(name, pretrained=pretrained, num_classes=0, **arguments)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise ModelError(
                f"backbone '{name}' cannot be built with options {arguments}: {error}"
            ) from error
        raise WeightsError(
            f"pretrained weights of '{name}' could not be loaded ({error}); "
            "download them once with a network, or use backbone.pretrained=false"
        ) from error
    except (TypeError, AssertionError, ValueError) as error:
        raise ModelError(f"backbone '{name}' cannot be built with options {arguments}: {error}") from error
    if stem == "auto":
        stem = (
            "small" if size is not None and size <= SMALL_SIDE and _has_resnet_stem(network) else "standard"
        )
    if stem == "small":
        _make_stem_small(network, name)
    tag = cast(dict[str, Any], network.pretrained_cfg).get("tag") or "default"
    weights = f"timm:{name}.{tag}" if pretrained else "random"
    return Backbone(network, Architecture(name, stem, arguments), weights=weights)


def _takes(entry: Any, argument: str) -> bool:
    """Whether the network behind a timm entry point has this constructor argument.

    Entry points take **kwargs, so the class they return in their signature is asked.
    """
    hints = inspect.signature(entry).return_annotation
    cls = getattr(inspect.getmodule(entry), hints, None) if isinstance(hints, str) else hints
    return inspect.isclass(cls) and argument in inspect.signature(cls).parameters


def _has_resnet_stem(network: nn.Module) -> bool:
    return isinstance(getattr(network, "conv1", None), nn.Conv2d | nn.Sequential) and hasattr(
        network, "maxpool"
    )


def _make_stem_small(network: nn.Module, name: str) -> None:
    """The CIFAR stem of SimCLR (Chen et al. 2020, appendix B.9): 3x3 stride-1 convolution, no pooling."""
    if not _has_resnet_stem(network):
        raise ModelError(
            f"backbone '{name}' has no ResNet stem to make small; use stem=standard with a smaller patch, "
            "e.g. backbone.options.patch_size=4 for ViT or 2 for ConvNeXt"
        )
    first = network.conv1[0] if isinstance(network.conv1, nn.Sequential) else network.conv1
    assert isinstance(first, nn.Conv2d)
    if first.kernel_size == (3, 3):  # the deep stems of ResNet-C/D/T: the weights keep their shape
        first.stride = (1, 1)
    else:
        network.conv1 = nn.Conv2d(first.in_channels, first.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    for stage in cast(list[dict[str, Any]], network.feature_info):
        stage["reduction"] //= 2 if stage["module"] == "act1" else 4


def _intermediates(network: nn.Module, pixels: Tensor, taps: Sequence[int]) -> list[Tensor]:
    maps: list[Tensor] = network.forward_intermediates(  # type: ignore[operator]
        pixels, indices=list(taps), output_fmt="NCHW", intermediates_only=True
    )
    return maps


def _probe_side(divisor: int) -> int:
    """Large enough that no map of the probe shrinks to nothing, a multiple of the divisor."""
    return divisor * max(2, math.ceil(64 / divisor))
