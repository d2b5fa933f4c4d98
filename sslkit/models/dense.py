"""A probe of the embedding slid over the image: fully connected layers as convolutions, weights kept."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from sslkit.contracts import FeatureMap
from sslkit.errors import ModelError
from sslkit.models.backbone import Backbone

TOLERANCE = 1e-3
"""How far, as a share of its length, the mean of the cells may lie from the embedding."""

_AFTER_POOLING = ("head", "fc_norm", "norm_head", "global_pool", "conv_head", "attn_pool")


def as_convolution(
    weight: Tensor, bias: Tensor | None = None, *, kernel: tuple[int, int] = (1, 1)
) -> nn.Conv2d:
    """A fully connected layer on a flattened map (C, *kernel) as a convolution over a larger one.

    weight: (K, C kh kw), as nn.Linear has it; bias: (K,). Its output at (i, j) is the layer's on the window
    that begins there (Sermanet et al. 2014, OverFeat; Long et al. 2015, section 3.1). Raises ModelError where
    the columns are no multiple of the kernel's cells.
    """
    rows, columns = weight.shape
    area = kernel[0] * kernel[1]
    if columns % area:
        raise ModelError(
            f"a layer of {columns} inputs cannot slide as a convolution of {kernel[0]}x{kernel[1]}: "
            f"{columns} is no multiple of {area}"
        )
    convolution = nn.Conv2d(columns // area, rows, kernel, bias=bias is not None)
    convolution.to(device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        convolution.weight.copy_(weight.view(rows, -1, *kernel))
        if bias is not None and convolution.bias is not None:
            convolution.bias.copy_(bias)
    return convolution


class DenseProbe(nn.Module):
    """A backbone and a 1x1 convolution in place of pooling and a linear probe; see `dense_probe`."""

    def __init__(self, backbone: Backbone, probe: nn.Conv2d, stride: int) -> None:
        super().__init__()
        self.backbone, self.probe, self.stride = backbone, probe, stride

    def forward(self, pixels: Tensor) -> FeatureMap:
        """Normalised pixels (N, C, H, W) to logits (N, K, h, w), whose mean over cells is the probe's."""
        return FeatureMap(self.probe(unpooled(self.backbone, pixels)), self.stride)


def dense_probe(
    backbone: Backbone,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    size: tuple[int, int] | None = None,
) -> DenseProbe:
    """The linear probe `weight` (K, D), `bias` (K,) on the embedding, as logits of each cell of the last map.

    It is exact because the embedding is the mean of the cells, so the mean of the logits is the logits of the
    mean; that is checked by a forward at `size` (height, width), that of the probe's images (None: timm's for
    this network). VGG's layers after the last map are convolutions of 7x7 and slide too: its cell (i, j) sees
    the window that begins there. Raises ModelError, with the reason, where pooling is no mean or something
    stands between pooling and embedding.
    """
    if weight.shape[1] != backbone.embedding_dim:
        raise ModelError(
            f"a probe of {weight.shape[1]} inputs does not fit backbone '{backbone.architecture.name}', "
            f"whose embedding has {backbone.embedding_dim}"
        )
    config: dict[str, Any] = backbone.network.pretrained_cfg  # type: ignore[assignment]
    height, width = size or backbone.fixed_size or config["input_size"][1:]
    first = next(backbone.parameters())
    noise = torch.randn(2, backbone.channels, height, width, generator=torch.Generator().manual_seed(0))
    pixels = noise.to(first)
    was_training = backbone.training
    backbone.eval()
    with torch.no_grad():
        embedding, cells = backbone(pixels), unpooled(backbone, pixels)
    backbone.train(was_training)
    if cells.shape[1] != embedding.shape[1]:
        raise ModelError(
            f"{_cannot(backbone)}: the last map has {cells.shape[1]} channels and the embedding "
            f"{embedding.shape[1]}; layers widen it after pooling{_layers(backbone)}"
        )
    apart = (cells.mean(dim=(2, 3)) - embedding).norm() / embedding.norm().clamp(min=1e-12)
    if not apart <= TOLERANCE:
        raise ModelError(
            f"{_cannot(backbone)}: the mean of the last map is {float(apart):.2g} of the embedding's length "
            f"away from it; pooling is no mean, or something stands after it{_layers(backbone)}. Backbones "
            "whose embedding is a mean: ResNet, RegNet, EfficientNet, DenseNet, Swin; of ConvNeXt with "
            "options head_norm_first=true, of ViT with global_pool=avg and fc_norm=false"
        )
    stride = backbone.info.strides[-1]
    return DenseProbe(backbone, as_convolution(weight, bias), stride)


def unpooled(backbone: Backbone, pixels: Tensor) -> Tensor:
    """What the network pools, (N, D, h, w); raises ModelError for one whose features are no map."""
    network: Any = backbone.network
    features: Tensor = network.forward_features(pixels)
    if features.dim() == 3:
        features = _grid(backbone, features, pixels.shape[-2:])
    elif features.dim() == 4 and features.shape[-1] == network.num_features != features.shape[1]:
        features = features.permute(0, 3, 1, 2)
    if features.dim() != 4:
        raise ModelError(f"{_cannot(backbone)}: its features have shape {tuple(features.shape)}, no map")
    between = getattr(network, "pre_logits", None)
    if isinstance(between, nn.Module):  # VGG's fully connected layers, already convolutions in timm
        features = between(features)
    return features


def _grid(backbone: Backbone, tokens: Tensor, shape: torch.Size) -> Tensor:
    """Tokens (N, L, D) without those of no place to (N, D, h, w)."""
    network: Any = backbone.network
    stride = backbone.info.strides[-1]
    rows, columns = math.ceil(shape[0] / stride), math.ceil(shape[1] / stride)
    placed: Tensor = tokens[:, getattr(network, "num_prefix_tokens", 0) :]
    if placed.shape[1] != rows * columns:
        raise ModelError(f"{_cannot(backbone)}: {placed.shape[1]} tokens are no grid of {rows}x{columns}")
    return placed.transpose(1, 2).reshape(len(placed), -1, rows, columns)


def _cannot(backbone: Backbone) -> str:
    return f"a probe of backbone '{backbone.architecture.name}' cannot be evaluated densely"


def _layers(backbone: Backbone) -> str:
    """What a person would look at: how it pools, and layers that may stand after pooling."""
    network = backbone.network
    pool = getattr(network, "global_pool", None)
    told = [f"global_pool={pool}"] if isinstance(pool, str) else []
    told += [
        f"{name} ({type(part).__name__})"
        for name, part in network.named_modules()
        if name.split(".")[0] in _AFTER_POOLING
        and not isinstance(part, nn.Identity | nn.Dropout)
        and not list(part.children())
    ]
    return f" ({', '.join(told)})" if told else ""
