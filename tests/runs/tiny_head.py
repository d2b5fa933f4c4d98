"""A head of a few lines for tests of the loop: a linear layer on the embedding or the pooled map."""

from __future__ import annotations

import os
import signal
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from sslkit.contracts import ClassLabel, Example, FeatureInfo, Figures, HeadFeatures, HeadSpec, Task

STOP_VARIABLE = "SSLKIT_TEST_STOP_AT"


class Accuracy:
    """Share of samples whose class is right."""

    def __init__(self) -> None:
        self.right: dict[int, bool] = {}

    def update(self, ids: Any, predictions: Any, targets: Any) -> None:
        for id, said, true in zip(ids, predictions, targets, strict=True):
            self.right[id] = said.label == true.label

    def merge(self, other: Any) -> None:
        assert not self.right.keys() & other.right.keys(), "a sample was judged twice"
        self.right |= other.right

    def compute(self) -> Figures:
        right = sum(self.right.values()) / len(self.right)
        return Figures({"accuracy": right, "judged": len(self.right), "of nothing": float("nan")})


class TinyHead(nn.Module):
    """Pools the last map; stops the process by a signal at the loss number that the environment names."""

    spec: ClassVar[HeadSpec] = HeadSpec("tiny", "image", "map", "label", "accuracy")
    calls = 0

    def __init__(self, info: FeatureInfo, task: Task, *, width: int = 8) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(info.channels[-1])
        self.hidden = nn.Linear(info.channels[-1], width)
        self.classify = nn.Linear(width, len(task.classes))

    def forward(self, features: HeadFeatures) -> torch.Tensor:
        pooled = features.maps[-1].values.float().mean(dim=(2, 3))
        return self.classify(F.relu(self.hidden(self.norm(pooled))))

    def loss(self, raw: torch.Tensor, targets: Any) -> dict[str, torch.Tensor]:
        TinyHead.calls += 1
        if str(TinyHead.calls) == os.environ.get(STOP_VARIABLE):
            os.kill(os.getpid(), signal.SIGINT)
        labels = torch.tensor([target.label for target in targets], device=raw.device)
        return {"classification": F.cross_entropy(raw, labels)}

    def decode(self, raw: torch.Tensor, metas: Any) -> list[ClassLabel]:
        return [ClassLabel(int(row.argmax()), row.softmax(0).cpu()) for row in raw]

    def metrics(self) -> Accuracy:
        return Accuracy()

    def draw(self, image: Any, shown: Any) -> Any:
        return image

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        raise NotImplementedError
