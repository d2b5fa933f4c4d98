"""Weights of mined negatives by hand and in plain loops; false negatives counted one by one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sslkit.errors import ConfigError
from sslkit.mining.weights import Weighting, false_negatives_by_rank, weigh

OFF: dict[str, Any] = {"hardness": 0.0}


def candidates(rows: int = 5, count: int = 7) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "similarities": torch.rand(rows, count, generator=generator) * 2 - 1,
        "ranks": torch.randint(0, 300, (rows, count), generator=generator),
        "ages": torch.randint(0, 200, (rows, count), generator=generator),
        "found": torch.rand(rows, count, generator=generator) > 0.2,
    }


@pytest.mark.parametrize("hardness", [0.0, 1.0, 2.0])
@pytest.mark.parametrize(("prior", "half_life"), [(0.0, None), (0.1, 50.0), (0.02, 400.0)])
@pytest.mark.parametrize("mass", [1.0, 0.25])
def test_weights_are_the_product_of_their_factors(
    hardness: float, prior: float, half_life: float | None, mass: float
) -> None:
    given = candidates()
    bands = torch.where(given["ranks"] < 100, 0.5, 1.0)
    weighting = Weighting(
        hardness=hardness, temperature=0.2, prior=prior, corpus=1000, half_life=half_life, mass=mass
    )
    weights = weigh(**given, weighting=weighting, band_weights=bands)
    for i in range(5):
        raw = []
        for s, rank, age, found, band in zip(
            *(given[name][i].tolist() for name in given), bands[i].tolist(), strict=True
        ):
            factor = math.exp(hardness * s / 0.2) * band * found
            if prior:
                factor *= 1 - math.exp(-(rank + 0.5) / (prior * 1000))
            raw.append(factor * 2 ** (-age / half_life) if half_life else factor)
        number = sum(given["found"][i].tolist())
        expected = [mass * number * factor / sum(raw) for factor in raw]
        assert weights[i].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_hardness_of_two_negatives_by_hand() -> None:
    """Similarities .1 apart at temperature .1 and hardness 1: e to 1, scaled to a sum of 2."""
    given = {"ranks": torch.zeros(1, 2, dtype=torch.int64), "ages": torch.zeros(1, 2, dtype=torch.int64)}
    similarities, found = torch.tensor([[0.5, 0.4]]), torch.ones(1, 2, dtype=torch.bool)
    weights = weigh(similarities, **given, found=found, weighting=Weighting(hardness=1, temperature=0.1))
    expected = [2 * math.e / (math.e + 1), 2 / (math.e + 1)]
    assert weights[0].tolist() == pytest.approx(expected, rel=1e-6)


def test_a_slot_of_one_half_life_counts_half() -> None:
    ages, found = torch.tensor([[0, 100, 200]]), torch.ones(1, 3, dtype=torch.bool)
    weights = weigh(torch.zeros(1, 3), ages * 0, ages, found, Weighting(**OFF, half_life=100))
    assert (weights[0] / weights[0, 0]).tolist() == pytest.approx([1, 0.5, 0.25])


def test_with_every_factor_off_all_found_count_one() -> None:
    given = candidates()
    assert torch.equal(weigh(**given, weighting=Weighting(**OFF)), given["found"].float())


def test_the_model_of_false_negatives_meets_the_measured_shares_and_adds_up_to_the_class() -> None:
    """Handwritten digits, ten classes of about 180: ranks 1-10 96 %, 50-200 47 %, 200-400 12 % same-class."""
    ranks = torch.arange(1797)
    false = 1 - Weighting(prior=0.1, corpus=1797).log_true_share(ranks).exp()
    means = [float(false[first:last].mean()) for first, last in ((0, 10), (50, 200), (200, 400))]
    assert means == pytest.approx([0.96, 0.47, 0.12], abs=0.09)
    assert float(false.sum()) == pytest.approx(179.7, rel=0.01)


def test_a_measured_curve_takes_the_place_of_the_prior() -> None:
    weighting = Weighting(curve=((2, 0.9), (10, 0.2), (50, 1.0)))
    shares = weighting.log_true_share(torch.tensor([[0, 1, 2, 9, 10, 49, 50, 900]])).exp()
    assert shares[0].tolist() == pytest.approx([1, 1, 0.1, 0.1, 0.8, 0.8, 0, 0])


@pytest.mark.parametrize("temperature", [0.01, 0.001])
def test_no_temperature_overflows_and_the_row_keeps_its_mass(temperature: float) -> None:
    given = candidates()
    weights = weigh(**given, weighting=Weighting(hardness=2, temperature=temperature))
    assert weights.isfinite().all()
    torch.testing.assert_close(weights.sum(1), given["found"].sum(1).float())


def test_a_near_duplicate_leaves_the_weights_of_other_rows_alone() -> None:
    given = candidates()
    weighting = Weighting(hardness=2, temperature=0.01, prior=0.1, corpus=1000)
    before = weigh(**given, weighting=weighting)
    given["similarities"][0, 0], given["found"][0, 0] = 1.0, True
    after = weigh(**given, weighting=weighting)
    assert torch.equal(before[1:], after[1:])
    assert after[0, 0] > before[0, 0]


def test_what_was_not_found_weighs_nothing_whatever_stands_in_its_place() -> None:
    found = torch.tensor([[True, False, False], [False, False, False], [True, True, False]])
    similarities = torch.tensor([[0.5, -math.inf, math.nan], [math.nan, 0.0, math.inf], [0.1, 0.1, math.inf]])
    ranks = torch.where(found, 5, -1)
    bands = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    weighting = Weighting(hardness=1, prior=0.1, corpus=100, half_life=10)
    weights = weigh(similarities, ranks, ranks, found, weighting, band_weights=bands)
    assert weights.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]  # the last: bands that weigh nothing


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_similarities_give_float32_weights(dtype: torch.dtype) -> None:
    given = candidates()
    given["similarities"] = given["similarities"].to(dtype)
    exact = given | {"similarities": given["similarities"].double()}
    weighting = Weighting(temperature=0.05)
    weights = weigh(**given, weighting=weighting)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, weigh(**exact, weighting=weighting))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"hardness": -1}, "hardness is -1"),
        ({"temperature": 0}, "temperature is 0; it must be > 0"),
        ({"prior": 1.0, "corpus": 10}, "prior is 1.0"),
        ({"prior": 0.1}, "of a corpus of None samples"),
        ({"prior": 0.1, "corpus": 9, "curve": ((0, 0.5),)}, "give one"),
        ({"curve": ((5, 0.5), (0, 0.9))}, "ranks must ascend"),
        ({"curve": ((0, 1.5),)}, r"shares lie in \[0, 1\]"),
        ({"half_life": 0}, "half_life is 0"),
        ({"mass": -1.0}, "mass is -1.0"),
    ],
)
def test_a_weighting_that_cannot_be_is_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Weighting(**options)


def test_false_negatives_are_counted_by_rank_where_labels_are_known() -> None:
    anchors = torch.tensor([1, 2, -1])
    labels = torch.tensor([[1, 1, 2, -1, 1], [2, 1, 1, 2, 2], [-1, 1, 1, 1, 1]])
    ranks = torch.tensor([[0, 5, 12, 13, 700], [3, 9, 10, 99, -1], [0, 1, 2, 3, 4]])
    shares = false_negatives_by_rank(anchors, labels, ranks, (0, 10, 50, 200, 500))
    assert shares == {"0-9": 3 / 4, "10-49": 0.0, "50-199": 1.0, "500+": 1.0}  # 200-499 holds nobody


def test_no_labels_give_no_shares() -> None:
    unknown = torch.full((2, 3), -1)
    assert false_negatives_by_rank(unknown[:, 0], unknown, unknown + 5, (0, 10)) == {}


@pytest.mark.parametrize("edges", [(), (-1, 5), (0, 5, 5)])
def test_edges_that_do_not_ascend_are_refused(edges: tuple[int, ...]) -> None:
    one = torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(ConfigError, match="ascending"):
        false_negatives_by_rank(one[0], one, one, edges)
