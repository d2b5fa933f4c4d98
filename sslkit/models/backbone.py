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
from sslkit.models.stem import has_resnet_stem, make_stem_small

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
        H' = H / stride exactly. A network of fixed size gets inputs padded to that size and gives maps of it;
        raises ModelError for larger ones (`for_canvas` makes it ready for them).
        """
        info = self.info
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
        maps = _intermediates(self.network, pixels, self._taps)
        return {
            name: FeatureMap(values, stride)
            for name, values, stride in zip(info.names, maps, info.strides, strict=True)
        }

    @cached_property
    def info(self) -> FeatureInfo:
        """What this backbone offers, measured by one small forward rather than taken from a table.

        Raises ModelError for a network whose maps have no exact stride.
        """
        taps, divisor = self._taps, self.size_divisor
        side = _probe_side(divisor)
        size = self.fixed_size or (side, side + divisor)
        parameter = next(self.network.parameters())
        was_training = self.network.training
        self.network.eval()
        try:
            with torch.no_grad():
                probe = torch.zeros(1, self.channels, *size, device=parameter.device, dtype=parameter.dtype)
                maps = _intermediates(self.network, probe, taps)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ModelError(
                f"backbone '{self.architecture.name}' gives no feature maps of {_shape(size)} pixels: {error}"
            ) from error
        finally:
            self.network.train(was_training)
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
        )

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
    if size is not None and size != default_side and takes(entry, "img_size"):
        arguments.setdefault("img_size", size)
    try:
        network = timm.create_model(name, pretrained=pretrained, num_classes=0, **arguments)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise ModelError(_refusal(name, arguments, error)) from error
        raise WeightsError(
            f"pretrained weights of '{name}' could not be loaded ({error}); "
            "download them once with a network, or use backbone.pretrained=false"
        ) from error
    except (TypeError, AssertionError, ValueError) as error:
        raise ModelError(_refusal(name, arguments, error)) from error
    if stem == "auto":
        stem = "small" if size is not None and size <= SMALL_SIDE and has_resnet_stem(network) else "standard"
    if stem == "small":
        make_stem_small(network, name)
    tag = cast(dict[str, Any], network.pretrained_cfg).get("tag") or "default"
    weights = f"timm:{name}.{tag}" if pretrained else "random"
    backbone = Backbone(network, Architecture(name, stem, arguments), weights=weights)
    asked = arguments.get("output_stride", 32)
    if asked != 32 and backbone.info.strides[-1] != asked:
        raise ModelError(_refusal(name, arguments, f"its last map has stride {backbone.info.strides[-1]}"))
    return backbone


def _refusal(name: str, arguments: Mapping[str, Any], reason: object) -> str:
    told = str(reason) or "timm refuses them"
    text = f"backbone '{name}' cannot be built with options {dict(arguments)}: {told}"
    if "output_stride" in arguments:
        text += (
            "; an output_stride of 8 or 16 is known to ResNet, ResNetV2, RegNet, ConvNeXt, EfficientNet, "
            "NFNet, ReXNet, CSPNet and Xception families, such as resnet18"
        )
    return text


def takes(entry: Any, argument: str) -> bool:
    """Whether the network behind a timm entry point has this constructor argument.

    Entry points take **kwargs, so the class they return in their signature is asked.
    """
    hints = inspect.signature(entry).return_annotation
    cls = getattr(inspect.getmodule(entry), hints, None) if isinstance(hints, str) else hints
    return inspect.isclass(cls) and argument in inspect.signature(cls).parameters


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
