"""The loss of many labels against the definition in plain loops, and what is said and drawn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from sslkit.contracts import ClassSet, FeatureInfo, Meta, Task
from sslkit.errors import ConfigError
from sslkit.evaluation.heads.multi_label_classifier import MultiLabelClassifier
from sslkit.registry import build

INFO = FeatureInfo((), (), (), 32, 32, (0.5,) * 3, (0.5,) * 3, embedding_dim=6)
CLASSES = ("ant", "bee", "cow")
META = Meta(0, "one", (40, 60), (40, 60), (64, 64))
SETS = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [1, 0, 0]]).bool()


def classifier(counts: tuple[int, ...] = (6, 3, 1), **options: Any) -> MultiLabelClassifier:
    return MultiLabelClassifier(INFO, Task("labels", CLASSES, (64, 64), counts), **options)


@pytest.mark.parametrize("balanced", [False, True])
def test_the_loss_is_binary_cross_entropy_written_out(balanced: bool) -> None:
    logits = 3 * torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    weights = [10 / (3 * count) for count in (6, 3, 1)] if balanced else [1.0] * 3
    terms = []
    for row, present in zip(logits.tolist(), SETS.tolist(), strict=True):
        for value, there, weight in zip(row, present, weights, strict=True):
            share = 1 / (1 + math.exp(-value))
            terms.append(-weight * math.log(share) if there else -math.log(1 - share))
    head = classifier(pos_weight="balanced" if balanced else "none")
    (loss,) = head.loss(logits, [ClassSet(present) for present in SETS]).values()
    assert float(loss) == pytest.approx(math.fsum(terms) / 12, rel=1e-5)


def test_a_class_is_there_above_a_half() -> None:
    (said,) = classifier().decode(torch.tensor([[0.1, 0.0, -2.0]]), [META])
    assert said.present.tolist() == [True, False, False]
    assert said.scores.tolist() == pytest.approx([1 / (1 + math.exp(-v)) for v in (0.1, 0.0, -2.0)])


def test_the_names_of_all_classes_are_written_on_a_copy_of_the_image() -> None:
    image, head = np.full((120, 160, 3), 90, np.uint8), classifier()
    shown = [*map(ClassSet, SETS), ClassSet(SETS[0], torch.tensor([0.9, 0.2, 0.7]))]
    drawn = [image, *(head.draw(image, one) for one in shown)]
    for place, one in enumerate(drawn):
        assert one.shape == image.shape
        assert one.dtype == np.uint8
        assert not any(np.array_equal(one, other) for other in drawn[place + 1 :])
    assert (image == 90).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, "dropout is 1.0; it is at least 0 and less than 1"),
        ({"pos_weight": "sum"}, "option 'pos_weight' of head 'multi_label_classifier'"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build("head", "multi_label_classifier", INFO, Task("labels", CLASSES, (64, 64), (1,) * 3), **options)


def test_balancing_needs_the_numbers_of_samples() -> None:
    with pytest.raises(ConfigError, match=r"pos_weight balances classes by how many .* use none"):
        classifier(counts=(), pos_weight="balanced")


def test_no_class_is_too_few() -> None:
    with pytest.raises(ConfigError, match="no class"):
        MultiLabelClassifier(INFO, Task("labels", (), (64, 64)))
