"""In-batch miners against loops over candidates, another library, and what identity means."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sslkit.errors import ConfigError, UnknownNameError
from sslkit.mining import in_batch as module
from sslkit.mining.in_batch import InBatch, Who, drawn, farthest, hardest, semi_hard
from sslkit.mining.keyed_pairs import pair_uniform

BATCHES = [(1, 1), (5, 9), (16, 16), (7, 40)]


def example(rows: int, candidates: int, *, whole: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances and a mask; some anchors have nothing allowed. whole: small integers, so that some tie."""
    generator = torch.Generator().manual_seed(rows * 100 + candidates)
    distances = torch.rand(rows, candidates, generator=generator)
    if whole:
        distances = (3 * distances).floor()
    allowed = torch.rand(rows, candidates, generator=generator) < 0.4
    allowed[::5] = False
    return distances, allowed


def slow(distances, allowed, choose) -> tuple[list[int], list[bool]]:
    """`choose` from the list of (distance, column) of each anchor."""
    columns, found = [], []
    for row, mask in zip(distances.tolist(), allowed.tolist(), strict=True):
        candidates = [(value, column) for column, value in enumerate(row) if mask[column]]
        columns.append(choose(len(columns), candidates)[1] if candidates else 0)
        found.append(bool(candidates))
    return columns, found


def nearest(_, candidates):
    return min(candidates)


def most_distant(_, candidates):
    return max(candidates, key=lambda pair: (pair[0], -pair[1]))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("ours", "theirs"), [(hardest, nearest), (farthest, most_distant)])
def test_the_extremes_are_those_of_the_loops_and_the_first_of_ties(batch, whole, ours, theirs) -> None:
    distances, allowed = example(*batch, whole=whole)
    columns, found = ours(distances, allowed)
    assert (columns.tolist(), found.tolist()) == slow(distances, allowed, theirs)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("whole", [False, True])
def test_semi_hard_is_the_nearest_beyond_the_positive_or_else_the_farthest(batch, whole) -> None:
    distances, allowed = example(*batch, whole=whole)
    positive = distances.median(dim=1).values

    def choose(row, candidates):
        beyond = [pair for pair in candidates if pair[0] > float(positive[row])]
        return nearest(row, beyond) if beyond else most_distant(row, candidates)

    columns, found = semi_hard(distances, positive, allowed)
    assert (columns.tolist(), found.tolist()) == slow(distances, allowed, choose)


