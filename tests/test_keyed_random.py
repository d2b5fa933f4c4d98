"""Randomness as a function: equal keys give equal numbers, and the numbers are random."""

import pytest
import torch

from sslkit.keyed_random import Keys, hashed, permutation, word


def keys(count: int = 4, *, seed: int = 0, epoch: int = 0) -> Keys:
    return Keys(seed, epoch, torch.arange(count))


def splitmix64(state: int) -> int:
    """The finaliser written with Python's own integers."""
    mask = 2**64 - 1
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    return state ^ (state >> 31)


def test_hash_equals_splitmix64_in_plain_integers() -> None:
    golden, mask = 0x9E3779B97F4A7C15, 2**64 - 1
    for words in [(0,), (1, 2, 3), (2**40, 7), (-5, 12)]:
        state = 0
        for part in words:
            state = splitmix64((state * golden + part + golden) & mask)
        assert int(hashed(*words)) % 2**64 == state


def test_a_sample_draws_the_same_numbers_in_any_batch() -> None:
    alone = Keys(3, 5, torch.tensor([17])).stream(1, "blur").uniform(4)
    among = Keys(3, 5, torch.tensor([2, 17, 99, 4])).stream(1, "blur").uniform(4)
    assert torch.equal(alone[0], among[1])


@pytest.mark.parametrize(
    "other",
    [
        Keys(1, 0, torch.arange(4)).stream(0, "crop"),
        Keys(0, 1, torch.arange(4)).stream(0, "crop"),
        Keys(0, 0, torch.arange(4) + 4).stream(0, "crop"),
        Keys(0, 0, torch.arange(4)).stream(1, "crop"),
        Keys(0, 0, torch.arange(4)).stream(0, "blur"),
    ],
    ids=["seed", "epoch", "id", "view", "operation"],
)
def test_every_word_of_the_key_changes_every_number(other) -> None:
    assert not (keys().stream(0, "crop").uniform(3) == other.uniform(3)).any()


def test_uniform_numbers_are_uniform_and_uncorrelated() -> None:
    drawn = keys(100_000).stream(0, "crop").uniform(3)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    histogram = torch.histc(drawn[:, 0], bins=20, min=0, max=1)
    chi_square = ((histogram - 5000) ** 2 / 5000).sum()
    assert chi_square < 45.3  # 0.1 % point of 19 degrees of freedom is 43.8
    assert (torch.corrcoef(drawn.T) - torch.eye(3)).abs().max() < 0.015
    neighbours = torch.corrcoef(torch.stack([drawn[:-1, 0], drawn[1:, 0]]))[0, 1]
    assert neighbours.abs() < 0.015


def test_normal_numbers_have_the_moments_of_a_gaussian() -> None:
    drawn = keys(100_000).stream(0, "noise").normal(2)
    assert drawn.isfinite().all()
    assert drawn.mean().abs() < 0.01
    assert (drawn.std() - 1).abs() < 0.01
    assert ((drawn**4).mean() - 3).abs() < 0.1


def test_shapes_follow_the_request() -> None:
    stream = keys(5).stream(0, "noise")
    assert stream.uniform().shape == (5,)
    assert stream.uniform(2, 3).shape == (5, 2, 3)
    assert torch.equal(stream.uniform(6), stream.uniform(2, 3).flatten(1))


def test_permutation_is_a_permutation_and_a_function_of_its_arguments() -> None:
    order = permutation(1000, seed=1, epoch=2)
    assert torch.equal(order.sort().values, torch.arange(1000))
    assert torch.equal(order, permutation(1000, seed=1, epoch=2))
    assert not torch.equal(order, permutation(1000, seed=1, epoch=3))
    assert not torch.equal(order, permutation(1000, seed=2, epoch=2))
    assert (order == torch.arange(1000)).sum() < 10


def test_word_is_lasting() -> None:
    assert word("a") == 0xE8B7BE43  # CRC-32 of "a", a published check value
