"""Lovász-softmax against the definition by sets, another implementation, and its own properties."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from segmentation_models_pytorch.losses import LovaszLoss
from torch import Tensor

from sslkit_segmentation.losses.lovasz import jaccard_extension, lovasz_softmax

CERTAIN = 200.0


def jaccard_loss(truth: set[int], mistaken: set[int]) -> float:
    """1 - |A n B| / |A u B| of the true set A and the B that is wrong exactly at `mistaken`."""
    predicted = truth ^ mistaken
    union = truth | predicted
    return 1 - len(truth & predicted) / len(union) if union else 0.0


def extended(errors: list[float], truth: set[int]) -> float:
    """The Lovász extension by its definition (Berman et al. 2018, definition 1)."""
    order = sorted(range(len(errors)), key=lambda place: -errors[place])
    return sum(
        errors[place] * (jaccard_loss(truth, set(order[: rank + 1])) - jaccard_loss(truth, set(order[:rank])))
        for rank, place in enumerate(order)
    )


def pixels(classes: int, seed: int, ignored: float = 0.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (2, 6, 5), generator=generator)
    labels[torch.rand(2, 6, 5, generator=generator) < ignored] = 255
    return torch.randn(2, classes, 6, 5, generator=generator), labels


@pytest.mark.parametrize("seed", range(5))
def test_the_extension_is_its_definition_by_sets(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    errors = torch.rand(9, 1, generator=generator, dtype=torch.float64)
    truth = (torch.rand(9, 1, generator=generator) < 0.4).long()
    members = set(truth[:, 0].nonzero()[:, 0].tolist())
    expected = extended(errors[:, 0].tolist(), members)
    assert float(jaccard_extension(errors, truth)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("ignored", [0.0, 0.3])
def test_the_loss_is_the_mean_over_the_classes_that_occur(classes: int, ignored: float) -> None:
    logits, labels = pixels(classes + 1, classes, ignored)
    labels = labels.where(labels != classes, 255)  # the last class does not occur
    counted = labels != 255
    p, chosen = logits.softmax(dim=1).movedim(1, -1)[counted], labels[counted]
    terms = []
    for label in sorted(set(chosen.tolist())):
        g = (chosen == label).float()
        terms.append(extended((g - p[:, label]).abs().tolist(), set(g.nonzero()[:, 0].tolist())))
    assert float(lovasz_softmax(logits, labels)) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


@pytest.mark.parametrize("ignored", [0.0, 0.4])
def test_another_implementation_agrees(ignored: float) -> None:
    logits, labels = pixels(4, 7, ignored)
    theirs = LovaszLoss("multiclass", ignore_index=255 if ignored else None)(logits, labels)
    torch.testing.assert_close(lovasz_softmax(logits, labels), theirs)


@pytest.mark.parametrize("seed", range(3))
def test_certain_predictions_cost_one_minus_the_mean_intersection_over_union(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels, predicted = (torch.randint(0, 3, (2, 7, 7), generator=generator) for _ in range(2))
    logits = F.one_hot(predicted, 3).movedim(-1, 1) * CERTAIN
    ratios = []
    for label in range(3):
        a, b = labels == label, predicted == label
        ratios.append(float((a & b).sum() / (a | b).sum()))
    assert float(lovasz_softmax(logits, labels)) == pytest.approx(1 - sum(ratios) / 3, abs=1e-5)


def test_the_extension_is_convex_and_grows_with_every_error() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(12, 200, generator=generator) < 0.4).long()
    one, other = (torch.rand(12, 200, generator=generator, dtype=torch.float64) for _ in range(2))
    middle = jaccard_extension((one + other) / 2, truth)
    mean = (jaccard_extension(one, truth) + jaccard_extension(other, truth)) / 2
    assert (middle <= mean + 1e-12).all()
    assert (middle < mean - 1e-6).any()
    larger = (one + 0.3 * torch.rand(12, 200, generator=generator)).clamp(max=1)
    assert (jaccard_extension(larger, truth) >= jaccard_extension(one, truth) - 1e-12).all()


def test_nothing_to_learn_is_zero_with_gradient_zero() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = lovasz_softmax(logits, torch.full((1, 4, 4), 255))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()
