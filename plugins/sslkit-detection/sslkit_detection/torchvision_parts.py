"""What torchvision's detectors want of their surroundings."""

from __future__ import annotations

from torch import nn

from sslkit.errors import ConfigError


class NoBackbone(nn.Module):
    """Stands where a torchvision detector expects its backbone; maps come from elsewhere."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = channels


def group_norm(channels: int) -> nn.GroupNorm:
    """32 groups as Wu and He 2018, fewer for narrow maps so that a group keeps at least 8 channels."""
    if channels % 8:
        raise ConfigError(f"channels={channels} must be a multiple of 8; the papers' is 256")
    groups = min(32, channels // 8)
    return nn.GroupNorm(groups if channels % groups == 0 else 8, channels)
