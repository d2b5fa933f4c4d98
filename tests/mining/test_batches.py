"""Hard batches: every sample once, neighbours together, the same order everywhere."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from sslkit.data.loader import Loader
from sslkit.data.sources.shapes import ShapesSource
from sslkit.errors import ConfigError
from sslkit.keyed_random import permutation
from sslkit.mining.batches import HardBatches, Ids, hard_order

SIZES: dict[str, Any] = {"batch_size": 32, "seed": 0, "epoch": 0, "cluster": 8}


@cache
def neighbours(count: int = 600, k: int = 32, seed: int = 0) -> Ids:
    """The k nearest others of points in clusters of unequal size."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(count // 20, 8))
    points = centres[random.integers(0, len(centres), count)] + 0.5 * random.normal(size=(count, 8))
    squares = ((points[:, None] - points[None]) ** 2).sum(2)
    np.fill_diagonal(squares, np.inf)
    return np.argsort(squares, axis=1, kind="stable")[:, :k].astype(np.int64)


def met(near: Ids, order: Ids, batch_size: int, k: int = 8) -> float:
    """Mean number of a sample's k nearest that are in its batch."""
    batch = np.empty(len(order), dtype=np.int64)
    batch[order] = np.arange(len(order)) // batch_size
    return float((batch[near[:, :k]] == batch[:, None]).sum(1).mean())


@pytest.mark.parametrize("count", [600, 77])
@pytest.mark.parametrize(("batch_size", "cluster"), [(32, 8), (32, 32), (30, 7), (600, 2), (5, 2)])
@pytest.mark.parametrize("mix", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("grouped", [False, True])
def test_every_sample_comes_once(
    count: int, batch_size: int, cluster: int, mix: float, grouped: bool
) -> None:
    order = hard_order(
        neighbours(count),
        batch_size=batch_size,
        seed=0,
        epoch=3,
        cluster=cluster,
        groups=np.arange(count) // 4 if grouped else None,
        mix=mix,
    )
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))


@pytest.mark.parametrize(
    ("batch_size", "cluster", "times"), [(32, 8, 4), (32, 32, 4), (30, 7, 4), (128, 8, 2)]
)
def test_near_samples_share_a_batch(batch_size: int, cluster: int, times: float) -> None:
    near = neighbours()
    hard = hard_order(near, batch_size=batch_size, seed=0, epoch=0, cluster=cluster)
    random = permutation(len(near), seed=0, epoch=0).numpy()
    assert met(near, hard, batch_size) > times * met(near, random, batch_size)


