"""The k-NN probe by its protocols."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sslkit.contracts import Features
from sslkit.errors import ConfigError, DataError
from sslkit.evaluation.knn import knn_classify
from sslkit.evaluation.probes.knn import KNN
from sslkit.runs.probing import choose_probe, probed

CLASSES = ["a", "b", "c"]


def toy(count: int, seed: int) -> Features:
    labels = torch.arange(count) % 3
    noise = 0.1 * torch.randn(count, 5, generator=torch.Generator().manual_seed(seed))
    return Features(torch.arange(count), torch.eye(3, 5)[labels] + noise, labels)


@pytest.mark.parametrize("name", ["knn-20", "knn-200"])
def test_every_packed_protocol_measures(name: str) -> None:
    protocol, probe = choose_probe("knn", name)
    assert protocol.id == name
    found = probe(toy(300, 0), toy(60, 1), CLASSES, trial=0).figures()
    assert (found.figures["top1"], found.figures["top5"]) == (1.0, 1.0)
    assert found.per_class == {"a": 1.0, "b": 1.0, "c": 1.0}


def test_the_labels_of_the_test_rows_only_judge() -> None:
    test = toy(60, 1)
    wrong = dataclasses.replace(test, labels=(test.labels + 1) % 3)
    judged = KNN(k=20, temperature=0.07)(toy(300, 0), wrong, CLASSES, trial=0)
    assert judged.figures().figures["top1"] == 0.0


def test_it_says_what_the_neighbours_vote_for_and_trials_are_alike() -> None:
    train, test = toy(30, 0), toy(60, 1)
    probe = KNN(k=3, temperature=0.1)
    expected = knn_classify(
        train.embeddings, train.labels, test.embeddings, k=3, temperature=0.1, classes=3
    ).ranking
    assert torch.equal(probe(train, test, CLASSES, trial=0).ranking, expected)
    assert torch.equal(probe(train, test, CLASSES, trial=9).ranking, expected)


def test_samples_without_a_class_are_neither_fitted_nor_judged() -> None:
    train, test = toy(30, 0), toy(60, 1)
    half = dataclasses.replace(test, labels=torch.where(test.ids < 30, test.labels, -1))
    judged = probed(KNN(k=3, temperature=0.1), train, half, CLASSES, trial=0)
    assert judged.count == 30
    with pytest.raises(DataError, match="-1 means unknown"):
        KNN(k=3, temperature=0.1)(train, half, CLASSES, trial=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["mode=finetune"], "needs 'frozen'"),
        (["options.k=31"], "k=31"),
        (["options.neighbours=3"], "neighbours"),
    ],
)
def test_a_protocol_that_does_not_fit_is_refused(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_probe("knn", "knn-20", settings)[1](toy(30, 0), toy(6, 1), CLASSES, trial=0)
