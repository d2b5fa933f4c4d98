"""Each way of predicting, judging or drawing wrongly is caught by the check that is meant and no other."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from sslkit.contracts import Objects, SemanticMap
from tests.testing.sound_heads import Boxes, Labels, Maps, Share, failures

IDS = (
    *("spec", "options", "example", "no_global_state", "loss_falls", "overfits", "state_dict"),
    *("original_pixels", "batch_independent", "labels", "figures", "ranks", "order", "draw"),
)


class CanvasPixels(Maps):
    def decode(self, raw, metas):
        return super().decode(raw, [replace(meta, original=meta.valid) for meta in metas])


class SwappedAxes(Boxes):
    def placed(self, boxes, meta):
        (height, width), (tall, wide) = meta.valid, meta.original
        limit = torch.tensor([wide, tall] * 2)
        scale = torch.tensor([tall / height, wide / width] * 2)
        return torch.minimum((boxes * scale).clamp(min=0), limit)


class BatchMean(Labels):
    def forward(self, features):
        logits = super().forward(features)
        return logits - logits.mean(0)


class BackgroundOut(Maps):
    def __init__(self, info, task, *, bias: bool = True) -> None:
        super().__init__(info, task, bias=bias)
        self.score = nn.Conv2d(sum(info.channels), self.outputs + 1, 1)


class HalfMerged(Share):
    def merge(self, other) -> None:
        self.right += other.right
        self.all = max(self.all, other.all)


class LastCounts(Share):
    last = -1

    def update(self, ids, predictions, targets) -> None:
        super().update(ids, predictions, targets)
        self.last = ids[-1]

    def merge(self, other) -> None:
        super().merge(other)
        self.last = max(self.last, other.last)

    def compute(self):
        figures = super().compute()
        return replace(figures, figures={**figures.figures, "last": float(self.last)})


class Counted(Share):
    def compute(self):
        figures = super().compute()
        return replace(figures, figures={**figures.figures, "count": self.all})


class MergesHalf(Labels):
    def metrics(self):
        return HalfMerged(self.task.classes)


class CountsTheLast(Labels):
    def metrics(self):
        return LastCounts(self.task.classes)


class CountsInIntegers(Labels):
    def metrics(self):
        return Counted(self.task.classes)


class DrawsInPlace(Labels):
    def draw(self, image, shown):
        image[:2] = 255
        return image


class DrawsNothing(Maps):
    def draw(self, image, shown: SemanticMap):
        return image.copy()


class Reseeds(Labels):
    def decode(self, raw, metas):
        np.random.seed(0)
        return super().decode(raw, metas)


class SortedUpwards(Boxes):
    def decode(self, raw, metas):
        found = super().decode(raw, metas)
        return [
            Objects(
                one.boxes.repeat(2, 1),
                one.labels.repeat(2),
                torch.cat([one.scores / 2, one.scores]),
            )
            for one in found
        ]


@pytest.mark.parametrize(
    ("broken", "expected", "message"),
    [
        (CanvasPixels, {"original_pixels"}, "expected (56, 90)"),
        (SwappedAxes, {"original_pixels"}, "prediction 0: no object of class"),
        (BatchMean, {"batch_independent"}, "sample 0 in a batch of 1 instead of 8"),
        (BackgroundOut, {"labels"}, "with 4 classes they are 0..3"),
        (MergesHalf, {"ranks"}, "over 2 ranks: 'share' is"),
        (CountsTheLast, {"order"}, "the order of samples: 'last' is 7.0 and 0.0"),
        (CountsInIntegers, {"figures"}, "figure 'count' is a int, not a float"),
        (DrawsInPlace, {"draw"}, "drawing a target changed the image itself"),
        (DrawsNothing, {"draw"}, "drawing a target drew nothing"),
        (Reseeds, {"no_global_state"}, "forward and decode in eval mode changed numpy's generator"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_one_check_catches_it(broken, expected, message) -> None:
    found = failures(broken, IDS)
    assert set(found) == expected, found
    assert all(message in said for said in found.values()), found


def test_scores_from_low_to_high_are_no_prediction() -> None:
    found = failures(SortedUpwards, ["builds[vit]", "sizes[nonsquare]"])
    assert set(found) == {"builds[vit]", "sizes[nonsquare]"}
    assert "do not go from high to low" in found["builds[vit]"]
