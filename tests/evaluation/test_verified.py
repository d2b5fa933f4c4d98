"""Figures of pairs against torchmetrics and against plain loops over resamples."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_auroc, binary_roc

from sslkit.evaluation.sample_pairs import SamplePairs, choose_pairs
from sslkit.evaluation.verified import Verified, far_name

FARS = [0.5, 0.1, 0.01, 0.001]


def drawn(
    count: int, *, classes: int = 5, levels: int | None = None, seed: int = 0
) -> tuple[SamplePairs, np.ndarray]:
    """All pairs of samples with similarities that know a little of the classes, `levels` of them or any."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    pairs = choose_pairs(labels, most=10**6, trial=0)
    similarities = 0.3 * pairs.genuine + random.normal(size=len(pairs.first)) * 0.4
    if levels is not None:
        similarities = np.round(similarities * levels) / levels
    return pairs, similarities.astype(np.float32)


def slow(
    pairs: SamplePairs, similarities: np.ndarray, rows: list[int], fars: list[float]
) -> dict[str, float]:
    """Every pair of two places in `rows` that hold different samples, one threshold after another."""
    of = {
        (int(i), int(j)): (float(s), bool(g))
        for i, j, s, g in zip(pairs.first, pairs.second, similarities, pairs.genuine, strict=True)
    }
    genuine, impostors = [], []
    for place, one in enumerate(rows):
        for other in rows[place + 1 :]:
            found = of.get((one, other), of.get((other, one)))
            if found is not None:
                (genuine if found[1] else impostors).append(found[0])
    alike = sum((g > i) + 0.5 * (g == i) for g in genuine for i in impostors)
    found = {"auc": alike / (len(genuine) * len(impostors))}
    points = [(0.0, 0.0)]
    for threshold in sorted({*genuine, *impostors}, reverse=True):
        far = sum(i >= threshold for i in impostors) / len(impostors)
        points.append((far, sum(g >= threshold for g in genuine) / len(genuine)))
    for (far0, tar0), (far1, tar1) in pairwise(points):
        gap0, gap1 = far0 - (1 - tar0), far1 - (1 - tar1)
        if gap0 < 0 <= gap1:
            found["eer"] = far0 + (far1 - far0) * gap0 / (gap0 - gap1)
    for wanted in fars:
        best = max(tar for far, tar in points if far <= wanted)
        found[far_name(wanted)] = best if 1 / len(impostors) <= wanted else math.nan
    return found


