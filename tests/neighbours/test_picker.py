"""What is picked for a wish: measured recall against numpy's, budgets, and what structures never see."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sslkit.errors import ConfigError
from sslkit.neighbours import picker
from sslkit.neighbours.flat import FlatIndex
from sslkit.neighbours.picker import Picked, Wanted, pick
from sslkit.neighbours.plan import Effort
from sslkit.neighbours.structure import Structure
from sslkit.neighbours.trials import Trial

DIM = 16
COUNT = 3_000


def clustered(count: int, seed: int = 0) -> NDArray[np.float32]:
    centres = np.random.default_rng(0).standard_normal((40, DIM))
    draw = np.random.default_rng(seed)
    rows = centres[draw.integers(0, 40, count)] + 0.7 * draw.standard_normal((count, DIM))
    return rows.astype(np.float32)


@pytest.fixture(scope="module")
def vectors() -> FlatIndex:
    return FlatIndex.build(clustered(COUNT))


@pytest.fixture
def from_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Structures are worth while from 2,000 rows on, and 1,000 are enough to compare them."""
    monkeypatch.setattr(picker, "FLAT_ROWS", 2_000)
    monkeypatch.setattr(picker, "DECIDING_ROWS", 1_000)


def recall_of_new_queries(picked: Picked, vectors: FlatIndex, k: int) -> float:
    """On queries that no one has seen, in float64."""
    queries = np.array(FlatIndex.build(clustered(400, seed=9)).view())
    true = np.argsort(-(queries.astype(np.float64) @ vectors.view().astype(np.float64).T), axis=1)[:, :k]
    assert picked.structure is not None
    assert picked.effort is not None
    found, _ = picked.structure.search(queries, k, effort=picked.effort)
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(true, found, strict=True)]))


@pytest.mark.parametrize("count", [1, 2, 19, 999, COUNT])
def test_few_vectors_are_searched_exactly(count: int) -> None:
    picked = pick(FlatIndex.build(clustered(count)), Wanted())
    assert picked.structure is None
    assert picked.effort is None
    assert [(trial.kind, trial.chosen, trial.recall) for trial in picked.trials] == [("flat", True, 1.0)]
    assert picked.note == ""


def test_exact_search_is_kept_where_it_is_quick_enough(from_small: None, vectors: FlatIndex) -> None:
    picked = pick(vectors, Wanted(latency=1e4))
    assert picked.structure is None
    assert len(picked.trials) == 1


@pytest.mark.parametrize("kind", ["hnsw", "ivf_fastscan", "ivf_rabitq", "ivf_sq8"])
def test_each_kind_finds_as_much_as_was_asked_for(kind: Any, vectors: FlatIndex) -> None:
    picked = pick(vectors, Wanted(kind=kind, recall=0.9, k=5))
    chosen = picked.chosen
    assert picked.structure is not None
    assert (picked.structure.kind, chosen.kind, chosen.rows, len(picked.structure)) == (
        kind,
        kind,
        COUNT,
        COUNT,
    )
    assert (picked.queries, picked.k, picked.effort) == (300, 5, chosen.effort)
    assert chosen.low >= 0.9
    # The interval is of 300 queries, these are 400 others: some four deviations of their difference.
    assert recall_of_new_queries(picked, vectors, 5) >= chosen.low - 0.03
    # Every row can be found, held out or not.
    some = np.arange(0, COUNT, 10)
    rows, _ = picked.structure.search(vectors.rows(some), 1, effort=picked.structure.efforts()[-1])
    assert (rows[:, 0] == some).mean() > 0.99


