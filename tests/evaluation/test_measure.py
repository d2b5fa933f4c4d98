"""Protocols applied to features."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sslkit.errors import ConfigError
from sslkit.evaluation.features import Features
from sslkit.evaluation.measure import Probe, knn, linear, measure
from sslkit.registry.protocols import load_protocol


def toy(count: int, seed: int) -> Features:
    labels = torch.arange(count) % 3
    noise = 0.1 * torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))
    return Features(torch.arange(count), torch.eye(3, 5)[labels] + noise, labels)


@pytest.mark.parametrize(("name", "probe"), [("knn-20", knn), ("knn-200", knn), ("linear-lbfgs", linear)])
def test_every_packed_protocol_measures(name: str, probe: Probe) -> None:
    row = measure(load_protocol(name), probe, toy(300, 0), toy(60, 1), ["a", "b", "c"], subject="toy")
    assert (row.subject, row.figures["top1"], row.figures["top5"]) == ("toy", 1.0, 1.0)
    assert row.per_class == {"a": 1.0, "b": 1.0, "c": 1.0}


def test_the_labels_of_the_test_rows_only_judge() -> None:
    test = toy(60, 1)
    wrong = dataclasses.replace(test, labels=(test.labels + 1) % 3)
    for name, probe in (("knn-20", knn), ("linear-lbfgs", linear)):
        row = measure(load_protocol(name), probe, toy(300, 0), wrong, ["a", "b", "c"], subject="toy")
        assert row.figures["top1"] == 0.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mode": "finetune"}, "needs 'frozen'"),
        ({"options": {"k": 3}}, "exactly the options k, temperature"),
        ({"options": {"k": 31, "temperature": 0.1}}, "k=31"),
    ],
)
def test_a_protocol_that_does_not_fit_is_refused(changed: dict[str, object], message: str) -> None:
    protocol = dataclasses.replace(load_protocol("knn-20"), **changed)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        measure(protocol, knn, toy(30, 0), toy(6, 1), ["a", "b", "c"], subject="toy")
