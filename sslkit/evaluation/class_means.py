"""Nearest class mean: no training, and no class gains from having more samples.

Wang et al., "SimpleShot: Revisiting Nearest-Neighbor Classification for Few-Shot Learning", 2019, section 3:
embeddings centred (C) and brought to unit length (L2N), then the nearest mean of a class.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.errors import DataError
from sslkit.evaluation.metrics import check_finite, check_labels, rank_classes


def centred_unit(embeddings: Tensor, centre: Tensor) -> Tensor:
    """(x - centre) / |x - centre| of embeddings (N, D), float32; what lies on the centre becomes zero.

    Raises DataError for embeddings that are not finite.
    """
    if embeddings.dim() != 2 or embeddings.shape[1:] != centre.shape:
        raise DataError(f"embeddings {tuple(embeddings.shape)} against {len(centre)} wide: widths must agree")
    check_finite(embeddings)
    return F.normalize(embeddings.float() - centre, dim=1)


def rank_by_class_mean(train: Tensor, labels: Tensor, test: Tensor, *, classes: int) -> Tensor:
    """The nearest class means of test (M, D), nearest first: int64 (M, min(5, K)), ties to the lower class.

    labels: int64 (N,) in 0..K-1 of train (N, D). A class without a sample comes last. Raises DataError for
    labels out of range.
    """
    check_labels(labels, train.shape[0], classes)
    counts = torch.bincount(labels, minlength=classes)
    sums = torch.zeros(classes, train.shape[1]).index_add_(0, labels, train)
    means = sums / counts.clamp(min=1)[:, None]
    # |x - m|² is |x|² - 2 x m + |m|², of which |x|² is the same for all classes.
    nearness = 2 * test @ means.T - means.square().sum(dim=1)
    return rank_classes(nearness.masked_fill(counts == 0, -torch.inf))
