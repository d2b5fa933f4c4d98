"""A network that looks along time, as simple as can be: each frame is mixed with the one before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslkit.contracts import ClipRows
from sslkit.errors import ModelError


class Mix(nn.Module):
    """Rows of clips to the same, each frame w * itself + (1 - w) * the one before; then every stride-th."""

    def __init__(self, rows: ClipRows, weight: float, stride: int) -> None:
        super().__init__()
        self.rows, self.stride = rows, stride
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, rows: Tensor) -> Tensor:
        clips = rows.unflatten(0, (self.rows.clips, -1))
        before = torch.cat([clips[:, :1], clips[:, :-1]], dim=1)
        mixed = self.weight * clips + (1 - self.weight) * before
        return mixed[:, :: self.stride].flatten(0, 1)


def mix(network: nn.Module, *, weight: float = 0.5, stride: int = 1) -> nn.Module:
    """The transform, of networks whose first layer is called conv1."""
    if not hasattr(network, "conv1"):
        raise ModelError(f"{type(network).__name__} has no conv1 to mix frames before; use a ResNet")
    rows = ClipRows()
    network.conv1 = nn.Sequential(Mix(rows, weight, stride), network.conv1)
    stages = len(network.feature_info)  # type: ignore[arg-type]
    network.clip_rows, network.causal = rows, True  # type: ignore[assignment]
    network.temporal_strides = (stride,) * stages  # type: ignore[assignment]
    return network
