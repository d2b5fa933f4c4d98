"""Dice against loops over pixels, and against the F1 score where predictions are certain."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import multiclass_f1_score

from sslkit_segmentation.losses.dice import dice

CERTAIN = 200.0


def slowly(logits: Tensor, labels: Tensor) -> float:
    """2 sum(p g) / (sum(p^2) + sum(g^2)) of each class that occurs, pixel by pixel."""
    scores = []
    for label in range(logits.shape[1]):
        overlap = squares = occurring = 0.0
        for image in range(logits.shape[0]):
            for row in range(logits.shape[2]):
                for column in range(logits.shape[3]):
                    target = int(labels[image, row, column])
                    if target == 255:
                        continue
                    odds = [math.exp(float(score)) for score in logits[image, :, row, column]]
                    p, g = odds[label] / sum(odds), float(target == label)
                    overlap += p * g
                    squares += p * p + g * g
                    occurring += g
        if occurring:
            scores.append(2 * overlap / squares)
    return 1 - sum(scores) / len(scores)


def pixels(classes: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes - 1, (2, 5, 4), generator=generator)  # the last class does not occur
    labels[torch.rand(2, 5, 4, generator=generator) < 0.3] = 255
    return torch.randn(2, classes, 5, 4, generator=generator), labels


@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_the_formula(classes: int, seed: int) -> None:
    logits, labels = pixels(classes, seed)
    assert float(dice(logits, labels)) == pytest.approx(slowly(logits, labels), rel=1e-5)


def test_certain_predictions_cost_one_minus_the_f1_score() -> None:
    generator = torch.Generator().manual_seed(0)
    labels, predicted = (torch.randint(0, 4, (2, 9, 9), generator=generator) for _ in range(2))
    logits = F.one_hot(predicted, 4).movedim(-1, 1) * CERTAIN
    expected = 1 - multiclass_f1_score(predicted, labels, 4, average="macro")
    torch.testing.assert_close(dice(logits, labels), expected)


def test_right_is_free_and_what_lies_under_ignored_pixels_has_no_part() -> None:
    logits, labels = pixels(4, 0)
    right = F.one_hot(labels.where(labels != 255, 0), 4).movedim(-1, 1) * CERTAIN
    assert float(dice(right, labels)) == pytest.approx(0, abs=1e-6)
    changed = logits + 5 * (labels == 255).unsqueeze(1) * torch.randn(logits.shape)
    torch.testing.assert_close(dice(changed, labels), dice(logits, labels))


def test_nothing_to_learn_is_zero_with_gradient_zero() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = dice(logits, torch.full((1, 4, 4), 255))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()
