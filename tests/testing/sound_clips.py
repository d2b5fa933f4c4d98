"""A small head of clips that keeps the contract: which colour a moving square has, and which way it goes."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import ClassLabel, Example, Figures, HeadSpec, LabelledBatch, Meta, Task

SIDE, FRAMES = 32, 4


class Videos:
    """The share of videos whose mean scores are highest for their class."""

    def __init__(self) -> None:
        self.scores: dict[int, list[tuple[float, ...]]] = defaultdict(list)
        self.labels: dict[int, int] = {}

    def update(self, ids, predictions, targets) -> None:
        for id, prediction, target in zip(ids, predictions, targets, strict=True):
            self.scores[id].append(tuple(prediction.scores.tolist()))
            self.labels[id] = target.label

    def merge(self, other) -> None:
        for id, scores in other.scores.items():
            self.scores[id] += scores
        self.labels |= other.labels

    def compute(self) -> Figures:
        right = 0
        for id, label in self.labels.items():
            means = np.sum(sorted(self.scores[id]), axis=0)
            right += int(means.argmax()) == label
        return Figures({"share": right / max(1, len(self.labels))})


class Clips(nn.Module):
    """A linear layer on the mean of the embeddings and on how the last differs from the first."""

    spec = HeadSpec("clips", "clip", "vector", "label", "share")
    steps = 20

    def __init__(self, info, task: Task, *, hidden: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * info.embedding_dim, hidden), nn.ReLU(), nn.Linear(hidden, len(task.classes))
        )

    def forward(self, features):
        frames = features.vector  # N, T', D
        return self.layers(torch.cat([frames.mean(dim=1), frames[:, -1] - frames[:, 0]], dim=1))

    def loss(self, raw, targets) -> dict[str, Tensor]:
        labels = torch.tensor([target.label for target in targets], device=raw.device)
        return {"cross_entropy": F.cross_entropy(raw.float(), labels)}

    def decode(self, raw, metas):
        return [ClassLabel(int(row.argmax()), row.float().softmax(0)) for row in raw.cpu()]

    def metrics(self):
        return Videos()

    def draw(self, image: np.ndarray, shown: ClassLabel) -> np.ndarray:
        drawn = image.copy()
        drawn[:3, :3] = 80 * shown.label
        return drawn

    def draw_frames(self, frames: np.ndarray, shown: ClassLabel) -> np.ndarray:
        return np.concatenate([self.draw(frame, shown) for frame in frames], axis=1)

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        generator = torch.Generator().manual_seed(seed)
        shape, size = (8, FRAMES, 3, SIDE, SIDE), (SIDE, SIDE)
        pixels = torch.randint(0, 60, shape, generator=generator, dtype=torch.uint8)
        labels = torch.arange(8) % 3
        for row, label in enumerate(labels.tolist()):
            top, left = torch.randint(0, 8, (2,), generator=generator).tolist()
            for frame in range(FRAMES):
                pixels[row, frame, label, top : top + 12, left + 4 * frame : left + 4 * frame + 12] = 255
        batch = LabelledBatch(
            torch.arange(8),
            pixels,
            tuple(Meta(row, f"clip {row}", size, size, size) for row in range(8)),
            tuple(ClassLabel(label) for label in labels.tolist()),
        )
        task = Task("label", ("red", "green", "blue"), size, frames=FRAMES)
        return Example(task, batch, goal=0.99, steps=cls.steps, lr=3e-3)
