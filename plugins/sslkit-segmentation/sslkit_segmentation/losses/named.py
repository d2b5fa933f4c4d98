"""Sums of losses by name, such as `ce+dice`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from sslkit.contracts import Task
from sslkit.errors import ConfigError
from sslkit_segmentation.losses.cross_entropy import REDUCTIONS, class_weights, cross_entropy
from sslkit_segmentation.losses.dice import dice
from sslkit_segmentation.losses.lovasz import lovasz_softmax
from sslkit_segmentation.options import one_of

REGIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"dice": dice, "lovasz": lovasz_softmax}
"""Losses of regions, beside the cross-entropy of pixels, `ce`."""


class SemanticLoss(nn.Module):
    """The terms of a sum of losses; raises ConfigError for a name nobody knows or one given twice."""

    weights: Tensor | None

    def __init__(self, task: Task, names: str, *, class_weights: str, reduction: str) -> None:
        super().__init__()
        self.names = [one_of("loss", name.strip(), ("ce", *REGIONS)) for name in names.split("+")]
        if len(set(self.names)) < len(self.names):
            raise ConfigError(f"loss is '{names}'; each term may stand in the sum once, such as ce+dice")
        self.reduction = one_of("reduction", reduction, REDUCTIONS)
        # Made anew from the task, so no part of the weights that are saved.
        self.register_buffer("weights", _weights(class_weights, task), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Logits (N, K, H, W), labels int64 (N, H, W) to scalars by name."""
        return {name: self._term(name, logits, labels) for name in self.names}

    def _term(self, name: str, logits: Tensor, labels: Tensor) -> Tensor:
        if name == "ce":
            return cross_entropy(logits, labels, weights=self.weights, reduction=self.reduction)
        return REGIONS[name](logits, labels)


def _weights(weighting: str, task: Task) -> Tensor | None:
    return class_weights(weighting, task.counts)
