"""Rank bands and strategies against the same rules in plain loops, candidate by candidate."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sslkit.errors import ConfigError
from sslkit.mining.choice import Band, Bands, Strategy, candidate_uniform, choose, ranked
from sslkit.mining.distance_weighted import log_weights
from sslkit.mining.keyed_pairs import pair_uniform

STRATEGIES: tuple[Strategy, ...] = ("random", "semi_hard", "hard", "distance_weighted")


def corpus(rows: int = 6, candidates: int = 20, samples: int = 40, seed: int = 0) -> tuple[Tensor, ...]:
    """Ids and similarities (N, C), nearest first, each row with two missing at its end; the anchors' ids."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randperm(samples, generator=generator)[:candidates] for _ in range(rows)])
    similarities = torch.rand(rows, candidates, generator=generator).mul(2).sub(1).sort(1, descending=True)[0]
    ids[:, -2:], similarities[:, -2:] = -1, -torch.inf
    own = torch.arange(rows) * 3
    ids[:, 0] = own  # an anchor in the index is its own nearest
    return ids, similarities, own


def chosen(
    strategy: Strategy, count: int, *, seed: int = 0, step: int = 0, **other: Any
) -> tuple[Tensor, Tensor]:
    ids, similarities, own = corpus(seed=seed)
    ranks, allowed = ranked(ids, own, own, None)
    given: dict[str, Any] = {
        "uniform": candidate_uniform(own, ids, step=step, seed=seed),
        "positive_similarity": torch.full((len(own),), 0.4),
        "dim": 8,
    }
    return choose(similarities, allowed, ranks, count=count, strategy=strategy, **(given | other))


# ------------------------------------------------------------------------------------------------ ranks


@pytest.mark.parametrize("grouped", [False, True])
def test_ranks_count_other_samples_of_other_groups_only(grouped: bool) -> None:
    ids, _, own = corpus()
    groups = torch.arange(40) // (5 if grouped else 1)
    ranks, allowed = ranked(ids, own, groups[own], groups if grouped else None)
    for i, row in enumerate(ids.tolist()):
        rank = 0
        for j, id in enumerate(row):
            fits = id >= 0 and id != own[i] and groups[id] != groups[own[i]]
            assert bool(allowed[i, j]) is bool(fits)
            assert int(ranks[i, j]) == (rank if fits else -1)
            rank += fits
    assert allowed.sum() < 6 * 17 or not grouped


def test_a_candidate_without_a_known_group_is_named() -> None:
    ids, _, own = corpus()
    with pytest.raises(ConfigError, match=f"candidate id {int(ids.max())}, but groups are known for 7 ids"):
        ranked(ids, own, own, torch.arange(7))


# ------------------------------------------------------------------------------------------------ bands

BANDS = (Band((0, 2), "attract", 0.5), Band((6, 8), "repel", 0.25), Band((10, 10), "exclude"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"skip_nearest": 5},
        {"similarity_cap": 0.3},
        {"quantiles": (0.2, 0.7)},
        {"positive_margin": 0.1},
        {"skip_nearest": 3, "bands": BANDS},
        {"skip_nearest": 4, "similarity_cap": 0.5, "quantiles": (0.0, 0.9), "bands": BANDS},
    ],
)
def test_bands_are_their_rules_one_candidate_at_a_time(options: dict[str, Any]) -> None:
    ids, similarities, own = corpus()
    ranks, allowed = ranked(ids, own, own, None)
    positives = torch.linspace(-0.5, 0.9, 6)
    bands = Bands(**options)
    repelled, attracted = bands.apply(similarities, ranks, allowed, positives)
    weights = bands.weights(ranks)
    low, high = bands.quantiles or (0.0, 1.0)
    for i in range(len(ids)):
        many = int(allowed[i].sum())
        for j in range(ids.shape[1]):
            rank, near = int(ranks[i, j]), float(similarities[i, j])
            band = next((b for b in bands.bands if b.ranks[0] <= rank <= b.ranks[1]), None)
            action = band.action if band else "repel"
            repel = bool(allowed[i, j]) and action == "repel" and rank >= bands.skip_nearest
            repel &= bands.similarity_cap is None or near <= bands.similarity_cap
            repel &= bands.quantiles is None or round(low * many) <= rank < round(high * many)
            repel &= bands.positive_margin is None or near <= float(positives[i]) - bands.positive_margin
            assert bool(repelled[i, j]) is repel
            assert bool(attracted[i, j]) is (bool(allowed[i, j]) and action == "attract")
            assert float(weights[i, j]) == (band.weight if band else 1.0)
    assert 0 < repelled.sum() <= allowed.sum()


