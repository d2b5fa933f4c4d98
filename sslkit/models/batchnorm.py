"""BatchNorm over the rows of all ranks, so that N ranks normalise as one rank with the global batch."""

from __future__ import annotations

import torch
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslkit.distributed import summed
from sslkit.errors import ModelError


def synchronize_batchnorm(module: nn.Module, device: torch.device) -> nn.Module:
    """Make every BatchNorm inside `module` use the statistics of all ranks; state-dict keys stay the same.

    On GPUs torch's own kernel does it. torch has none for CPUs, so there the layers of this file do.
    Raises ModelError for a BatchNorm type without a synchronised twin.
    """
    if device.type == "cuda":
        converted: nn.Module = convert_sync_batchnorm(module)
        return converted
    for name, layer in module.named_modules():
        if not isinstance(layer, _BatchNorm):
            continue
        twin = _TWINS.get(type(layer))
        if twin is None:
            raise ModelError(
                f"layer '{name}' of type {type(layer).__name__} has no synchronised form on the CPU"
            )
        layer.__class__ = twin  # keeps parameters, buffers, hooks and whoever holds the layer
    return module


class _SynchronizedBatchNorm(_BatchNorm):
    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ModelError(f"BatchNorm expects (N, C, ...), not {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        return self._normalized(input)

    def _normalized(self, rows: Tensor) -> Tensor:
        self._check_input_dim(rows)
        dims = [0, *range(2, rows.dim())]
        shape = [1, -1] + [1] * (rows.dim() - 2)
        exact = rows.to(torch.promote_types(rows.dtype, torch.float32))
        # Two passes: the variance about the mean, not a difference of large numbers.
        count = summed(exact.new_tensor(float(rows.numel() // max(rows.shape[1], 1))))
        mean = summed(exact.sum(dims)) / count
        centred = exact - mean.view(shape)
        variance = summed(centred.square().sum(dims)) / count
        self._update_running(mean.detach(), variance.detach(), count)
        normal = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(rows.dtype)

    @torch.no_grad()
    def _update_running(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if not self.track_running_stats:
            return
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / (count - 1.0), momentum)


class _SynchronizedBatchNormAct(_SynchronizedBatchNorm):
    """The twin of timm's BatchNorm that carries its dropout and activation."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        activated: Tensor = self.act(self.drop(super().forward(input)))
        return activated


_TWINS: dict[type[nn.Module], type[_BatchNorm]] = {
    nn.BatchNorm1d: _SynchronizedBatchNorm,
    nn.BatchNorm2d: _SynchronizedBatchNorm,
    nn.BatchNorm3d: _SynchronizedBatchNorm,
    BatchNormAct2d: _SynchronizedBatchNormAct,
}
