"""The floor of a detection set: what a detector reaches that never looks at the picture.

It says the same few boxes of every image, in shares of its sides: those training boxes that match the most
others at IoU .5, one after another, scored by how many they match.

    python tools/box_prior.py coco:train.json coco:val.json
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from sslkit.contracts import Objects
from sslkit.data.decode.image import read_header
from sslkit.registry import open_source
from sslkit_detection.metrics.detection import DetectionMetrics


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--boxes", type=int, default=3)
    given = parser.parse_args()
    train: Any = open_source(given.train)
    test: Any = open_source(given.test)
    shares = torch.cat([train.target(id).boxes / sides(train, id) for id in range(len(train))])
    labels = torch.cat([train.target(id).labels for id in range(len(train))])
    boxes, scores = usual(shares, given.boxes)
    label = labels.mode().values.expand(len(boxes))
    metrics = DetectionMetrics(test.classes)
    for id in range(len(test)):
        said = Objects(boxes * sides(test, id), label, scores)
        metrics.update([id], [said], [test.target(id)])
    for name, value in metrics.compute().figures.items():
        print(f"{name:<12} {value:.3f}")


def usual(shares: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The boxes (count, 4) that match most of (N, 4) which no earlier one matches, and their scores."""
    matches = box_iou(shares, shares) > 0.5
    left = torch.ones(len(shares), dtype=torch.bool)
    chosen, scores = [], []
    for _ in range(count):
        hits = (matches & left).sum(dim=1)
        best = int(hits.argmax())
        chosen.append(best)
        scores.append(float(hits[best]) / len(shares))
        left &= ~matches[best]
    return shares[chosen], torch.tensor(scores)


def sides(source: Any, id: int) -> Tensor:
    """(width, height, width, height) of an image."""
    header = read_header(source[id].content)
    return torch.tensor([header.width, header.height] * 2, dtype=torch.float32)


if __name__ == "__main__":
    main()
