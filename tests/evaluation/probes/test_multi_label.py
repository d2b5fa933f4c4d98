"""The probe of several labels a sample."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sslkit.contracts import Features
from sslkit.errors import DataError
from sslkit.evaluation.probes.multi_label import MultiLabel

OPTIONS = {"l2": [1e-3, 1e-1], "held_out_share": 0.2, "max_iterations": 50, "seed": 0}


def attributes(count: int, seed: int) -> Features:
    rows = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    sets = rows[:, :4] > torch.tensor([0.0, 0.5, 1.0, 2.0])
    return Features(torch.arange(count), rows, torch.full((count,), -1), (), sets)


def test_attributes_that_embeddings_tell_are_told() -> None:
    probe = MultiLabel(**OPTIONS)  # type: ignore[arg-type]
    judged = probe(attributes(300, 0), attributes(200, 1), ["a", "b", "c", "d"], trial=0)
    found = judged.figures()
    assert found.figures["map"] > 0.9
    assert found.figures["micro_f1"] > 0.9
    assert set(found.per_class) == {"a", "b", "c", "d"}
    assert judged.count == 200


def test_a_thousand_rare_attributes_are_told() -> None:
    """One sample in some fifty has an attribute: each is a direction of the embeddings."""
    directions = torch.randn(32, 1000, generator=torch.Generator().manual_seed(7))

    def samples(count: int, seed: int) -> Features:
        rows = torch.randn(count, 32, generator=torch.Generator().manual_seed(seed))
        sets = rows @ directions > 2.0 * directions.norm(dim=0)
        return Features(torch.arange(count), rows, torch.full((count,), -1), (), sets)

    train, test = samples(600, 0), samples(400, 1)
    assert 0.01 < float(train.sets.float().mean()) < 0.04  # type: ignore[union-attr]
    judged = MultiLabel(**OPTIONS)(train, test, [f"attribute {n}" for n in range(1000)], trial=0)  # type: ignore[arg-type]
    found = judged.figures()
    assert found.figures["map"] > 0.6  # chance is some .03
    assert len(found.per_class) > 950  # those that a test sample has


def test_samples_of_one_label_are_refused() -> None:
    single = replace(attributes(20, 0), sets=None)
    with pytest.raises(DataError, match="several labels on a line"):
        MultiLabel(**OPTIONS)(single, single, ["a", "b", "c", "d"], trial=0)  # type: ignore[arg-type]
