"""Weights laid out in memory as convolutions of images and of clips read them fastest."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Laid = TypeVar("Laid", bound=nn.Module)

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def lay_out(module: Laid, *, channels_last: bool) -> Laid:
    """The same module, its 4-D and 5-D parameters and buffers with the channels last, or contiguous.

    `nn.Module.to` knows one format for all and fails where weights of both kinds are.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.dim() in _CHANNELS_LAST:
            wanted = _CHANNELS_LAST[tensor.dim()] if channels_last else torch.contiguous_format
            tensor.data = tensor.data.contiguous(memory_format=wanted)
    return module
