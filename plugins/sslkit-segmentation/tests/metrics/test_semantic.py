"""The figures against torchmetrics, and against what they must not be."""

from __future__ import annotations

import itertools
import math
import pickle

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

from sslkit.contracts import SemanticMap
from sslkit.errors import DataError
from sslkit_segmentation.metrics.semantic import SemanticMetric

NAMES = ("sky", "road", "car", "tree", "never")


def maps(count: int, *, seed: int = 0) -> tuple[list[SemanticMap], list[SemanticMap]]:
    """Predictions and targets of several sizes; the last class is in neither."""
    generator = torch.Generator().manual_seed(seed)
    predictions, targets = [], []
    for place in range(count):
        size = (6 + place, 9)
        true = torch.randint(0, 4, size, generator=generator)
        guess = true.where(torch.rand(size, generator=generator) < 0.2 + 0.1 * place, true * 0 + place % 4)
        true[torch.rand(size, generator=generator) < 0.2] = 255
        predictions.append(SemanticMap(guess.to(torch.uint8)))
        targets.append(SemanticMap(true.to(torch.uint8)))
    return predictions, targets


def judged(predictions: list[SemanticMap], targets: list[SemanticMap]) -> SemanticMetric:
    metric = SemanticMetric(NAMES)
    metric.update(range(len(targets)), predictions, targets)
    return metric


def flat(shown: list[SemanticMap]) -> Tensor:
    return torch.cat([one.labels.flatten() for one in shown]).long()


def test_the_figures_are_torchmetrics_on_all_pixels() -> None:
    predictions, targets = maps(5)
    found = judged(predictions, targets).compute()
    guess, true = flat(predictions), flat(targets)
    iou = multiclass_jaccard_index(guess, true, 5, average="none", ignore_index=255)[:4]
    right = multiclass_accuracy(guess, true, 5, average="none", ignore_index=255)[:4]
    share = multiclass_accuracy(guess, true, 5, average="micro", ignore_index=255)
    assert found.figures["mIoU"] == pytest.approx(float(iou.mean()))
    assert found.figures["mean accuracy"] == pytest.approx(float(right.mean()))
    assert found.figures["pixel accuracy"] == pytest.approx(float(share))
    assert list(found.per_class.values()) == pytest.approx(iou.tolist())
    assert tuple(found.per_class) == NAMES[:4]


def test_it_is_not_the_mean_over_images() -> None:
    blank = torch.zeros(10, 10, dtype=torch.uint8)
    spot = torch.zeros(2, 2, dtype=torch.uint8)
    spot[0, 0] = 1
    predictions, targets = (
        [SemanticMap(blank), SemanticMap(spot * 0)],
        [SemanticMap(blank), SemanticMap(spot)],
    )
    whole = judged(predictions, targets).compute().figures["mIoU"]
    each = [
        judged([one], [other]).compute().figures["mIoU"]
        for one, other in zip(predictions, targets, strict=True)
    ]
    assert sum(each) / 2 == pytest.approx((1 + (3 / 4 + 0) / 2) / 2)
    assert whole == pytest.approx((103 / 104 + 0) / 2)


def test_two_by_two_pixels_by_hand() -> None:
    true = SemanticMap(torch.tensor([[0, 0], [1, 255]], dtype=torch.uint8))
    guess = SemanticMap(torch.tensor([[0, 1], [1, 3]], dtype=torch.uint8))
    found = judged([guess], [true]).compute()
    assert found.per_class == {"sky": 0.5, "road": 0.5}
    assert found.figures == {"mIoU": 0.5, "pixel accuracy": 2 / 3, "mean accuracy": 0.75}


def test_a_class_that_only_predictions_have_counts_as_missed() -> None:
    true = SemanticMap(torch.zeros(2, 2, dtype=torch.uint8))
    guess = SemanticMap(torch.tensor([[0, 0], [0, 2]], dtype=torch.uint8))
    found = judged([guess], [true]).compute()
    assert found.per_class == {"sky": 0.75, "car": 0.0}
    assert found.figures["mIoU"] == pytest.approx(0.375)
    assert found.figures["mean accuracy"] == pytest.approx(0.75)


def test_parts_merged_in_any_order_are_the_whole_exactly() -> None:
    predictions, targets = maps(4)
    whole = judged(predictions, targets).compute()
    parts = [judged([one], [other]) for one, other in zip(predictions, targets, strict=True)]
    for order in itertools.permutations(range(4)):
        total = SemanticMetric(NAMES)
        for place in order:
            total.merge(pickle.loads(pickle.dumps(parts[place])))
        assert total.compute() == whole


def test_counts_beyond_what_float32_can_count_stay_exact() -> None:
    metric = SemanticMetric(NAMES)
    metric.confusion[0, 0] = 2**24
    pixel = SemanticMap(torch.zeros(1, 1, dtype=torch.uint8))
    metric.update([0], [pixel], [pixel])
    assert int(metric.confusion[0, 0]) == 2**24 + 1


def test_without_any_pixel_the_figures_are_not_a_number() -> None:
    nothing = SemanticMap(torch.full((2, 2), 255, dtype=torch.uint8))
    found = judged([SemanticMap(torch.zeros(2, 2, dtype=torch.uint8))], [nothing]).compute()
    assert all(math.isnan(value) for value in found.figures.values())
    assert found.per_class == {}


def test_what_cannot_be_judged_is_refused_by_name() -> None:
    small, large = (SemanticMap(torch.zeros(side, side, dtype=torch.uint8)) for side in (2, 3))
    with pytest.raises(DataError, match=r"sample 0: the prediction has \(2, 2\) pixels"):
        judged([small], [large])
    strange = SemanticMap(torch.full((2, 2), 5, dtype=torch.uint8))
    with pytest.raises(DataError, match="the target has the label 5; there are 5 classes"):
        judged([small], [strange])
    with pytest.raises(DataError, match="the prediction has the label 5"):
        judged([strange], [small])
