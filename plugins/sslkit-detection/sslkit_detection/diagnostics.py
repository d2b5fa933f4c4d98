"""What a detector's training looks like from inside. Shapes: A anchors, K classes or objects."""

from __future__ import annotations

import torch
from torch import Tensor

from sslkit_detection.losses import BACKGROUND


def easy_negative_share(losses: Tensor, logits: Tensor, classes: Tensor) -> float:
    """Share of a classification loss that comes from background told with ease, 0..1.

    losses, logits: (..., A, K); classes: (..., A). A decision is easy where p_t, the probability of the
    truth, is above 0.5. Lin et al. 2017, section 3: this is what drowns cross-entropy, and what the focal
    loss takes away.
    """
    easy = (classes == BACKGROUND)[..., None] & (torch.sigmoid(-logits) > 0.5)
    total = losses.sum()
    return float((losses * easy).sum() / total) if total > 0 else 0.0


def positives_per_object(matched: Tensor, objects: int) -> Tensor:
    """How many anchors learn each object, int64 (K,); matched: int64 (A,), the object's place or below 0."""
    return matched[matched >= 0].bincount(minlength=objects)
