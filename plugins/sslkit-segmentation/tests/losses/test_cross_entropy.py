"""Pixel cross-entropy against loops over pixels."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.errors import ConfigError
from sslkit_segmentation.losses.cross_entropy import class_weights, cross_entropy


def pixels(classes: int, *, seed: int = 0, ignored: float = 0.3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, 5, 4, generator=generator)
    labels = torch.randint(0, classes, (2, 5, 4), generator=generator)
    labels[torch.rand(2, 5, 4, generator=generator) < ignored] = 255
    return logits, labels


def slowly(logits: Tensor, labels: Tensor, weights: list[float], reduction: str) -> float:
    """The formula, pixel by pixel."""
    total, divisor = 0.0, 0.0
    for image in range(logits.shape[0]):
        for row in range(logits.shape[2]):
            for column in range(logits.shape[3]):
                target = int(labels[image, row, column])
                if target == 255:
                    continue
                scores = [math.exp(float(score)) for score in logits[image, :, row, column]]
                total -= weights[target] * math.log(scores[target] / sum(scores))
                divisor += weights[target] if reduction == "by_weight" else 1
    return total / divisor


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("reduction", ["by_weight", "by_count"])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_mean_over_the_pixels_that_count(classes: int, reduction: str, weighted: bool) -> None:
    logits, labels = pixels(classes, seed=classes)
    weights = [0.5 + label for label in range(classes)] if weighted else [1.0] * classes
    given = torch.tensor(weights) if weighted else None
    found = cross_entropy(logits, labels, weights=given, reduction=reduction)
    assert float(found) == pytest.approx(slowly(logits, labels, weights, reduction), rel=1e-5)


def test_by_weight_is_torchs_own_mean() -> None:
    logits, labels = pixels(4)
    weights = torch.tensor([0.1, 1.0, 2.0, 5.0])
    expected = F.cross_entropy(logits, labels, weights, ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, labels, weights=weights), expected)


def test_even_odds_cost_log_of_the_classes_whatever_the_size() -> None:
    for side in (1, 3, 50):
        labels = torch.zeros(2, side, side, dtype=torch.int64)
        assert float(cross_entropy(torch.zeros(2, 5, side, side), labels)) == pytest.approx(math.log(5))


def test_the_two_reductions_differ_by_the_mean_weight() -> None:
    logits, labels = pixels(3)
    weights = torch.tensor([0.2, 1.0, 3.0])
    mean_weight = float(weights[labels[labels != 255]].mean())
    by_weight, by_count = (
        float(cross_entropy(logits, labels, weights=weights, reduction=reduction))
        for reduction in ("by_weight", "by_count")
    )
    assert by_count == pytest.approx(by_weight * mean_weight, rel=1e-5)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.0, 1.0, 2.0])])
@pytest.mark.parametrize("reduction", ["by_weight", "by_count"])
def test_nothing_to_learn_is_zero_with_gradient_zero(weights: Tensor | None, reduction: str) -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = cross_entropy(logits, torch.full((1, 4, 4), 255), weights=weights, reduction=reduction)
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_pixels_of_weight_zero_alone_are_no_division_by_zero() -> None:
    loss = cross_entropy(
        torch.randn(1, 2, 3, 3), torch.zeros(1, 3, 3, dtype=torch.int64), weights=torch.tensor([0.0, 1.0])
    )
    assert float(loss.detach()) == 0


def test_inverse_weights_are_one_for_the_average_pixel() -> None:
    counts = (700, 200, 100, 0)
    weights = class_weights("inverse", counts)
    assert weights is not None
    assert float((weights * torch.tensor(counts)).sum()) / 1000 == pytest.approx(1)
    assert weights[1] * 200 == pytest.approx(float(weights[2]) * 100)
    assert weights[3] == 0


def test_median_frequency_gives_the_middle_class_one() -> None:
    weights = class_weights("median_frequency", (800, 100, 50, 0))
    assert weights is not None
    assert weights.tolist() == pytest.approx([0.125, 1, 2, 0])


def test_weights_without_counts_are_refused_in_words() -> None:
    assert class_weights("none", ()) is None
    for counts in ((), (0, 0)):
        with pytest.raises(ConfigError, match="class_weights inverse needs the pixels of each class"):
            class_weights("inverse", counts)


def test_unknown_words_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'median_frequency'"):
        class_weights("median", (1, 2))
    with pytest.raises(ConfigError, match="reduction is 'by_mean'"):
        cross_entropy(*pixels(2), reduction="by_mean")