def test_a_neighbourhood_is_a_sample_and_its_nearest_that_are_left() -> None:
    """Sixteen samples on a line, in fours that know each other only: each four is a batch."""
    fours = np.arange(16).reshape(4, 4)
    near = np.stack([np.setdiff1d(fours[i // 4], [i]) for i in range(16)])
    order = hard_order(near, batch_size=4, seed=0, epoch=0, cluster=4)
    assert sorted(sorted(batch) for batch in order.reshape(4, 4).tolist()) == fours.tolist()
    pairs = hard_order(near, batch_size=8, seed=0, epoch=0, cluster=2).reshape(8, 2)
    assert all(one // 4 == other // 4 for one, other in pairs.tolist())


def test_a_neighbourhood_is_not_cut_while_a_smaller_one_fills_the_batch() -> None:
    """Eight threes and forty samples alone, in batches of four."""
    near = np.full((64, 2), -1)
    for first in range(0, 24, 3):
        for i in range(first, first + 3):
            near[i] = np.setdiff1d(np.arange(first, first + 3), [i])
    for epoch in range(5):
        order = hard_order(near, batch_size=4, seed=0, epoch=epoch, cluster=3)
        for batch in order.reshape(-1, 4).tolist():
            threes = [sample // 3 for sample in batch if sample < 24]
            assert len(threes) in (0, 3)
            assert len(set(threes)) <= 1


@pytest.mark.parametrize("cluster", [4, 8])
def test_samples_of_one_group_are_never_in_one_neighbourhood(cluster: int) -> None:
    near = neighbours()
    groups = np.arange(600) // 30
    groups[near[:, 0][:200]] = groups[:200]  # many nearest neighbours are of the own group
    order = hard_order(near, batch_size=cluster, seed=0, epoch=0, cluster=cluster, groups=groups)
    plain = hard_order(near, batch_size=cluster, seed=0, epoch=0, cluster=cluster)

    def clashes(of: Ids) -> int:
        """Pairs of near samples in a batch that are of one group."""
        batches = of[: len(of) // cluster * cluster].reshape(-1, cluster).tolist()
        near_to = [set(row) for row in near.tolist()]
        return sum(
            groups[a] == groups[b] and b in near_to[a]
            for batch in batches
            for a in batch
            for b in batch
            if a != b
        )

    assert clashes(order) < 0.2 * clashes(plain)  # what is left are small neighbourhoods that share a batch
    assert met(near, order, cluster) > 4 * met(near, permutation(600, seed=0, epoch=0).numpy(), cluster)


def test_two_groups_alone_make_neighbourhoods_of_two() -> None:
    near = np.stack([np.setdiff1d(np.arange(8), [i]) for i in range(8)])
    groups = np.arange(8) % 2
    order = hard_order(near, batch_size=4, seed=0, epoch=0, cluster=4, groups=groups)
    assert all(groups[one] != groups[other] for one, other in order.reshape(4, 2).tolist())


def test_an_order_is_a_function_of_its_arguments() -> None:
    near = neighbours()
    order = hard_order(near, **SIZES)
    assert np.array_equal(order, hard_order(near.copy(), **SIZES))
    assert not np.array_equal(order, hard_order(near, **(SIZES | {"epoch": 1})))
    assert not np.array_equal(order, hard_order(near, **(SIZES | {"seed": 1})))


@pytest.mark.parametrize("near", [np.full((77, 5), -1), np.empty((77, 0), dtype=np.int64)])
@pytest.mark.parametrize("mix", [0.0, 0.5])
def test_without_neighbours_the_order_is_the_keyed_random_one(near: Ids, mix: float) -> None:
    order = hard_order(near, **(SIZES | {"epoch": 4, "mix": mix}))
    assert order.tolist() == permutation(77, seed=0, epoch=4).tolist()


def test_samples_without_neighbours_stand_beside_those_with() -> None:
    near = neighbours().copy()
    near[::3] = -1
    assert sorted(hard_order(near, **SIZES).tolist()) == list(range(600))


@pytest.mark.parametrize("mix", [0.25, 0.5])
def test_a_share_of_batches_stays_random(mix: float) -> None:
    near = neighbours()
    order = hard_order(near, **(SIZES | {"mix": mix}))
    batch = np.empty(600, dtype=np.int64)
    batch[order] = np.arange(600) // 32
    own = (batch[near[:, :8]] == batch[:, None]).sum(1)
    means = np.array([own[batch == b].mean() for b in range(600 // 32)])
    assert int((means < 1.0).sum()) == round(mix * (600 // 32))
    assert list(np.flatnonzero(means < 1.0)) != list(range(int((means < 1.0).sum())))  # not all at the start


def test_every_sample_leads_or_follows_and_none_is_always_dropped() -> None:
    near = neighbours()
    tails = [hard_order(near, **(SIZES | {"epoch": epoch}))[600 // 32 * 32 :] for epoch in range(40)]
    dropped = np.concatenate(tails)
    assert np.bincount(dropped, minlength=600).max() <= 9  # 24 of 600 each time: 1.6 expected


def test_ranks_together_read_the_hard_batches_of_one_process() -> None:
    source = ShapesSource(count=77, size=16)
    hard = hard_order(neighbours(77), **SIZES)
    order = torch.from_numpy(hard)
    options: dict[str, Any] = {"batch_size": 32, "canvas": 16, "seed": 5}
    ranks = [Loader(source, **options, rank=rank, world=3).epoch(0, order=order) for rank in range(3)]
    for b, shares in enumerate(zip(*ranks, strict=True)):
        read = [id for share in shares for id in share.ids.tolist()]
        assert read == hard[b * 32 : (b + 1) * 32].tolist()


def test_ten_thousand_samples_take_less_than_a_second() -> None:
    near = np.random.default_rng(0).integers(0, 10_000, (10_000, 32))
    before = time.process_time()
    hard_order(near, **(SIZES | {"batch_size": 256}))
    assert time.process_time() - before < 1.0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"cluster": 1}, "cluster is 1; a neighbourhood has at least 2"),
        ({"cluster": 33}, "cluster=33 samples do not fit in a batch of 32; use at most 32"),
        ({"mix": 1.5}, "mix is 1.5"),
        ({"neighbours": np.zeros((5, 2))}, "neighbours are float64"),
        ({"neighbours": np.full((5, 2), 5)}, "ids 5 to 5 of 5 samples"),
        ({"neighbours": np.full((5, 2), -2)}, "ids -2 to -2 of 5 samples"),
        ({"groups": np.zeros(3, dtype=np.int64)}, "one for each of 600 samples"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        hard_order(**({"neighbours": neighbours()} | SIZES | options))


@pytest.mark.parametrize(
    ("options", "named"),
    [({"cluster": 0}, "cluster"), ({"mix": -0.1}, "mix"), ({"start_epoch": -1}, "start_epoch")],
)
def test_options_out_of_range_are_refused_before_anything_runs(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        HardBatches(**options)