def test_neighbouring_quantiles_share_the_candidates_without_rest() -> None:
    ids, similarities, own = corpus()
    ranks, allowed = ranked(ids, own, own, None)
    parts = [(0.0, 0.1), (0.1, 0.5), (0.5, 1.0)]
    picked = [Bands(quantiles=q).apply(similarities, ranks, allowed, None)[0].int() for q in parts]
    assert torch.equal(sum(picked[1:], picked[0]), allowed.int())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"skip_nearest": -1}, "skip_nearest is -1"),
        ({"similarity_cap": 1.5}, r"similarity_cap is 1.5; cosines lie in \[-1, 1\]"),
        ({"quantiles": (0.7, 0.2)}, r"quantiles is \[0.7, 0.2\]"),
        ({"quantiles": (0.0, 1.1)}, "quantiles"),
        ({"positive_margin": -0.1}, "positive_margin is -0.1"),
        ({"bands": (Band((5, 9), "repel"), Band((0, 5), "attract"))}, r"\[0, 5\] and \[5, 9\] overlap"),
        (
            {"skip_nearest": 50, "bands": (Band((10, 99), "repel"),)},
            "begin the band at 50 or set skip_nearest=10",
        ),
    ],
)
def test_bands_that_contradict_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Bands(**options)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"ranks": (9, 3)}, r"ranks \[9, 3\]"),
        ({"ranks": (-1, 3)}, r"ranks \[-1, 3\]"),
        ({"weight": -0.5}, "weight -0.5"),
        ({"weight": math.nan}, "weight nan"),
        ({"action": "atract"}, "did you mean 'attract'"),
    ],
)
def test_a_band_that_cannot_be_is_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Band(**({"ranks": (0, 9), "action": "repel"} | options))


# ----------------------------------------------------------------------------------------------- choice


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("count", [1, 4, 16, 17, 40])
def test_what_is_chosen_is_allowed_never_self_and_never_twice(strategy: Strategy, count: int) -> None:
    ids, similarities, own = corpus()
    _, allowed = ranked(ids, own, own, None)
    columns, found = chosen(strategy, count)
    assert columns.shape == found.shape == (6, count)
    for i in range(6):
        kept = columns[i][found[i]].tolist()
        assert len(set(kept)) == len(kept)
        assert all(bool(allowed[i, j]) and ids[i, j] not in (-1, own[i]) for j in kept)
        assert found[i].tolist() == sorted(found[i].tolist(), reverse=True)
        possible = int(allowed[i].sum())
        if strategy == "semi_hard":
            possible = int((allowed[i] & (similarities[i] < 0.4)).sum())
        if strategy == "distance_weighted":
            far = (2 - 2 * similarities[i]).sqrt() > 1.4
            possible = int((allowed[i] & ~far).sum())
        assert len(kept) == min(count, possible)


@pytest.mark.parametrize("strategy", ["hard", "semi_hard"])
def test_hard_takes_the_most_similar_and_semi_hard_those_behind_the_positive(strategy: Strategy) -> None:
    ids, similarities, own = corpus()
    columns, found = chosen(strategy, 5)
    for i in range(6):
        fits = [
            (-float(similarities[i, j]), j)
            for j in range(ids.shape[1])
            if ids[i, j] not in (-1, own[i]) and (strategy == "hard" or similarities[i, j] < 0.4)
        ]
        assert columns[i][found[i]].tolist() == [j for _, j in sorted(fits)[:5]]


@pytest.mark.parametrize("count", [1, 3])
def test_random_draws_every_candidate_alike(count: int) -> None:
    ids, similarities, own = corpus(rows=1)
    ranks, allowed = ranked(ids, own, own, None)
    draws = 3000
    uniform = candidate_uniform(torch.arange(100, 100 + draws), ids.expand(draws, -1), step=0, seed=0)
    many = [part.expand(draws, -1) for part in (similarities, allowed, ranks)]
    options: dict[str, Any] = {"uniform": uniform, "positive_similarity": None, "dim": 8}
    columns, found = choose(*many, count=count, strategy="random", **options)
    assert found.all()
    counts = columns.flatten().bincount(minlength=20)
    assert counts[~allowed[0]].sum() == 0
    expected = draws * count / 17
    assert (
        float(((counts[allowed[0]] - expected) ** 2 / expected).sum()) < 40
    )  # chi-squared, 16 degrees: p = .0008


