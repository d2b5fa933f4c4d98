"""Bootstrapping finds the hard negatives that random ones miss, and says what that cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sslkit.contracts import Features
from sslkit.data.sources.shapes import ShapesSource
from sslkit.data.subset import Subset
from sslkit.errors import ConfigError, DataError, UnknownNameError
from sslkit.evaluation.linear import fit_linear
from sslkit.runs.bootstrap import Bootstrap, Fit, Ids, Scores, bootstrap, bootstrap_class

POSITIVES, POOL = np.arange(200), np.arange(200, 4200)


@pytest.fixture(scope="module")
def points() -> torch.Tensor:
    """200 positives, a sea of 3,960 easy negatives, and 40 hard ones near the positives."""
    generator = np.random.default_rng(0)
    parts = [
        generator.normal([3, 0], 0.6, (200, 2)),
        generator.normal([-3, 0], 1.2, (3960, 2)),
        generator.normal([3, -4], 0.4, (40, 2)),
    ]
    return torch.tensor(np.concatenate(parts), dtype=torch.float32)


def logistic(points: torch.Tensor) -> Fit:
    def fit(positives: Ids, negatives: Ids) -> Scores:
        labels = torch.zeros(len(positives) + len(negatives), dtype=torch.int64)
        labels[: len(positives)] = 1
        rows = points[np.concatenate([positives, negatives])]
        probe = fit_linear(rows, labels, classes=2, l2=[1e-2], held_out_share=0.2, max_iterations=50, seed=0)
        return lambda ids: probe.logits(points[ids]) @ torch.tensor([-1.0, 1.0])

    return fit


def run(fit: Fit, positives: Ids = POSITIVES, pool: Ids = POOL, **changed: Any) -> Bootstrap:
    options: dict[str, Any] = {
        "start": 50,
        "most_added": 50,
        "threshold": 0.0,
        "tolerance": 0.0,
        "rounds": 6,
        "seed": 0,
    }
    return bootstrap(fit, positives, pool, **options | changed)


def test_hard_negatives_cut_false_positives_tenfold_and_random_ones_of_the_same_number_do_not(
    points: torch.Tensor,
) -> None:
    first, last, random, recall = [], [], [], []
    for seed in range(8):
        result = run(logistic(points), seed=seed)
        same = run(logistic(points), seed=seed, start=len(result.ids), rounds=1)
        assert same.rounds[0].negatives == result.rounds[-1].negatives
        first.append(result.rounds[0].false_positive_rate)
        last.append(result.rounds[-1].false_positive_rate)
        random.append(same.rounds[0].false_positive_rate)
        recall.append(result.rounds[-1].recall)
    assert np.mean(first) >= 10 * np.mean(last)
    assert np.mean(random) >= 8 * np.mean(last)
    assert np.mean(random) < np.mean(first)
    assert min(recall) >= 0.95


def fixed(score: dict[int, float]) -> Fit:
    """A classifier that has learnt its negatives by heart and scores all others as the table says."""

    def fit(positives: Ids, negatives: Ids) -> Scores:
        known = set(negatives.tolist())
        return lambda ids: np.array([-9.0 if id in known else score[id] for id in ids.tolist()])

    return fit


def slow_twin(
    start: list[int], unseen: set[int], score: dict[int, float], *, rounds: int, most_added: int
) -> list[tuple[int, int]]:
    """The memo's steps again, with lists: (id, round) of all negatives of the last training."""
    trained = [(id, 0) for id in start]
    for number in range(1, rounds):
        false = [id for id in unseen if score[id] >= 0 and id not in [known for known, _ in trained]]
        trained += [(id, number) for id in sorted(false, key=lambda id: -score[id])[:most_added]]
    return trained


def test_the_hardest_are_added_first_each_with_its_round() -> None:
    generator = np.random.default_rng(1)
    score = dict(enumerate(generator.normal(size=300).tolist()))
    positives, pool = np.arange(40), np.arange(40, 300)
    asked: list[set[int]] = []

    def fit(positives: Ids, negatives: Ids) -> Scores:
        scores = fixed(score)(positives, negatives)
        return lambda ids: asked.append(set(ids.tolist())) or scores(ids)  # type: ignore[func-returns-value]

    result = run(fit, positives, pool, start=30, most_added=25, rounds=4)
    # A round asks for the held-out negatives, the held-out positives, and then the unseen.
    expected = slow_twin(result.ids[:30].tolist(), asked[2], score, rounds=4, most_added=25)
    assert list(zip(result.ids.tolist(), result.found_in.tolist(), strict=True)) == expected
    assert asked[2] | set(result.ids[:30].tolist()) == set(pool.tolist()) - asked[0]
    assert [one.negatives for one in result.rounds] == [30, 55, 80, 105]
    assert [one.added for one in result.rounds] == [25, 25, 25, 0]
    counts = np.unique(result.found_in, return_counts=True)
    assert [part.tolist() for part in counts] == [[0, 1, 2, 3], [30, 25, 25, 25]]
    assert result.stopped == "rounds"


def test_rates_are_of_what_was_never_trained_on(points: torch.Tensor) -> None:
    seen: list[int] = []

    def fit(positives: Ids, negatives: Ids) -> Scores:
        seen.extend([*positives.tolist(), *negatives.tolist()])
        scores = logistic(points)(positives, negatives)

        def asked(ids: Ids) -> Any:
            judged.append(set(ids.tolist()))
            return scores(ids)

        return asked

    judged: list[set[int]] = []
    result = run(fit)
    sea, positives = judged[0], judged[1]
    assert (len(sea), len(positives)) == (800, 40)
    assert not (sea | positives) & set(seen)
    wrong = (np.asarray(result.scores(np.array(sorted(sea)))) >= 0).mean()
    assert result.rounds[-1].false_positive_rate == pytest.approx(wrong)