def compared(mine: dict[str, float], expected: dict[str, float]) -> None:
    assert mine.keys() == expected.keys()
    for name, value in expected.items():
        assert mine[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("levels", [None, 4, 1])
@pytest.mark.parametrize("count", [9, 40])
def test_figures_equal_plain_loops(count: int, levels: int | None) -> None:
    pairs, similarities = drawn(count, levels=levels)
    judged = Verified(pairs, similarities, count=count, fars=FARS)
    compared(dict(judged.figures().figures), slow(pairs, similarities, list(range(count)), FARS))


@pytest.mark.parametrize("levels", [None, 4])
@pytest.mark.parametrize("seed", range(5))
def test_a_resample_is_judged_as_its_samples_without_pairs_of_copies(seed: int, levels: int | None) -> None:
    pairs, similarities = drawn(18, levels=levels, seed=seed)
    judged = Verified(pairs, similarities, count=18, fars=FARS)
    rows = np.random.default_rng(seed).integers(0, 18, 18)
    assert len(set(rows.tolist())) < 18
    compared(dict(judged.figures(rows).figures), slow(pairs, similarities, rows.tolist(), FARS))


def test_of_drawn_pairs_a_resample_weighs_those_alone() -> None:
    pairs = choose_pairs(np.arange(20) % 4, most=60, trial=0)
    similarities = np.random.default_rng(0).normal(size=60).astype(np.float32)
    judged = Verified(pairs, similarities, count=20, fars=FARS)
    rows = np.random.default_rng(1).integers(0, 20, 20)
    compared(dict(judged.figures(rows).figures), slow(pairs, similarities, rows.tolist(), FARS))


@pytest.mark.parametrize("levels", [None, 8])
def test_they_agree_with_torchmetrics(levels: int | None) -> None:
    pairs, similarities = drawn(80, levels=levels)
    found = Verified(pairs, similarities, count=80, fars=FARS).figures().figures
    scores = torch.from_numpy(similarities).double().sigmoid()
    genuine = torch.from_numpy(pairs.genuine).long()
    assert found["auc"] == pytest.approx(float(binary_auroc(scores, genuine)), abs=1e-6)
    far, tar, _ = binary_roc(scores, genuine)
    for wanted in FARS:
        assert found[far_name(wanted)] == pytest.approx(float(tar[far <= wanted].max()), abs=1e-6)


def test_perfect_and_useless_similarities() -> None:
    pairs, _ = drawn(30)
    perfect = Verified(pairs, pairs.genuine.astype(np.float32), count=30, fars=[0.1]).figures().figures
    assert perfect == {"auc": 1.0, "eer": 0.0, "tar_at_far_1e-1": 1.0}
    useless = Verified(pairs, np.zeros(len(pairs.first), np.float32), count=30, fars=[0.1]).figures().figures
    assert useless == {"auc": 0.5, "eer": 0.5, "tar_at_far_1e-1": 0.0}
    wrong = Verified(pairs, -pairs.genuine.astype(np.float32), count=30, fars=[0.1]).figures().figures
    assert wrong == {"auc": 0.0, "eer": 1.0, "tar_at_far_1e-1": 0.0}


def test_a_rate_that_so_few_impostors_cannot_show_has_no_figure() -> None:
    pairs, similarities = drawn(6, classes=2)  # nine impostors
    found = Verified(pairs, similarities, count=6, fars=[0.1, 0.12]).figures().figures
    assert math.isnan(found["tar_at_far_1e-1"])
    assert 0 <= found["tar_at_far_1.2e-1"] <= 1


def test_a_rate_that_is_just_reached_counts() -> None:
    first, second = np.arange(20), np.arange(20, 40)
    pairs = SamplePairs(first, second, np.arange(20) < 10)
    impostors = np.linspace(0.9, 0.0, 10)  # one in ten reaches 0.9
    similarities = np.concatenate([np.repeat([0.95, 0.85], 5), impostors]).astype(np.float32)
    found = Verified(pairs, similarities, count=40, fars=[0.1, 0.19]).figures().figures
    assert found["tar_at_far_1e-1"] == found["tar_at_far_1.9e-1"] == 1.0


def test_a_resample_of_one_class_or_one_sample_has_no_figures() -> None:
    pairs, similarities = drawn(10, classes=2)
    judged = Verified(pairs, similarities, count=10, fars=[0.5])
    for rows in (np.array([0, 2, 4]), np.array([1, 1, 1])):
        assert all(math.isnan(value) for value in judged.figures(rows).figures.values())


def test_the_curve_rises_to_one_and_holds_the_rates() -> None:
    pairs, similarities = drawn(60)
    judged = Verified(pairs, similarities, count=60, fars=[0.1, 0.01])
    roc = judged.curves["roc"]
    assert list(roc.x) == sorted(roc.x)
    assert list(roc.y) == sorted(roc.y)
    assert (roc.x[-1], roc.y[-1]) == (1.0, 1.0)
    assert roc.x[0] >= 1 / (~pairs.genuine).sum()
    assert dict(zip(roc.x, roc.y, strict=True))[0.1] == judged.figures().figures["tar_at_far_1e-1"]
    assert (judged.count, judged.predicted) == (60, None)


def test_names_of_rates() -> None:
    assert [far_name(far) for far in (0.1, 1e-3, 0.05, 0.025)] == [
        "tar_at_far_1e-1",
        "tar_at_far_1e-3",
        "tar_at_far_5e-2",
        "tar_at_far_2.5e-2",
    ]
