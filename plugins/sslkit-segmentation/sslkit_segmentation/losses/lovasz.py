"""Lovász-softmax: a convex surrogate of one minus intersection over union.

Shapes: N images, K classes, H x W pixels, P pixels that count.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.contracts import IGNORE


def lovasz_softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the classes that occur of the Lovász extension of the Jaccard loss of the errors |g - p|.

    Berman et al. 2018, section 2.2 and algorithm 1; p is the softmax of logits (N, K, H, W), g the one-hot
    of labels, int64 (N, H, W), over the pixels of the batch that are not ignored (255). Zero, with gradient
    zero, where all pixels are ignored.
    """
    counted = labels != IGNORE
    chosen = labels[counted]
    p = logits.float().softmax(dim=1).movedim(1, -1)[counted]
    if not len(chosen):
        return logits.sum() * 0
    g = F.one_hot(chosen, logits.shape[1])
    present = g.any(dim=0)
    g = g[:, present]
    return jaccard_extension((g - p[:, present]).abs(), g).mean()


def jaccard_extension(errors: Tensor, truth: Tensor) -> Tensor:
    """The Lovász extension of the Jaccard loss, column by column: (P, C) and 0 or 1 (P, C) to (C,).

    Convex and piecewise linear in the errors (in 0..1); where they are 0 or 1 it is 1 - |A n B| / |A u B| of
    the true set A and the set B that makes these errors. A column of no truth is the largest error.
    """
    largest_first, order = errors.sort(dim=0, descending=True, stable=True)
    members = truth.gather(0, order).to(errors.dtype)
    size = members.sum(dim=0)
    intersection = size - members.cumsum(dim=0)
    union = size + (1 - members).cumsum(dim=0)
    jaccard = 1 - intersection / union
    steps = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
    return (largest_first * steps).sum(dim=0)
