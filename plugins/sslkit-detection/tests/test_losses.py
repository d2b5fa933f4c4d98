"""Losses against their formulas in plain loops."""

import itertools
import math

import pytest
import torch

from sslkit.contracts import Task
from sslkit.errors import ConfigError
from sslkit_detection.losses import BACKGROUND, NEITHER, BinaryClassification, checked_prior, weights_of


def slow(logits, classes, gamma, alpha, weights):
    """Lin et al. 2017, equations 1 to 5, one decision at a time."""
    result = []
    for row, label in zip(logits.tolist(), classes.tolist(), strict=True):
        result.append([])
        for place, logit in enumerate(row):
            p = 1 / (1 + math.exp(-logit))
            p_t = p if place == label else 1 - p
            alpha_t = 1.0 if alpha is None else (alpha if place == label else 1 - alpha)
            value = -alpha_t * (1 - p_t) ** gamma * math.log(p_t) * weights[place]
            result[-1].append(0.0 if label == NEITHER else value)
    return torch.tensor(result, dtype=torch.float64)


@pytest.mark.parametrize(
    ("gamma", "alpha", "weighted"),
    list(itertools.product((0.0, 0.5, 2.0, 5.0), (None, 0.25, 0.75), (True, False))),
)
def test_the_focal_loss_is_the_papers(gamma, alpha, weighted) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(40, 3, generator=generator, dtype=torch.float64)
    classes = torch.randint(NEITHER, 3, (40,), generator=generator)
    weights = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64) if weighted else None
    losses = BinaryClassification("focal", gamma=gamma, alpha=alpha, weights=weights)(logits, classes)
    expected = slow(logits, classes, gamma, alpha, [0.5, 1.0, 3.0] if weighted else [1.0] * 3)
    torch.testing.assert_close(losses, expected)


def test_cross_entropy_is_the_focal_loss_without_focus_and_balance() -> None:
    logits, classes = torch.randn(30, 4, dtype=torch.float64), torch.randint(-1, 4, (30,))
    losses = BinaryClassification("cross_entropy", gamma=2.0, alpha=0.25)(logits, classes)
    torch.testing.assert_close(losses, slow(logits, classes, 0.0, None, [1.0] * 4))


def test_an_anchor_that_is_neither_has_no_gradient() -> None:
    logits = torch.zeros(2, 2, requires_grad=True)
    judge = BinaryClassification("focal", gamma=2.0, alpha=0.25)
    judge(logits, torch.tensor([NEITHER, BACKGROUND])).sum().backward()
    assert logits.grad[0].abs().sum() == 0
    assert logits.grad[1].abs().min() > 0


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("hinge", {}, "'hinge' is not one of focal, cross_entropy"),
        ("focal", {"gamma": -1.0}, "at least 0"),
        ("focal", {"alpha": 2.0}, "0..1"),
    ],
)
def test_wrong_options_are_refused(kind, options, words) -> None:
    with pytest.raises(ConfigError, match=words):
        BinaryClassification(kind, **{"gamma": 2.0, "alpha": 0.25, **options})


def test_inverse_weights_give_every_class_the_same_say() -> None:
    task = Task("boxes", ("a", "b", "c"), (64, 64), (10, 30, 0))
    weights = weights_of("inverse", task)
    assert weights.tolist() == pytest.approx([40 / 30, 40 / 90, 1.0])
    assert weights_of("none", task) is None
    with pytest.raises(ConfigError, match="class_weights=none"):
        weights_of("inverse", Task("boxes", ("a", "b"), (64, 64)))
    with pytest.raises(ConfigError, match="not one of none, inverse"):
        weights_of("root", task)


def test_a_prior_is_a_probability() -> None:
    assert checked_prior(0.01) == 0.01
    for wrong in (0.0, 1.0, -0.1):
        with pytest.raises(ConfigError, match=r"the paper's is 0\.01"):
            checked_prior(wrong)
