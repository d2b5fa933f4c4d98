"""Sums of losses by name."""

from __future__ import annotations

import pytest
import torch

from sslkit.contracts import Task
from sslkit.errors import ConfigError
from sslkit_segmentation.losses.cross_entropy import class_weights, cross_entropy
from sslkit_segmentation.losses.dice import dice
from sslkit_segmentation.losses.lovasz import lovasz_softmax
from sslkit_segmentation.losses.named import SemanticLoss

TASK = Task("semantic", ("a", "b", "c"), (8, 8), counts=(90, 9, 1))


def made(names: str, weighting: str = "none") -> SemanticLoss:
    return SemanticLoss(TASK, names, class_weights=weighting, reduction="by_count")


def test_each_term_stands_under_its_name() -> None:
    logits, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    terms = made("ce + dice+lovasz", "inverse")(logits, labels)
    weights = class_weights("inverse", TASK.counts)
    expected = {
        "ce": cross_entropy(logits, labels, weights=weights, reduction="by_count"),
        "dice": dice(logits, labels),
        "lovasz": lovasz_softmax(logits, labels),
    }
    assert list(terms) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


def test_weights_go_with_the_module_and_are_not_saved() -> None:
    module = made("ce", "inverse")
    assert not module.state_dict()
    assert module.double().weights is not None
    assert module.weights is not None
    assert module.weights.dtype == torch.float64


@pytest.mark.parametrize(
    ("names", "said"),
    [("ce+dise", "did you mean 'dice'"), ("ce+ce", "may stand in the sum once"), ("", "loss is ''")],
)
def test_what_is_no_sum_of_losses_is_refused(names: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        made(names)
