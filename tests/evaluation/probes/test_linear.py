"""The linear probe by its protocol."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from sslkit.contracts import Features
from sslkit.errors import ConfigError
from sslkit.evaluation.linear import fit_linear
from sslkit.evaluation.probes.linear import Linear
from sslkit.runs.probing import choose_probe

CLASSES = ["a", "b", "c"]
OPTIONS: dict[str, Any] = {"l2": [1e-3, 1e-1], "held_out_share": 0.2, "max_iterations": 50, "seed": 0}


def toy(count: int, seed: int, noise: float = 0.1) -> Features:
    labels = torch.arange(count) % 3
    spread = noise * torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))
    return Features(torch.arange(count), torch.eye(3, 5)[labels] + spread, labels)


def test_the_packed_protocol_measures() -> None:
    found = choose_probe("linear", "linear-lbfgs")[1](toy(300, 0), toy(60, 1), CLASSES, trial=0).figures()
    assert (found.figures["top1"], found.figures["top5"]) == (1.0, 1.0)
    assert found.per_class == {"a": 1.0, "b": 1.0, "c": 1.0}


def test_the_labels_of_the_test_rows_only_judge() -> None:
    test = toy(60, 1)
    wrong = dataclasses.replace(test, labels=(test.labels + 1) % 3)
    judged = Linear(**OPTIONS)(toy(300, 0), wrong, CLASSES, trial=0)
    assert judged.figures().figures["top1"] == 0.0


def test_a_trial_is_a_seed_of_what_is_held_out() -> None:
    train, test = toy(40, 0, noise=1.0), toy(60, 1, noise=1.0)
    options = {**OPTIONS, "l2": [1e-4, 1.0]}
    fits = [
        fit_linear(train.embeddings, train.labels, classes=3, **{**options, "seed": seed})
        for seed in range(8)
    ]
    assert len({fit.l2 for fit in fits}) == 2  # what is held out decides
    for trial, fit in enumerate(fits):
        judged = Linear(**options)(train, test, CLASSES, trial=trial)
        assert torch.equal(judged.ranking, fit.rank(test.embeddings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["mode=finetune"], "needs 'frozen'"),
        (["options.l2=[]"], "penalty"),
        (["options.held_out_share=0.0"], "held_out_share"),
        (["options.k=3"], "'k'|\\bk\\b"),
    ],
)
def test_a_protocol_that_does_not_fit_is_refused(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_probe("linear", "linear-lbfgs", settings)[1](toy(30, 0), toy(6, 1), CLASSES, trial=0)
