"""Nearest class mean, against SimpleShot in plain loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sslkit.errors import DataError
from sslkit.evaluation.class_means import centred_unit, rank_by_class_mean


def rows(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)) + 0.5


def slowly(train: Tensor, labels: list[int], query: Tensor, classes: int) -> list[int]:
    """Wang et al. 2019, section 3 (CL2N), in float64: classes by squared distance to their means."""
    train, query = train.double(), query.double()
    centre = sum(train) / len(train)
    of_class: dict[int, list[Tensor]] = {k: [] for k in range(classes)}
    for row, label in zip(train, labels, strict=True):
        of_class[label].append((row - centre) / (row - centre).norm())
    looked = (query - centre) / (query - centre).norm()
    distances = [
        float((looked - sum(own) / len(own)).square().sum()) if own else float("inf")
        for own in of_class.values()
    ]
    return sorted(range(classes), key=lambda k: (distances[k], k))


@pytest.mark.parametrize("classes", [3, 5, 8])
def test_the_nearest_mean_is_that_of_plain_loops(classes: int) -> None:
    train, test = rows(40), rows(60, seed=1)
    labels = torch.arange(40) ** 2 % classes  # unequal classes, some of which do not occur
    centre = train.mean(dim=0)
    found = rank_by_class_mean(
        centred_unit(train, centre), labels, centred_unit(test, centre), classes=classes
    )
    for query, ranking in zip(test, found.tolist(), strict=True):
        assert ranking == slowly(train, labels.tolist(), query, classes)[:5]


def test_how_many_samples_a_class_has_changes_nothing() -> None:
    train, labels, test = rows(9), torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2]), rows(30, seed=1)
    often = torch.cat([train[:3].repeat(9, 1), train[3:]])
    more = torch.cat([labels[:3].repeat(9), labels[3:]])
    assert torch.equal(
        rank_by_class_mean(train, labels, test, classes=3), rank_by_class_mean(often, more, test, classes=3)
    )


def test_what_lies_on_the_centre_has_no_direction() -> None:
    assert centred_unit(torch.ones(1, 3), torch.ones(3)).tolist() == [[0.0, 0.0, 0.0]]


def test_unusable_embeddings_and_labels_are_refused() -> None:
    with pytest.raises(DataError, match="3 of 3 embeddings are not finite"):
        centred_unit(rows(3) / 0, torch.zeros(6))
    with pytest.raises(DataError, match="widths must agree"):
        centred_unit(rows(3), torch.zeros(5))
    with pytest.raises(DataError, match=r"outside 0\.\.1"):
        rank_by_class_mean(rows(3), torch.tensor([0, 1, 2]), rows(3), classes=2)