def test_the_least_effort_that_is_enough_is_chosen_and_one_more_measured(vectors: FlatIndex) -> None:
    picked = pick(vectors, Wanted(kind="ivf_sq8", recall=0.9))
    assert picked.structure is not None
    tried = [trial for trial in picked.trials if trial.kind == "ivf_sq8"]
    assert [trial.effort for trial in tried] == list(picked.structure.efforts()[: len(tried)])
    enough = [trial.low >= 0.9 for trial in tried]
    assert enough.index(True) == tried.index(picked.chosen)
    assert sum(enough) == 2
    assert [trial.chosen for trial in picked.trials].count(True) == 1


def test_the_same_vectors_and_seed_give_the_same_recall(vectors: FlatIndex) -> None:
    def recalls(seed: int) -> list[float]:
        return [trial.recall for trial in pick(vectors, Wanted(kind="ivf_sq8"), seed=seed).trials]

    assert recalls(0) == recalls(0)
    assert recalls(0) != recalls(1)


def test_structures_learn_from_no_query_and_answer_with_none(
    vectors: FlatIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: list[Any] = []
    masks: list[NDArray[np.bool_] | None] = []
    train, search = Structure.train, Structure.search

    def watched_train(*given: Any, **options: Any) -> Structure:
        learnt.append(options["excluded"])
        return train(*given, **options)

    def watched_search(*given: Any, allowed: Any = None, **options: Any) -> Any:
        masks.append(allowed)
        return search(*given, allowed=allowed, **options)

    monkeypatch.setattr(Structure, "train", watched_train)
    monkeypatch.setattr(Structure, "search", watched_search)
    picked = pick(vectors, Wanted(kind="ivf_sq8"))
    (held,) = learnt
    assert len(np.unique(held)) == picked.queries == 300
    # Time is taken of searches as they will be, recall of those that leave the queries out.
    masked = [mask for mask in masks if mask is not None]
    assert len(masked) == len(picked.trials) - 1
    assert all((np.flatnonzero(~mask) == held).all() for mask in masked)


def test_many_vectors_are_decided_on_a_sample_and_one_structure_is_built(
    from_small: None, vectors: FlatIndex
) -> None:
    said: list[str] = []
    picked = pick(vectors, Wanted(recall=0.8), progress=said.append)
    on_sample = {trial.kind for trial in picked.trials if trial.rows == 1_000}
    on_all = {trial.kind for trial in picked.trials if trial.rows == COUNT} - {"flat"}
    assert on_sample == {"ivf_fastscan", "ivf_rabitq", "ivf_sq8", "hnsw"}
    assert 1 <= len(on_all) <= 2
    assert picked.chosen.rows == COUNT
    assert "on 1,000 of 3,000" in said[0]
    if picked.structure is not None:
        assert len(picked.structure) == COUNT


def test_the_sample_holds_no_query(
    from_small: None, vectors: FlatIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    exams: list[Any] = []

    class Watched(picker.HeldOut):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            exams.append(self)

    monkeypatch.setattr(picker, "HeldOut", Watched)
    pick(vectors, Wanted(recall=0.8))
    whole, sample = exams
    assert sample.rows is None
    np.testing.assert_array_equal(whole.queries, sample.queries)
    assert (sample.queries @ np.array(sample.vectors.view()).T).max() < 1 - 1e-6


def test_only_what_fits_is_built_where_memory_is_short(from_small: None, vectors: FlatIndex) -> None:
    picked = pick(
        vectors, Wanted(recall=0.8, memory=60_000)
    )  # 20 bytes a vector: too few for a byte a dimension
    built = [trial for trial in picked.trials if trial.rows == COUNT and trial.effort is not None]
    assert {trial.kind for trial in built} <= {"ivf_fastscan", "ivf_rabitq"}
    assert picked.chosen.nbytes <= 60_000


@pytest.mark.parametrize("kind", ["auto", "hnsw", "flat"])
def test_memory_that_nothing_fits_into_is_refused_with_what_would_do(
    from_small: None, vectors: FlatIndex, kind: Any
) -> None:
    with pytest.raises(
        ConfigError, match=r"memory=100 bytes .* 3,000 vectors of 16 .* the smallest"
    ) as refused:
        pick(vectors, Wanted(kind=kind, memory=100))
    assert ("take kind auto" in str(refused.value)) == (kind != "auto")


def test_a_recall_beyond_reach_is_said_in_words(vectors: FlatIndex) -> None:
    picked = pick(vectors, Wanted(kind="ivf_rabitq", recall=0.99999))
    assert picked.chosen.recall == max(trial.recall for trial in picked.trials if trial.kind == "ivf_rabitq")
    assert "0.99999 was asked for" in picked.note
    assert picked.chosen.note == picked.note


def test_a_latency_beyond_reach_is_said_in_words(from_small: None, vectors: FlatIndex) -> None:
    picked = pick(vectors, Wanted(recall=0.8, latency=1e-5))
    assert "1e-05 were asked for" in picked.note
    assert picked.chosen.low >= 0.8


def searching(trials: list[Trial], **wish: Any) -> list[str]:
    """The order of hand-made trials for a wish."""
    search = picker._Search(FlatIndex.build(clustered(20)), Wanted(**wish), 0, picker.fill, print)
    return [trial.kind for trial in search._ranked(trials)]


MADE = Trial("a", "A", Effort(probes=1), 20, 0.96, 0.955, 0.97, 1.0, 0.5, 400, 1.0)


def test_of_those_alike_in_time_the_smallest_is_first() -> None:
    small = replace(MADE, kind="small", milliseconds=1.4, nbytes=100)
    slow = replace(MADE, kind="slow", milliseconds=1.6, nbytes=50)
    poor = replace(MADE, kind="poor", low=0.94, milliseconds=0.1, nbytes=10)
    assert searching([MADE, small, slow, poor]) == ["small", "a", "slow", "poor"]


def test_of_those_within_the_latency_the_smallest_is_first() -> None:
    slow = replace(MADE, kind="slow", milliseconds=3.0, nbytes=50)
    late = replace(MADE, kind="late", milliseconds=5.1, nbytes=5)
    assert searching([MADE, slow, late], latency=5.0) == ["slow", "a", "late"]


def test_what_misses_the_recall_is_ordered_by_it() -> None:
    worse, worst = (replace(MADE, kind=kind, recall=r) for kind, r in (("worse", 0.8), ("worst", 0.5)))
    assert searching([worst, MADE, worse], recall=0.99) == ["a", "worse", "worst"]


def test_what_does_not_fit_is_no_choice() -> None:
    assert searching([MADE, replace(MADE, kind="big", nbytes=500)], memory=400) == ["a"]


def bad_wishes() -> Iterator[tuple[dict[str, Any], str]]:
    yield {"kind": "ivf"}, "kind 'ivf'.*auto, flat, hnsw"
    for recall in (0.0, 1.0, 95, math.nan):
        yield {"recall": recall}, f"recall={recall}.*kind flat"
    for name in ("k", "memory", "latency"):
        for value in (0, -1, math.nan, math.inf):
            yield {name: value}, f"{name}={value}.*above zero"


@pytest.mark.parametrize(("wish", "message"), list(bad_wishes()))
def test_wishes_that_mean_nothing_are_refused(wish: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Wanted(**wish)


def test_the_passport_says_what_was_measured(vectors: FlatIndex) -> None:
    picked = pick(vectors, Wanted(kind="ivf_sq8", recall=0.9))
    said = json.loads(json.dumps(picked.to_dict(), allow_nan=False))
    assert (said["kind"], said["factory"]) == ("ivf_sq8", picked.chosen.factory)
    assert (said["recall"], said["low"], said["high"]) == (
        *(picked.chosen.recall, picked.chosen.low, picked.chosen.high),
    )
    assert Effort(**said["effort"]) == picked.effort
    assert tuple(Trial.of(trial) for trial in said["trials"]) == picked.trials
    assert said["sample"] == "300 held-out rows of 3,000"
