"""Dice loss over regions.

Shapes: N images, K classes, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit.contracts import IGNORE


def dice(logits: Tensor, labels: Tensor) -> Tensor:
    """One minus the mean over classes of 2 sum(p g) / (sum(p^2) + sum(g^2)).

    Milletari et al. 2016 (V-Net), section 3, for K classes: p is the softmax of logits (N, K, H, W), g the
    one-hot of labels, int64 (N, H, W); sums run over the pixels of the batch that are not ignored (255), the
    mean over the classes that occur in them. Zero, with gradient zero, where all pixels are ignored.
    """
    counted = (labels != IGNORE).unsqueeze(1)
    p = logits.float().softmax(dim=1) * counted
    places = labels.unsqueeze(1).where(counted, 0)
    g = torch.zeros_like(p).scatter_(1, places, counted.to(p.dtype))
    everywhere = (0, 2, 3)
    occurring = g.sum(everywhere)
    overlap = 2 * (p * g).sum(everywhere) / ((p * p).sum(everywhere) + occurring).clamp(min=1e-12)
    present = occurring > 0
    return ((1 - overlap) * present).sum() / present.sum().clamp(min=1)
