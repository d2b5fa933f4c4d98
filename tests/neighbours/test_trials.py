"""Measured recall against plain loops, its interval against simulated worlds, and what times are taken of."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from sslkit.neighbours.flat import FlatIndex
from sslkit.neighbours.structure import Effort, Structure, planned
from sslkit.neighbours.trials import HeldOut, Trial, interval


def vectors(count: int, dim: int = 16, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)


class Forgetful:
    """Searches exactly, but finds nothing in the rows it has lost; it may find what is not allowed."""

    kind, factory, nbytes = "forgetful", "Forgetful", 7

    def __init__(self, index: FlatIndex, lost: NDArray[np.int64], *, obeys: bool = True) -> None:
        self.index, self.obeys = index, obeys
        self.known = np.ones(len(index), np.bool_)
        self.known[lost] = False
        self.asked: list[tuple[int, bool]] = []

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        effort: Effort,
        allowed: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        self.asked.append((len(queries), allowed is not None))
        known = self.known if allowed is None or not self.obeys else self.known & allowed
        return self.index.search(queries, k, allowed=known)


def held_out(index: FlatIndex, rows: list[int], k: int) -> HeldOut:
    held = np.asarray(rows, dtype=np.int64)
    return HeldOut(index, index.rows(held), k, held)


def slow_shares(index: FlatIndex, held: list[int], k: int, lost: set[int]) -> list[float]:
    """Of each held-out row, the share of its k nearest among the others that is not lost, in float64."""
    unit = index.view().astype(np.float64)
    shares = []
    for row in held:
        others = [other for other in range(len(unit)) if other not in held]
        others.sort(key=lambda other: -float(unit[other] @ unit[row]))
        shares.append(sum(other not in lost for other in others[:k]) / k)
    return shares


EFFORT = cast(Effort, None)  # which the stand-in does not read


@pytest.mark.parametrize("k", [1, 5, 12])
def test_the_share_found_is_that_of_the_definition(k: int) -> None:
    index = FlatIndex.build(vectors(300))
    held, lost = list(range(1, 300, 13)), np.arange(0, 300, 4)
    found = held_out(index, held, k).shares(cast(Structure, Forgetful(index, lost)), EFFORT)
    expected = slow_shares(index, held, k, set(lost.tolist()))
    np.testing.assert_allclose(found, expected)
    assert 0 < sum(expected) < len(held)


def test_queries_outside_the_vectors_are_looked_up_among_all_of_them() -> None:
    index = FlatIndex.build(vectors(200))
    queries = FlatIndex.build(vectors(9, seed=1)).view()
    nearest = np.argsort(-(queries @ index.view().T), axis=1)[:, :4]
    exam = HeldOut(index, np.array(queries), 4)
    whole = Forgetful(index, np.empty(0, np.int64))
    assert exam.shares(cast(Structure, whole), EFFORT).tolist() == [1.0] * 9
    without = Forgetful(index, nearest[:, 2])
    lost = np.isin(nearest, nearest[:, 2]).mean(axis=1)
    np.testing.assert_allclose(exam.shares(cast(Structure, without), EFFORT), 1 - lost)


def test_of_equal_vectors_any_will_do() -> None:
    rows = np.repeat(vectors(10), 30, axis=0)
    index = FlatIndex.build(rows)
    lost = np.setdiff1d(np.arange(300), np.arange(25, 300, 30))  # all but one of each, which is not the first
    exam = held_out(index, [0, 60], 1)
    np.testing.assert_array_equal(exam.shares(cast(Structure, Forgetful(index, lost)), EFFORT), 1.0)


def test_a_held_out_row_is_no_answer_to_another() -> None:
    rows = vectors(200)
    rows[7] = rows[5] * 2
    index = FlatIndex.build(rows)
    exam = held_out(index, [5, 7], 3)
    honest = Forgetful(index, np.empty(0, np.int64))
    assert exam.shares(cast(Structure, honest), EFFORT).tolist() == [1.0, 1.0]
    # It returns both held-out rows before the nearest, which counts for one of three.
    cheat = Forgetful(index, np.empty(0, np.int64), obeys=False)
    np.testing.assert_allclose(exam.shares(cast(Structure, cheat), EFFORT), 1 / 3)


def test_a_graph_leaves_out_the_query_alone() -> None:
    rows = vectors(200)
    rows[7] = rows[5] * 2
    index = FlatIndex.build(rows)
    graph = Forgetful(index, np.empty(0, np.int64))
    graph.kind = "hnsw"
    assert held_out(index, [5, 7], 3).shares(cast(Structure, graph), EFFORT).tolist() == [1.0, 1.0]
    assert graph.asked == [(2, False)]
    # Row 7 is the nearest of row 5: where it is lost, no other row takes its place.
    lossy = Forgetful(index, np.array([7]))
    lossy.kind = "hnsw"
    np.testing.assert_allclose(held_out(index, [5], 3).shares(cast(Structure, lossy), EFFORT), 2 / 3)


def test_many_held_out_rows_near_a_query_are_all_replaced() -> None:
    rows = vectors(300)
    rows[:60] = rows[0] + 0.01 * vectors(60, seed=5)  # far more than are asked for beyond k
    index = FlatIndex.build(rows)
    held = list(range(60))
    half = np.arange(60, 300, 2)
    found = held_out(index, held, 4).shares(cast(Structure, Forgetful(index, half)), EFFORT)
    np.testing.assert_allclose(found, slow_shares(index, held, 4, set(half.tolist())))


def test_places_left_empty_count_as_missed() -> None:
    index = FlatIndex.build(vectors(40))
    few = Forgetful(index, np.arange(2, 40))
    assert held_out(index, [39], 10).shares(cast(Structure, few), EFFORT)[0] <= 0.2


def test_more_neighbours_than_rows_are_left_are_not_asked_for() -> None:
    assert held_out(FlatIndex.build(vectors(20)), [1, 2, 3], 50).k == 17


def test_a_trial_times_one_query_by_itself_and_all_together() -> None:
    index = FlatIndex.build(vectors(300))
    stand_in = Forgetful(index, np.empty(0, np.int64))
    trial = held_out(index, list(range(0, 60, 2)), 5).trial(cast(Structure, stand_in), EFFORT, 1.5)
    counts = {count for count, masked in stand_in.asked if not masked}
    assert counts == {1, 30}
    assert {count for count, masked in stand_in.asked if masked} == {30}
    assert (trial.kind, trial.rows, trial.recall, trial.nbytes, trial.build_seconds) == (
        *("forgetful", 300, 1.0, 7, 1.5),
    )
    assert trial.milliseconds > 0
    assert trial.batch_milliseconds > 0


def test_exact_search_finds_all_and_reads_all() -> None:
    trial = held_out(FlatIndex.build(vectors(300)), [4, 5, 6], 5).exact_trial()
    assert (trial.kind, trial.recall, trial.low, trial.nbytes) == ("flat", 1.0, 1.0, 300 * 16 * 4)


def test_a_trial_survives_json() -> None:
    index = FlatIndex.build(vectors(2_000))
    structure = Structure.train(planned("ivf_sq8", 2_000, 16), index, sample=None, seed=0)
    structure.add(index, 0, 2_000)
    trial = held_out(index, list(range(50)), 5).trial(structure, structure.efforts()[1], 0.5)
    assert Trial.of(json.loads(json.dumps(trial.to_dict()))) == trial


def test_a_sample_lets_expect_the_root_of_the_rows_or_their_logarithm() -> None:
    made = Trial("ivf_sq8", "A", Effort(probes=1), 20, 0.96, 0.955, 0.97, 1.0, 0.5, 400, 1.0)
    lists = made.expected(80)
    assert (lists.milliseconds, lists.nbytes, lists.rows, lists.recall) == (2.0, 1600, 80, 0.96)
    graph = replace(made, kind="hnsw").expected(400)
    assert graph.milliseconds == pytest.approx(2.0)  # the logarithm of the square


@pytest.mark.parametrize("found", [0, 3, 40, 50])
def test_of_one_neighbour_a_query_the_interval_is_wilsons(found: int) -> None:
    shares = np.zeros(50)
    shares[:found] = 1
    mean, low, high = interval(shares, 1)
    expected = binomtest(found, 50).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose((mean, low, high), (found / 50, expected.low, expected.high), atol=1e-6)


def test_neighbours_that_are_found_by_themselves_count_as_so_many_more_queries() -> None:
    draw = np.random.default_rng(0)
    alone = draw.binomial(10, 0.9, 2_000) / 10  # each neighbour found or missed by itself
    together = draw.binomial(1, 0.9, 2_000).astype(float)  # all of a query, or none
    widths = [interval(shares, 10)[2] - interval(shares, 10)[1] for shares in (alone, together)]
    assert widths[0] == pytest.approx(widths[1] / np.sqrt(10), rel=0.15)


def test_the_interval_has_a_width_where_all_is_found() -> None:
    mean, low, high = interval(np.ones(100), 10)
    assert (mean, high) == (1.0, 1.0)
    assert 0.95 < low < 1


@pytest.mark.parametrize(("recall", "spread"), [(0.9, 0.05), (0.97, 0.3), (0.99, 0.2)])
def test_the_interval_holds_the_truth_in_95_of_100_worlds(recall: float, spread: float) -> None:
    draw = np.random.default_rng(1)
    strength = 1 / spread  # of a beta distribution: queries differ in how easy they are

    def holds() -> bool:
        easy = draw.beta(recall * strength, (1 - recall) * strength, 400)
        _, low, high = interval(draw.binomial(10, easy) / 10, 10)
        return low <= recall <= high

    share = np.mean([holds() for _ in range(1_000)])
    assert 0.93 <= share <= 0.985


def test_equal_measurements_of_recall_are_equal() -> None:
    index = FlatIndex.build(vectors(300))
    stand_in: Any = Forgetful(index, np.arange(0, 300, 3))
    first, second = (held_out(index, [1, 2, 4], 5).trial(stand_in, EFFORT, 0.0) for _ in range(2))
    assert (first.recall, first.low, first.high) == (second.recall, second.low, second.high)
