"""The small stem for images of a few dozen pixels."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from sslkit.errors import ModelError


def has_resnet_stem(network: nn.Module) -> bool:
    """Whether a network begins as a ResNet does: `conv1`, then `maxpool`."""
    return isinstance(getattr(network, "conv1", None), nn.Conv2d | nn.Sequential) and hasattr(
        network, "maxpool"
    )


def make_stem_small(network: nn.Module, name: str) -> None:
    """The CIFAR stem of SimCLR (Chen et al. 2020, appendix B.9): 3x3 stride-1 convolution, no pooling.

    Raises ModelError for a network without a ResNet stem.
    """
    if not has_resnet_stem(network):
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
