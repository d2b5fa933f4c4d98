"""Doubtful labels: the rule in plain loops, and flipped labels found again."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from sslkit.errors import ConfigError, DataError
from sslkit.retrieval.curation.mislabelled import doubtful_labels, labelled, votes
from sslkit.retrieval.curation.neighbours import Graph
from sslkit.retrieval.filters import Where
from tests.retrieval.curation.made_index import blobs, graph_of


def doubts_by_hand(
    graph: Graph, labels: NDArray[np.int64], classes: int, temperature: float
) -> tuple[dict[int, tuple[int, float]], list[list[int]]]:
    """{item: (suggested class, doubt)} and the confident joint, in plain loops."""
    count = len(labels)
    p = [[0.0] * classes for _ in range(count)]
    for i in range(count):
        weights = [math.exp(float(s) / temperature) for s in graph.similarities[i]]
        for place, weight in zip(graph.places[i], weights, strict=True):
            p[i][labels[place]] += weight / sum(weights)
    usual = []
    for j in range(classes):
        of_j = [p[i][j] for i in range(count) if labels[i] == j]
        usual.append(sum(of_j) / len(of_j) if of_j else 0.0)
    joint = [[0] * classes for _ in range(classes)]
    found = {}
    for i in range(count):
        confident = [j for j in range(classes) if p[i][j] > 0 and p[i][j] >= usual[j] - 1e-12]
        if not confident:
            continue
        best = max(confident, key=lambda j: p[i][j])
        joint[labels[i]][best] += 1
        if best != labels[i] and p[i][best] > p[i][labels[i]]:
            found[i] = (best, p[i][best] - p[i][labels[i]])
    return found, joint


@pytest.mark.parametrize("temperature", [0.07, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_doubts_equal_the_plain_rule(temperature: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), [20, 15, 10, 6])
    vectors = blobs([20, 15, 10, 6], spread=1.5, seed=seed)
    labels[generator.choice(51, 8, replace=False)] = generator.integers(0, 4, 8)
    graph = graph_of(vectors, 7)
    doubts = doubtful_labels(graph, labels, classes=5, temperature=temperature)
    expected, joint = doubts_by_hand(graph, labels, 5, temperature)
    assert len(expected) > 0
    found = zip(
        doubts.ids.tolist(), doubts.suggested.tolist(), (doubts.other - doubts.own).tolist(), strict=True
    )
    assert {id: (suggested, pytest.approx(doubt)) for id, suggested, doubt in found} == expected
    assert doubts.joint.tolist() == joint
    assert doubts.given.tolist() == labels[doubts.ids].tolist()
    assert (np.diff(doubts.other - doubts.own) <= 0).all()


def test_flipped_labels_are_found_again() -> None:
    generator = np.random.default_rng(0)
    truth = np.repeat(np.arange(5), 100)
    vectors = blobs([100] * 5, spread=0.7)
    flipped = generator.choice(500, 50, replace=False)
    labels = truth.copy()
    labels[flipped] = (truth[flipped] + generator.integers(1, 5, 50)) % 5
    doubts = doubtful_labels(graph_of(vectors, 10), labels, classes=5)
    hits = np.isin(doubts.ids, flipped)
    assert hits.mean() > 0.95  # precision
    assert hits.sum() / 50 >= 0.8  # recall
    assert (doubts.suggested[hits] == truth[doubts.ids[hits]]).all()


def test_a_rare_class_beside_a_frequent_one_is_not_all_in_doubt() -> None:
    """A mere vote would doubt most of the rare class; its usual share of the votes is what counts."""
    vectors = np.concatenate([blobs([300], spread=1.6), blobs([300], spread=1.6, seed=0)[:15] * 1.0])
    labels = np.repeat([0, 1], [300, 15])
    graph = graph_of(vectors, 10)
    voted, shares = votes(graph, labels, 0.07)
    outvoted = (voted[np.arange(315), shares.argmax(1)] != labels)[300:].sum()
    doubts = doubtful_labels(graph, labels, classes=2)
    assert (doubts.ids >= 300).sum() <= outvoted


def test_clean_labels_of_clear_classes_raise_no_doubt() -> None:
    doubts = doubtful_labels(graph_of(blobs([30, 30]), 5), np.repeat([0, 1], 30), classes=2)
    assert (len(doubts), doubts.agreement) == (0, 1.0)
    assert doubts.joint.tolist() == [[30, 0], [0, 30]]


def test_votes_of_one_class_are_added_in_the_column_of_its_nearest() -> None:
    graph = Graph(
        np.arange(3),
        np.array([[1, 2, 1], [2, -1, -1], [0, 1, -1]]),
        np.array([[0.9, 0.8, 0.7], [0.5, -np.inf, -np.inf], [0.3, 0.3, -np.inf]], np.float32),
    )
    voted, shares = votes(graph, np.array([0, 1, 0]), 1.0)
    e = np.exp([0.9, 0.8, 0.7])
    np.testing.assert_allclose(shares[0], [(e[0] + e[2]) / e.sum(), e[1] / e.sum(), 0], rtol=1e-6)
    assert shares[1].tolist() == [1, 0, 0]
    assert (voted[2].tolist(), shares[2].tolist()) == ([0, 1, 0], [0.5, 0.5, 0])


def test_too_few_classes_and_a_wrong_temperature_are_refused() -> None:
    graph = graph_of(blobs([6]), 2)
    for labels in (np.zeros(6, np.int64), np.array([0, 1, 0, 1, -1, 0])):
        with pytest.raises(DataError, match="fewer than two classes"):
            doubtful_labels(graph, labels, classes=2)
    with pytest.raises(ConfigError, match="above zero"):
        doubtful_labels(graph, np.arange(6) % 2, classes=2, temperature=0.0)


def test_what_has_a_label_is_added_to_any_condition() -> None:
    assert labelled(None) == Where(sql="class IS NOT NULL")
    assert labelled(Where(path="a/*")) == Where(sql="class IS NOT NULL", path="a/*")
    assert (
        labelled(Where(sql="id = 1 OR id = 2 -- both")).sql
        == "(id = 1 OR id = 2 -- both\n) AND class IS NOT NULL"
    )
