"""Each way of training wrongly is caught by the check that is meant, and by no other."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sslkit.models import task_model
from sslkit.testing.head_kit import checks
from tests.testing.sound_heads import Boxes, Labels, Maps, failures

IDS = (
    *("spec", "options", "example", "builds[vit]", "sizes[odd]", "gradients", "deterministic", "bf16"),
    *("empty_targets", "ignored_targets", "one_pixel_object", "loss_falls", "overfits", "state_dict"),
)


class Positional(Labels):
    def __init__(self, info, task, hidden: int = 16) -> None:
        super().__init__(info, task, hidden=hidden)


class OtherTarget(Labels):
    @classmethod
    def example_batch(cls, seed):
        example = super().example_batch(seed)
        return replace(example, task=replace(example.task, target="colour"))


class Unused(Labels):
    def __init__(self, info, task, *, hidden: int = 16) -> None:
        super().__init__(info, task, hidden=hidden)
        self.spare = nn.Parameter(torch.zeros(1))


class Constant(Labels):
    def loss(self, raw, targets):
        (total,) = super().loss(raw, targets).values()
        return {"loss": total - total.detach() + 1}


class Restless(Labels):
    calls = 0

    def loss(self, raw, targets):
        Restless.calls += 1
        return {"loss": super().loss(raw, targets)["cross_entropy"] * (1 + 1e-3 * self.calls)}


class Unsaved(Labels):
    def __init__(self, info, task, *, hidden: int = 16) -> None:
        super().__init__(info, task, hidden=hidden)
        self.scale = torch.rand(len(task.classes)) + 0.5

    def forward(self, features):
        return super().forward(features) * self.scale


class OneTypeOnly(Labels):
    def forward(self, features):
        logits = super().forward(features)
        rows = torch.zeros(logits.shape)
        return rows.index_put((torch.arange(len(rows)),), logits)


class ShiftedClass(Labels):
    def decode(self, raw, metas):
        return [replace(found, label=(found.label + 1) % 3) for found in super().decode(raw, metas)]


class MeanOfNothing(Maps):
    def loss(self, raw, targets):
        labels = torch.stack([target.labels for target in targets]).long()
        return {"cross_entropy": F.cross_entropy(raw, labels, ignore_index=255)}


class NeedsObjects(Boxes):
    def loss(self, raw, targets):
        corners = torch.stack([target.boxes[0] for target in targets])  # fails where an image has none
        return {name: value + 0 * corners.sum() for name, value in super().loss(raw, targets).items()}


class LogOfSides(Boxes):
    def loss(self, raw, targets):
        sides = torch.cat([target.boxes[:, 2:] - target.boxes[:, :2] for target in targets])
        size = (sides - 1).log().sum() * 0  # of a side of one pixel not a number
        return {name: value + size for name, value in super().loss(raw, targets).items()}


class FixedStride(Maps):
    def forward(self, features):
        fine = replace(features, maps=tuple(replace(m, stride=4) for m in features.maps))
        return super().forward(fine)


class PaddedMap(Maps):
    def forward(self, features):
        height, width = features.canvas
        whole = (height + -height % 32, width + -width % 32)
        return super().forward(replace(features, canvas=whole))


class RelativeBoxes(Boxes):
    def placed(self, boxes, meta):
        return super().placed(boxes * 32 / max(meta.canvas), meta)


@pytest.mark.parametrize(
    ("broken", "expected", "message"),
    [
        (Positional, {"options"}, "option 'hidden' of Positional is not keyword-only"),
        (OtherTarget, {"spec"}, "spec.target is 'label', the example's task has 'colour'"),
        (Unused, {"gradients"}, "no gradient reaches 'head.spare'"),
        (Constant, {"loss_falls"}, "the loss did not fall in 15 steps"),
        (Restless, {"deterministic"}, "the same seed gave losses"),
        (Unsaved, {"state_dict"}, "is another after a state_dict round trip"),
        (OneTypeOnly, {"bf16"}, "raised RuntimeError in 'bf16'"),
        (ShiftedClass, {"overfits", "sizes[padded]"}, "'share' is"),
        (MeanOfNothing, {"ignored_targets"}, "loss 'cross_entropy' is nan; it must be finite"),
        (NeedsObjects, {"empty_targets"}, "raised IndexError in 'empty_targets'"),
        (LogOfSides, {"one_pixel_object"}, "is nan; it must be finite"),
        (FixedStride, {"builds[vit]"}, "raised"),
        (PaddedMap, {"sizes[odd]"}, "raised"),
        (RelativeBoxes, {"sizes[padded]"}, "with 32 pixels more padding 'share' is"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_one_check_catches_it(broken, expected, message) -> None:
    found = failures(broken, {*IDS, *expected})
    assert set(found) == expected, found
    assert all(message in said for said in found.values()), found


def test_a_backbone_that_moves_is_caught_by_frozen(monkeypatch) -> None:
    monkeypatch.setattr(task_model, "keep_frozen_still", lambda backbone: None)
    with pytest.raises(AssertionError, match=r"a frozen backbone changed in training: backbone\.network"):
        checks()["frozen"](Labels)
