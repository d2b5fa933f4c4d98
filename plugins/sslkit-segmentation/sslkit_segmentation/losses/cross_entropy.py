"""Pixel cross-entropy, with weights of classes and both ways to average.

Shapes: N images, K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.contracts import IGNORE
from sslkit.errors import ConfigError
from sslkit_segmentation.options import one_of

WEIGHTINGS = ("none", "inverse", "median_frequency")
REDUCTIONS = ("by_weight", "by_count")


def cross_entropy(
    logits: Tensor, labels: Tensor, *, weights: Tensor | None = None, reduction: str = "by_weight"
) -> Tensor:
    """Mean of -w[t] log p[t] over the pixels that are not ignored; t is a pixel's label.

    logits: (N, K, H, W). labels: int64 (N, H, W), 255 ignored. weights: (K,), None is 1 for all. `by_weight`
    divides the sum by the sum of w[t], as torch does; `by_count` by the number of pixels, so that pixels of
    a light class leave the loss smaller. Zero, with gradient zero, where all pixels are ignored.
    """
    one_of("reduction", reduction, REDUCTIONS)
    total = F.cross_entropy(logits.float(), labels, weights, ignore_index=IGNORE, reduction="sum")
    counted = labels != IGNORE
    if weights is None or reduction == "by_count":
        return total / counted.sum().clamp(min=1)
    share = weights[labels.where(counted, 0)] * counted
    return total / share.sum().clamp(min=torch.finfo(torch.float32).tiny)


def class_weights(weighting: str, counts: Sequence[int]) -> Tensor | None:
    """Weights (K,) from pixel counts of the classes, such that rare classes weigh more; None for `none`.

    `inverse`: total / (K' n[k]) of the K' classes that occur, so that a pixel drawn at random weighs 1 on
    average. `median_frequency`: median(n) / n[k] (after Eigen and Fergus 2015, section 4, with one count over
    all images). A class that does not occur weighs 0. Raises ConfigError where counts are not known.
    """
    if one_of("class_weights", weighting, WEIGHTINGS) == "none":
        return None
    known = torch.tensor(counts, dtype=torch.float64)
    occurring = known[known > 0]
    if not len(occurring):
        raise ConfigError(
            f"class_weights {weighting} needs the pixels of each class, which are not known here; "
            "use a source that counts them, or class_weights none"
        )
    scale = occurring.mean() if weighting == "inverse" else occurring.quantile(0.5)
    return torch.where(known > 0, scale / known.clamp(min=1), 0.0).float()
