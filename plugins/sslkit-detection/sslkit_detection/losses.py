"""What detectors minimise about classes: one binary decision for each anchor and class.

Shapes: A anchors, K classes. The class of an anchor is 0..K-1, BACKGROUND or NEITHER.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from sslkit.contracts import Task
from sslkit.errors import ConfigError

BACKGROUND, NEITHER = -1, -2
"""An anchor on no object; one that is not judged, between the thresholds or on a crowd."""

Classification = Literal["focal", "cross_entropy"]
ClassWeights = Literal["none", "inverse"]


class BinaryClassification(nn.Module):
    """Focal loss, alpha_t (1 - p_t)^gamma (-log p_t), or cross-entropy, -log p_t.

    alpha: weight of objects, 1 - alpha that of background; None weighs neither. weights: (K,), one for each
    class. Source: Lin et al. 2017 (Focal Loss for Dense Object Detection), section 3.
    """

    weights: Tensor

    def __init__(
        self, kind: Classification, *, gamma: float, alpha: float | None, weights: Tensor | None = None
    ) -> None:
        super().__init__()
        if kind not in ("focal", "cross_entropy"):
            raise ConfigError(f"classification '{kind}' is not one of focal, cross_entropy")
        if gamma < 0:
            raise ConfigError(f"gamma={gamma} must be at least 0; the paper's is 2")
        if alpha is not None and not 0 <= alpha <= 1:
            raise ConfigError(f"alpha={alpha} must lie in 0..1, such as 0.25, or be null for no weighting")
        plain = kind == "cross_entropy"
        self.gamma = 0.0 if plain else gamma
        self.alpha = -1.0 if plain or alpha is None else alpha  # torchvision's word for no weighting
        self.register_buffer("weights", torch.ones(1) if weights is None else weights, persistent=False)

    def forward(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Logits (A, K) and classes int64 (A,) to the loss of every decision (A, K), zero where NEITHER."""
        wanted = torch.zeros_like(logits)
        objects = torch.where(classes >= 0)[0]
        wanted[objects, classes[objects]] = 1
        losses: Tensor = sigmoid_focal_loss(logits, wanted, alpha=self.alpha, gamma=self.gamma)
        return losses * self.weights * (classes != NEITHER)[:, None]


def weights_of(kind: ClassWeights, task: Task) -> Tensor | None:
    """Weights (K,) of the classes: None, or inverse to how many objects they have, n / (K n_k).

    A class without any object weighs 1. Raises ConfigError where the counts are unknown.
    """
    if kind == "none":
        return None
    if kind != "inverse":
        raise ConfigError(f"class_weights '{kind}' is not one of none, inverse")
    if len(task.counts) != len(task.classes) or not sum(task.counts):
        raise ConfigError(
            f"class_weights=inverse needs the number of objects of each of {len(task.classes)} classes, and "
            f"the task counts {list(task.counts)}; use class_weights=none"
        )
    counts = torch.tensor(task.counts, dtype=torch.float32)
    balanced = counts.sum() / (len(counts) * counts.clamp(min=1))
    return torch.where(counts > 0, balanced, torch.ones(()))


def checked_prior(prior: float) -> float:
    """The probability of an object before any training (Lin et al. 2017, section 3.3).

    Raises ConfigError outside (0, 1).
    """
    if not 0 < prior < 1:
        raise ConfigError(f"prior={prior} must lie between 0 and 1; the paper's is 0.01")
    return prior
