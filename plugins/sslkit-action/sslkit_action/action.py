"""What every head of this package shares: its loss, its predictions, how it is judged and drawn.

A head adds `forward(features) -> logits (N, K)`. Shapes: N clips, T frames, K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import ClassLabel, HeadSpec, Meta, Task
from sslkit.errors import ConfigError
from sslkit_action.drawing import film_strip, on_frame
from sslkit_action.metrics.action import ActionMetric, counts
from sslkit_action.options import below_one


class ActionHead(nn.Module):
    """A head that tells the action of a clip.

    label_smoothing: share of the target that is spread over all classes (Szegedy et al. 2016, "Rethinking
    the Inception Architecture", section 7). Raises ConfigError for fewer than two classes.
    """

    spec: ClassVar[HeadSpec]

    def __init__(self, task: Task, *, label_smoothing: float) -> None:
        super().__init__()
        if len(task.classes) < 2:
            raise ConfigError(
                f"an action head was given {len(task.classes)} classes; it needs at least 2 to tell apart"
            )
        self.classes = task.classes
        self.label_smoothing = below_one("label_smoothing", label_smoothing)

    def classifier(self, width: int, dropout: float) -> nn.Sequential:
        """The last layer: features (N, width) to logits (N, K), some of them dropped in training."""
        return nn.Sequential(nn.Dropout(below_one("dropout", dropout)), nn.Linear(width, len(self.classes)))

    def loss(self, raw: Tensor, targets: Sequence[ClassLabel]) -> dict[str, Tensor]:
        """Cross-entropy, the mean over clips that count."""
        judged = [counts(target.label, len(self.classes)) for target in targets]
        labels = torch.tensor([target.label for target in targets], device=raw.device)
        kept = torch.tensor(judged, device=raw.device)
        # The sum over none is 0, with a gradient of 0 for every parameter.
        total = F.cross_entropy(
            raw[kept].float(), labels[kept], label_smoothing=self.label_smoothing, reduction="sum"
        )
        return {"cross_entropy": total / max(1, sum(judged))}

    def decode(self, raw: Tensor, metas: Sequence[Meta]) -> list[ClassLabel]:
        """The likeliest class of each clip, and the probabilities of all, float (K,)."""
        shares = raw.detach().float().softmax(dim=1).cpu()
        return [ClassLabel(int(row.argmax()), row) for row in shares]

    def metrics(self) -> ActionMetric:
        """Accuracy of videos and of their views."""
        return ActionMetric(self.classes)

    def draw(self, image: np.ndarray, shown: ClassLabel) -> np.ndarray:
        """The class and the likeliest five written on a frame, uint8 RGB (H, W, 3)."""
        return on_frame(image, shown, self.classes)

    def draw_frames(self, frames: np.ndarray, shown: ClassLabel) -> np.ndarray:
        """Frames uint8 RGB (T, H, W, 3) as a film strip above the class and the likeliest five."""
        return film_strip(frames, shown, self.classes)
