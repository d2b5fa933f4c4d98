"""Small heads that keep the contract, of labels, maps and boxes; tests break one promise each."""

from __future__ import annotations

from collections.abc import Iterable
from unittest import SkipTest

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.contracts import (
    ClassLabel,
    Example,
    Figures,
    HeadSpec,
    LabelledBatch,
    Meta,
    Objects,
    SemanticMap,
    Task,
)
from sslkit.testing.head_kit import checks

CLASSES = ("red", "green", "blue")
SIDE = 32


def failures(head: type, ids: Iterable[str]) -> dict[str, str]:
    """What the kit finds wrong, by check."""
    found = {}
    for id, check in checks().items():
        try:
            if id in ids:
                check(head)
        except AssertionError as error:
            found[id] = str(error)
        except SkipTest:
            pass
    return found


def squares(seed: int):
    """Eight dark noisy canvases with one bright square each: pixels, metas, classes and boxes."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 60, (8, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    labels, boxes, metas = [], [], []
    for place in range(8):
        valid = (SIDE, SIDE) if place % 2 else (SIDE - 4, SIDE - 2)
        label = int(torch.randint(3, (), generator=generator)) if place > 2 else place
        left, top = (int(v) for v in torch.randint(0, 14, (2,), generator=generator))
        pixels[place, label, top : top + 12, left : left + 12] = 255
        pixels[place, :, valid[0] :] = 0
        pixels[place, :, :, valid[1] :] = 0
        labels.append(label)
        boxes.append((left, top, left + 12, top + 12))
        metas.append(Meta(place, f"square {place}", valid, valid, (SIDE, SIDE)))
    return pixels, tuple(metas), labels, boxes


class Share:
    """The share of samples, or of pixels, that are right."""

    def __init__(self, classes) -> None:
        self.classes, self.right, self.all = classes, 0, 0

    def update(self, ids, predictions, targets) -> None:
        for prediction, target in zip(predictions, targets, strict=True):
            if isinstance(target, ClassLabel):
                self.right += prediction.label == target.label
                self.all += 1
            else:
                known = target.labels != 255
                self.right += int((prediction.labels == target.labels)[known].sum())
                self.all += int(known.sum())

    def merge(self, other) -> None:
        self.right += other.right
        self.all += other.all

    def compute(self) -> Figures:
        return Figures({"share": self.right / max(self.all, 1)})


class Labels(nn.Module):
    """A hidden layer on the embedding."""

    spec = HeadSpec("labels", "image", "vector", "label", "share")

    def __init__(self, info, task: Task, *, hidden: int = 16) -> None:
        super().__init__()
        self.task = task
        self.layers = nn.Sequential(
            nn.Linear(info.embedding_dim, hidden), nn.ReLU(), nn.Linear(hidden, len(task.classes))
        )

    def forward(self, features):
        return self.layers(features.vector)

    def loss(self, raw, targets) -> dict[str, Tensor]:
        labels = torch.tensor([target.label for target in targets], device=raw.device)
        return {"cross_entropy": F.cross_entropy(raw.float(), labels)}

    def decode(self, raw, metas):
        return [ClassLabel(int(row.argmax()), row.float().softmax(0)) for row in raw.cpu()]

    def metrics(self):
        return Share(self.task.classes)

    def draw(self, image: np.ndarray, shown: ClassLabel) -> np.ndarray:
        drawn = image.copy()
        drawn[:3, :3] = 80 * shown.label
        return drawn

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        pixels, metas, labels, _ = squares(seed)
        targets = tuple(ClassLabel(label) for label in labels)
        batch = LabelledBatch(torch.arange(8), pixels, metas, targets)
        return Example(Task("label", CLASSES, (SIDE, SIDE)), batch, goal=0.99, steps=15, lr=3e-3)


class Maps(nn.Module):
    """A 1x1 convolution on the finest map it is given."""

    spec = HeadSpec("maps", "image", "pyramid", "semantic", "share")

    def __init__(self, info, task: Task, *, bias: bool = True) -> None:
        super().__init__()
        self.task, self.outputs = task, len(task.classes)
        self.score = nn.Conv2d(sum(info.channels), self.outputs, 1, bias=bias)

    def forward(self, features):
        size = features.maps[0].values.shape[-2:]
        maps = [F.interpolate(m.values, size=size, mode="bilinear") for m in features.maps]
        fine = self.score(torch.cat(maps, dim=1))
        # Cells may reach beyond the canvas where the backbone padded it.
        stride = features.maps[0].stride
        whole = F.interpolate(fine.float(), scale_factor=stride, mode="bilinear")
        return whole[..., : features.canvas[0], : features.canvas[1]]

    def loss(self, raw, targets) -> dict[str, Tensor]:
        labels = torch.stack([target.labels for target in targets]).long()
        total = F.cross_entropy(raw, labels, ignore_index=255, reduction="sum")
        return {"cross_entropy": total / (labels != 255).sum().clamp(min=1)}

    def decode(self, raw, metas):
        whole = (meta.map_to_original(values) for values, meta in zip(raw, metas, strict=True))
        return [SemanticMap(values.argmax(0).to(torch.uint8).cpu()) for values in whole]

    def metrics(self):
        return Share(self.task.classes)

    def draw(self, image: np.ndarray, shown: SemanticMap) -> np.ndarray:
        colours = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200], [90, 90, 90]], np.uint8)
        return image // 2 + colours[np.minimum(shown.labels.numpy(), 3)] // 2

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        pixels, metas, labels, boxes = squares(seed)
        targets = []
        for label, (left, top, right, bottom), meta in zip(labels, boxes, metas, strict=True):
            classes = torch.full((SIDE, SIDE), 3, dtype=torch.uint8)
            classes[top:bottom, left:right] = label
            classes[meta.valid[0] :] = 255
            classes[:, meta.valid[1] :] = 255
            targets.append(SemanticMap(classes))
        batch = LabelledBatch(torch.arange(8), pixels, metas, tuple(targets))
        task = Task("semantic", (*CLASSES, "ground"), (SIDE, SIDE))
        return Example(task, batch, goal=0.88, steps=25, lr=3e-3)


class Found:
    """The share of objects found with the right class at IoU 0.5 among the best as many as there are."""

    def __init__(self) -> None:
        self.right, self.all = 0, 0

    def update(self, ids, predictions, targets) -> None:
        from torchvision.ops import box_iou

        for prediction, target in zip(predictions, targets, strict=True):
            best = prediction[torch.arange(min(len(prediction), len(target)))]
            same = best.labels[:, None] == target.labels[None]
            if len(best) and len(target):
                self.right += int(((box_iou(best.boxes, target.boxes) > 0.5) & same).any(0).sum())
            self.all += len(target)

    merge = Share.merge
    compute = Share.compute


class Boxes(nn.Module):
    """One object an image: where its class is strongest on a coarse map, and the sides of its box there."""

    spec = HeadSpec("boxes", "image", "pyramid", "boxes", "share")
    least = 0.05

    def __init__(self, info, task: Task, *, hidden: int = 32) -> None:
        super().__init__()
        self.classes = len(task.classes)
        self.hidden = nn.Conv2d(sum(info.channels), hidden, 3, padding=1)
        self.out = nn.Conv2d(hidden, self.classes + 4, 1)

    def forward(self, features):
        size = features.maps[0].values.shape[-2:]
        maps = [F.interpolate(m.values, size=size, mode="bilinear") for m in features.maps]
        return self.out(F.relu(self.hidden(torch.cat(maps, dim=1)))), features.maps[0].stride

    def loss(self, raw, targets) -> dict[str, Tensor]:
        cells, stride = raw
        scores, sides = cells.float().split([self.classes, 4], dim=1)
        heat, errors = torch.zeros_like(scores), [sides.sum() * 0]
        for place, target in enumerate(targets):
            for box, label in zip(target.boxes, target.labels, strict=True):
                column, row = ((box[:2] + box[2:]) / 2 / stride).long().tolist()
                row, column = min(row, heat.shape[2] - 1), min(column, heat.shape[3] - 1)
                heat[place, int(label), row, column] = 1
                centre = torch.tensor([column, row, column, row]) * stride + stride / 2
                wanted = (box - centre) / 16
                errors.append(F.l1_loss(sides[place, :, row, column], wanted))
        weights = 1 + 20 * heat
        heats = (F.binary_cross_entropy_with_logits(scores, heat, reduction="none") * weights).mean()
        return {"heat": heats, "sides": torch.stack(errors).mean()}

    def decode(self, raw, metas):
        cells, stride = raw
        scores, sides = cells.float().split([self.classes, 4], dim=1)
        found = []
        for heat, side, meta in zip(scores.sigmoid(), sides, metas, strict=True):
            best, places = heat.flatten().topk(1)
            width, area = heat.shape[-1], heat.shape[-1] * heat.shape[-2]
            rows, columns = places % area // width, places % width
            centres = torch.stack([columns, rows, columns, rows], 1) * stride + stride / 2
            boxes = centres + 16 * side[:, rows, columns].t()
            boxes = torch.cat([torch.minimum(boxes[:, :2], boxes[:, 2:]), boxes[:, 2:]], dim=1)
            found.append(
                Objects(self.placed(boxes, meta), self.named(places // area), best)[best > self.least]
            )
        return found

    def placed(self, boxes: Tensor, meta: Meta) -> Tensor:
        return meta.boxes_to_original(boxes)

    def named(self, labels: Tensor) -> Tensor:
        return labels

    def metrics(self):
        return Found()

    def draw(self, image: np.ndarray, shown: Objects) -> np.ndarray:
        drawn = image.copy()
        for left, top, right, bottom in shown.boxes.int().tolist():
            drawn[top:bottom, left:right] //= 2
        return drawn

    @classmethod
    def example_batch(cls, seed: int) -> Example:
        pixels, metas, labels, boxes = squares(seed)
        targets = []
        for label, box, meta in zip(labels, boxes, metas, strict=True):
            limit = torch.tensor([meta.valid[1], meta.valid[0]] * 2).float()
            boxes_ = torch.minimum(torch.tensor([box]).float(), limit)
            targets.append(Objects(boxes_, torch.tensor([label]), crowd=torch.zeros(1, dtype=torch.bool)))
        batch = LabelledBatch(torch.arange(8), pixels, metas, tuple(targets))
        return Example(Task("boxes", CLASSES, (SIDE, SIDE)), batch, goal=0.99, steps=60, lr=3e-3)