def test_it_stops_when_the_rate_is_low_enough_or_nothing_is_new() -> None:
    score = {id: 1.0 if id % 10 == 0 else -1.0 for id in range(300)}
    positives, pool = np.arange(10), np.arange(10, 300)
    low = run(fixed(score), positives, pool, start=20, tolerance=0.5)
    assert (low.stopped, len(low.rounds), low.rounds[0].added) == ("tolerance", 1, 0)
    # By heart it learns nothing about the held-out ones, so the rate stays and the unseen run out.
    out = run(fixed(score), positives, pool, start=20)
    assert out.stopped == "nothing new"
    assert out.rounds[-1].false_positives == 0
    assert out.rounds[-1].false_positive_rate > 0


def test_a_classifier_that_refuses_everything_shows_in_the_recall() -> None:
    result = run(lambda positives, negatives: lambda ids: np.full(len(ids), -1.0), rounds=3)
    assert (result.rounds[0].false_positive_rate, result.rounds[0].recall) == (0.0, 0.0)


def test_it_is_a_function_of_the_seed_and_of_the_set_of_ids(points: torch.Tensor) -> None:
    one = run(logistic(points), seed=3).to_dict()
    assert run(logistic(points), POSITIVES[::-1].copy(), POOL[::-1].copy(), seed=3).to_dict() == one
    assert run(logistic(points), seed=4).to_dict() != one


def test_tensors_with_gradient_are_scores_too(points: torch.Tensor) -> None:
    weight = torch.tensor([1.0, 0.0], requires_grad=True)
    assert run(lambda positives, negatives: lambda ids: points[ids] @ weight).rounds[0].recall > 0.9


def test_the_result_is_written_as_json(tmp_path: Path, points: torch.Tensor) -> None:
    result = run(logistic(points))
    result.write(tmp_path / "deep" / "bootstrap.json")
    read = json.loads((tmp_path / "deep" / "bootstrap.json").read_text())
    assert read == result.to_dict()
    assert [one["id"] for one in read["negatives"]] == result.ids.tolist()
    assert read["rounds"][0]["negatives"] == 50
    table = result.to_text().splitlines()
    assert len(table) == len(result.rounds) + 2
    assert table[1].split()[:2] == ["1", "50"]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"start": 0}, "start=0 random negatives of 3200"),
        ({"start": 3201}, "800 of the pool are held out.*1 to 3200"),
        ({"most_added": 0}, "most_added=0"),
        ({"rounds": 0}, "rounds=0"),
        ({"tolerance": 1.0}, "tolerance=1.0"),
        ({"held_out": 0.0}, "held_out=0.0"),
        ({"held_out": 1.0}, "held_out=1.0 of 200 positives"),
        ({"pool": np.arange(100, 300)}, "100 ids are positives and in the pool"),
        ({"positives": np.array([1, 1, 2])}, "distinct"),
        ({"positives": np.array([1])}, "2 or more"),
        ({"pool": np.array([300.0, 301.0])}, "pool are float64"),
    ],
)
def test_bad_options_are_refused_with_the_rule(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        run(fixed({}), **changed)


@pytest.mark.parametrize(
    ("scores", "named"),
    [
        (lambda ids: np.zeros((len(ids), 2)), r"shape \(800, 2\)"),
        (lambda ids: np.full(len(ids), np.nan), "800 of 800 scores are not finite"),
    ],
)
def test_bad_scores_are_refused(scores: Scores, named: str) -> None:
    with pytest.raises(DataError, match=named):
        run(lambda positives, negatives: scores)


def embedded(source: ShapesSource | Subset, *, gap: float = 4.0) -> Features:
    """Embeddings in which class 0 is apart from the others."""
    assert source.labels is not None
    labels = torch.from_numpy(source.labels)
    rows = torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(0))
    rows[:, 0] += gap * (labels == 0)
    return Features(torch.arange(len(labels)), rows, labels)


def test_one_class_is_told_from_the_rest() -> None:
    source = ShapesSource(count=400, size=8)
    result = bootstrap_class(embedded(source, gap=8.0), source, source.classes[0])
    assert result.rounds[-1].false_positive_rate <= 0.01
    assert result.rounds[-1].recall >= 0.9
    assert result.rounds[0].negatives == 32  # as many as positives: four fifths of 40
    assert source.labels is not None
    assert (source.labels[result.ids] != 0).all()


def test_samples_without_a_row_are_not_asked_for() -> None:
    source = ShapesSource(count=400, size=8)
    whole = embedded(source)
    kept = torch.arange(400)[torch.arange(400) % 7 != 0]
    part = Features(whole.ids[kept], whole.embeddings[kept], whole.labels[kept])
    result = bootstrap_class(part, source, source.classes[0], rounds=3, tolerance=0.0)
    assert set(result.ids.tolist()) <= set(kept.tolist())


def test_a_class_that_cannot_be_bootstrapped_is_refused() -> None:
    source = ShapesSource(count=30, size=8)
    features = embedded(source)
    with pytest.raises(UnknownNameError, match="did you mean"):
        bootstrap_class(features, source, source.classes[0] + "x")
    with pytest.raises(DataError, match="has 3 samples and the others 27; 5 of each"):
        bootstrap_class(features, source, source.classes[0])
    source.labels = None
    with pytest.raises(DataError, match="needs labels"):
        bootstrap_class(features, source, source.classes[0])