@pytest.mark.parametrize("labels", [torch.arange(24) // 3, torch.arange(24) % 2])
def test_batch_hard_is_another_librarys(labels) -> None:
    miners = pytest.importorskip("pytorch_metric_learning.miners", reason="it is in the dev extra")
    distance = pytest.importorskip("pytorch_metric_learning.distances")
    torch.manual_seed(0)
    rows = F.normalize(torch.randn(24, 8), dim=1)
    anchors, positives, negatives = miners.BatchHardMiner(distance=distance.LpDistance())(rows, labels)
    apart = torch.cdist(rows, rows)
    same = labels[:, None] == labels
    assert anchors.tolist() == list(range(24))
    assert farthest(apart, same & ~torch.eye(24, dtype=torch.bool))[0].tolist() == positives.tolist()
    assert hardest(apart, ~same)[0].tolist() == negatives.tolist()


def test_semi_hard_is_the_hardest_of_another_librarys_semi_hard_triplets() -> None:
    """That one lists all triplets with 0 < d_an - d_ap <= margin; ours is the nearest negative of a pair."""
    miners = pytest.importorskip("pytorch_metric_learning.miners", reason="it is in the dev extra")
    distance = pytest.importorskip("pytorch_metric_learning.distances")
    torch.manual_seed(0)
    rows, labels = F.normalize(torch.randn(24, 8), dim=1), torch.arange(24) // 3
    miner = miners.TripletMarginMiner(4.0, "semihard", distance=distance.LpDistance())
    apart = torch.cdist(rows, rows)
    best: dict[tuple[int, int], tuple[float, int]] = {}
    for a, p, n in zip(*(part.tolist() for part in miner(rows, labels)), strict=True):
        best[a, p] = min(best.get((a, p), (math.inf, -1)), (float(apart[a, n]), n))
    assert len(best) > 24
    for (a, p), (_, n) in best.items():
        columns, found = semi_hard(apart[a : a + 1], apart[a : a + 1, p], (labels != labels[a])[None])
        assert (columns.tolist(), found.tolist()) == ([n], [True])


def test_a_draw_has_the_chances_of_its_weights() -> None:
    """20,000 rows of one anchor: each share within four standard deviations."""
    chances = torch.tensor([0.5, 0.3, 0.0, 0.15, 0.05])
    ids = torch.arange(20_000)
    uniform = pair_uniform(ids, torch.arange(5), step=0, seed=1)
    columns, found = drawn(chances.log().expand(20_000, 5), uniform)
    shares = torch.bincount(columns, minlength=5) / 20_000
    assert found.all()
    assert shares[2] == 0
    assert ((shares - chances).abs() <= 4 * (chances * (1 - chances) / 20_000).sqrt()).all()


def test_a_draw_depends_on_differences_of_log_weights_alone_however_large() -> None:
    generator = torch.Generator().manual_seed(0)
    logs = torch.randint(-3, 3, (50, 9), generator=generator).float()
    uniform = torch.rand(50, 9, generator=generator)
    shifted = drawn(logs + 2.0**18 * torch.arange(50)[:, None], uniform)
    assert shifted[0].tolist() == drawn(logs, uniform)[0].tolist()


def test_a_draw_at_the_ends_of_the_uniform_numbers_is_defined() -> None:
    uniform = torch.tensor([[0.0, 0.0, 0.0], [1 - 2.0**-24, 0.5, 0.0]])
    logs = torch.tensor([[-torch.inf, 0.0, -torch.inf], [0.0, 0.0, 0.0]])
    columns, found = drawn(logs, uniform)
    assert columns.tolist() == [1, 0]
    assert found.all()


@pytest.mark.parametrize("value", [0.0, math.inf, -math.inf, math.nan])
def test_what_is_not_allowed_is_never_found_whatever_the_distances(value) -> None:
    distances, allowed = example(10, 12)
    distances[:] = value
    results = [hardest(distances, allowed), farthest(distances, allowed)]
    results += [semi_hard(distances, distances[:, 0], allowed)]
    results += [drawn(distances.masked_fill(~allowed, -math.inf), torch.rand(10, 12))]
    for columns, found in results:
        assert not (found & ~allowed[torch.arange(10), columns]).any()
        assert not columns[~found].any()
        assert not found[::5].any()


def test_a_broken_candidate_is_taken_first_so_that_the_loss_shows_it() -> None:
    distances = torch.tensor([[1.0, math.nan, 0.1]])
    allowed = torch.ones(1, 3, dtype=torch.bool)
    for columns, _ in (hardest(distances, allowed), farthest(distances, allowed)):
        assert columns.tolist() == [1]
    assert semi_hard(distances, torch.tensor([0.5]), allowed)[0].tolist() == [1]


@pytest.mark.parametrize("rows", [0, 3])
def test_without_candidates_nothing_is_found(rows) -> None:
    none, allowed = torch.zeros(rows, 0), torch.zeros(rows, 0, dtype=torch.bool)
    results = [hardest(none, allowed), farthest(none, allowed), drawn(none, none)]
    for columns, found in [*results, semi_hard(none, torch.zeros(rows), allowed)]:
        assert columns.tolist() == [0] * rows
        assert found.tolist() == [False] * rows


CHOICES = ["semi_hard", "hard", "random", "distance_weighted"]


def batch(count: int = 20) -> tuple[torch.Tensor, Who]:
    """Two views of ten samples in groups of two; five labels, one of them unknown."""
    torch.manual_seed(0)
    rows = F.normalize(torch.randn(count, 6, dtype=torch.float64), dim=1)
    ids = torch.arange(count // 2).repeat(2) * 7 % 50
    keys = ids * 2 + torch.arange(2).repeat_interleave(count // 2)
    return rows, Who(keys, ids // 14, ids % 5 - 1)


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("at_once", [2**20, 60])
def test_the_tiles_choose_what_the_whole_matrix_does(choice, squared, at_once, monkeypatch) -> None:
    """The second size cuts 20 anchors into tiles of three."""
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    rows, who = batch()
    apart = torch.linalg.vector_norm(rows[:, None] - rows, dim=2).pow(2 if squared else 1)
    miner = InBatch(choice, squared, seed=3)
    known = (who.labels >= 0)[:, None] & (who.labels >= 0)
    same = (who.labels[:, None] == who.labels) & known
    positives, has_positive = miner.positives(rows, who)
    expected, exists = farthest(apart, same & (who.keys[:, None] != who.keys))
    assert has_positive[:, 0].tolist() == exists.tolist()
    assert positives[exists, 0].tolist() == expected[exists].tolist()

    near = apart.gather(1, torch.cat([positives, positives.flip(0)], dim=1))
    numbers, found = miner.negatives(rows, who, near, step=5)
    allowed = (who.groups[:, None] != who.groups) & ~same & known
    assert numbers.shape == found.shape == near.shape
    for q in range(2):
        if choice == "hard":
            columns, exists = hardest(apart, allowed)
        elif choice == "semi_hard":
            columns, exists = semi_hard(apart, near[:, q], allowed)
        else:
            uniform = pair_uniform(who.keys, who.keys, step=5, seed=3, draw=f"negative {q}")
            plain = apart.sqrt() if squared else apart
            logs = module.log_weights(plain, 6) if choice == "distance_weighted" else torch.zeros_like(apart)
            columns, exists = drawn(logs.masked_fill(~allowed, -torch.inf), uniform)
        assert found[:, q].tolist() == exists.tolist()
        assert numbers[exists, q].tolist() == columns[exists].tolist()
    assert found.any()
    assert not found[who.labels < 0].any()


@pytest.mark.parametrize("choice", CHOICES)
def test_who_is_chosen_does_not_depend_on_places_even_among_equal_rows(choice) -> None:
    """Rows on a coarse grid: distances tie, and the tie falls to the same sample in any order."""
    torch.manual_seed(0)
    rows = torch.randint(-1, 2, (40, 2)).double() / 2
    ids = torch.randperm(1000)[:40]
    who, order = Who(ids, ids, ids % 4), torch.randperm(40)
    miner = InBatch(choice, True)

    def chosen(places) -> dict[int, list[int]]:
        """For each sample the keys of its positive and of its negative."""
        moved, at = Who(*(column[places] for column in who)), rows[places]
        positives = miner.positives(at, moved).numbers
        near = (at - at[positives[:, 0]]).square().sum(1, keepdim=True)
        both = torch.cat([positives, miner.negatives(at, moved, near, 0).numbers], dim=1)
        return dict(zip(moved.keys.tolist(), moved.keys[both].tolist(), strict=True))

    assert chosen(torch.arange(40)) == chosen(order)


def test_draws_change_with_the_step_and_the_seed() -> None:
    rows, who = batch()
    near = torch.zeros(20, 1)
    first = InBatch("random", False).negatives(rows, who, near, 0).numbers
    assert InBatch("random", False).negatives(rows, who, near, 0).numbers.equal(first)
    assert not InBatch("random", False).negatives(rows, who, near, 1).numbers.equal(first)
    assert not InBatch("random", False, seed=1).negatives(rows, who, near, 0).numbers.equal(first)


def test_bad_options_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="semi_hard"):
        InBatch("semihard", False)
    with pytest.raises(ConfigError, match="cutoff"):
        InBatch("hard", False, cutoff=1.5, longest=1.4)