def test_distance_weighted_draws_follow_the_weights() -> None:
    similarities = torch.tensor([[0.95, 0.7, 0.5, 0.3, 0.1, -0.5]])
    draws = 4000
    uniform = candidate_uniform(
        torch.arange(100, 100 + draws), torch.arange(6).expand(draws, -1), step=0, seed=3
    )
    allowed = torch.ones(draws, 6, dtype=torch.bool)
    columns, _ = choose(
        similarities.expand(draws, -1),
        allowed,
        torch.arange(6).expand(draws, -1),
        count=1,
        strategy="distance_weighted",
        uniform=uniform,
        positive_similarity=None,
        dim=4,
    )
    expected = torch.softmax(log_weights((2 - 2 * similarities[0]).sqrt(), 4), 0)
    shares = columns.flatten().bincount(minlength=6) / draws
    torch.testing.assert_close(shares, expected, atol=0.03, rtol=0)
    assert expected[5] == shares[5] == 0  # beyond 1.4


def test_one_near_duplicate_pair_leaves_the_draws_of_other_rows_alone() -> None:
    ids, similarities, own = corpus()
    ranks, allowed = ranked(ids, own, own, None)
    options: dict[str, Any] = {
        "count": 4,
        "strategy": "distance_weighted",
        "uniform": candidate_uniform(own, ids, step=0, seed=0),
        "positive_similarity": None,
        "dim": 512,
    }
    before, found = choose(similarities, allowed, ranks, **options)
    similarities[0, 1] = 1.0
    after, still = choose(similarities, allowed, ranks, **options)
    assert torch.equal(before[1:], after[1:])
    assert torch.equal(found[1:], still[1:])
    assert found[1:].any(dim=1).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_choice_depends_on_ids_and_step_alone(strategy: Strategy) -> None:
    ids, similarities, own = corpus()
    order = torch.tensor([3, 0, 5, 1, 4, 2])

    def picked(rows: Tensor, step: int) -> Tensor:
        ranks, allowed = ranked(ids[rows], own[rows], own[rows], None)
        columns, found = choose(
            similarities[rows],
            allowed,
            ranks,
            count=4,
            strategy=strategy,
            uniform=candidate_uniform(own[rows], ids[rows], step=step, seed=1),
            positive_similarity=torch.full((len(rows),), 0.4),
            dim=8,
        )
        return torch.where(found, ids[rows].gather(1, columns), -1)

    whole = picked(torch.arange(6), 7)
    assert torch.equal(picked(order, 7), whole[order])
    assert torch.equal(picked(order[:2], 7), whole[order[:2]])
    drawn = strategy in ("random", "distance_weighted")
    assert torch.equal(picked(torch.arange(6), 8), whole) is not drawn


def test_the_number_of_a_pair_is_the_one_it_has_in_a_batch() -> None:
    ids, _, own = corpus()
    uniform = candidate_uniform(own, ids, step=5, seed=2)
    every = pair_uniform(own, torch.arange(40), step=5, seed=2, draw="candidates")
    there = ids >= 0
    assert torch.equal(uniform[there], every.gather(1, ids.clamp(min=0))[there])
    assert 0 <= uniform.min() <= uniform.max() < 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_extreme_random_number_and_a_broken_similarity_do_no_harm(strategy: Strategy) -> None:
    """0 has an infinite logarithm; a NaN similarity is no candidate."""
    similarities = torch.tensor([[1.0, 0.3, math.nan, 0.2]])
    allowed = torch.tensor([[True, True, True, False]])
    columns, found = choose(
        similarities,
        allowed,
        torch.tensor([[0, 1, 2, -1]]),
        count=4,
        strategy=strategy,
        uniform=torch.tensor([[0.0, 1 - 2.0**-24, 0.5, 0.5]]),
        positive_similarity=torch.tensor([1.1]),
        dim=8,
    )
    assert set(columns[0][found[0]].tolist()) == {0, 1}


def test_identical_embeddings_are_drawn_at_random_all_the_same() -> None:
    ids, similarities, own = corpus()
    same = torch.where(similarities.isfinite(), 1.0, similarities)
    ranks, allowed = ranked(ids, own, own, None)
    uniform = candidate_uniform(own, ids, step=0, seed=0)
    options: dict[str, Any] = {"count": 4, "uniform": uniform, "positive_similarity": None, "dim": 8}
    drawn = choose(same, allowed, ranks, strategy="distance_weighted", **options)
    random = choose(same, allowed, ranks, strategy="random", **options)
    assert torch.equal(drawn[0], random[0])


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: chosen("semi_hard", 2, positive_similarity=None), "semi_hard compares .* use two views"),
        (lambda: chosen("semihard", 2), "did you mean 'semi_hard'"),  # type: ignore[arg-type]
        (
            lambda: Bands(positive_margin=0.1).apply(*(torch.ones(1, 1),) * 2, torch.ones(1, 1) > 0, None),
            "positive_margin compares",
        ),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(call: Any, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        call()
