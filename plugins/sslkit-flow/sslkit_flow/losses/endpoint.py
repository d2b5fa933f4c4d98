"""How far flow is from what it should be, in pixels. Shapes: N pairs, H x W pixels of the canvas."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslkit.contracts import FlowField


def endpoint_error(vectors: Tensor, truth: Tensor) -> Tensor:
    """The distance between vectors (N, 2, ...), (N, ...) in their unit.

    Its gradient is zero, not infinite, where both are the same.
    """
    distance: Tensor = torch.linalg.vector_norm(vectors - truth, dim=1)
    return distance


def mean_where(values: Tensor, known: Tensor) -> Tensor:
    """The mean of values (N, ...) where `known` (bool, the same shape); 0, with a gradient, where nothing is.

    What is not known may be of any value, infinite too.
    """
    kept = torch.where(known, values, values.new_zeros(()))
    return kept.sum() / known.sum().clamp(min=1)


def stacked(targets: Sequence[FlowField], device: torch.device) -> tuple[Tensor, Tensor]:
    """Targets of one canvas as vectors float (N, 2, H, W), 0 where unknown, and whether known (N, H, W).

    A vector that is not finite is not known.
    """
    vectors = torch.stack([target.vectors for target in targets]).to(device, torch.float32)
    known = vectors.isfinite().all(dim=1)
    for row, target in zip(known, targets, strict=True):
        if target.valid is not None:
            row &= target.valid.to(device)
    return torch.where(known[:, None], vectors, vectors.new_zeros(())), known
