"""Fits to a long tail: each remedy against what it is said to be."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from sslkit.contracts import Features
from sslkit.data.label_draws import draw_long_tail
from sslkit.errors import ConfigError
from sslkit.evaluation.linear import fit_penalised
from sslkit.evaluation.probes.few_shot import FewShot
from sslkit.evaluation.probes.long_tail import METHODS, ByClass, LongTail, balancing_weights, thirds
from sslkit.runs.probing import choose_probe

CLASSES = ["a", "b", "c"]
OPTIONS: dict[str, Any] = {"imbalance": 16, "methods": list(METHODS), "l2": 0.05, "max_iterations": 200}


def toy(count: int, seed: int, noise: float = 0.9) -> Features:
    labels = torch.arange(count) % 3
    spread = noise * torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return Features(torch.arange(count), torch.eye(3, 6)[labels] + spread, labels)


def measured(**options: Any) -> ByClass:
    """240 training samples, of which 80, 20 and 5 are drawn with an imbalance of 16."""
    return LongTail(**{**OPTIONS, **options})(toy(240, 0), toy(300, 1), CLASSES, trial=0)


def test_figures_are_those_of_plain_loops() -> None:
    judged = measured()
    rows = np.random.default_rng(0).integers(0, 300, 300)
    for chosen in (None, rows):
        found = judged.figures(chosen).figures
        looked = range(300) if chosen is None else chosen.tolist()
        for method in METHODS:
            shares = []
            for k in range(3):
                own = [float(judged.right[method][row]) for row in looked if judged.labels[row] == k]
                shares.append(sum(own) / len(own))
            assert found[f"mean_class_{method}"] == pytest.approx(sum(shares) / 3)
            names = ("head", "medium", "tail")
            assert [found[f"{name}_{method}"] for name in names] == pytest.approx(shares)
    assert judged.figures().per_class["c"] == pytest.approx(judged.figures().figures["tail_plain"])
    assert judged.curves["plain"].x == (5.0, 20.0, 80.0)
    assert judged.curves["plain"].y == pytest.approx(
        [judged.figures().figures[f"{name}_plain"] for name in ("tail", "medium", "head")]
    )


def test_remedies_help_the_tail_and_cost_the_head() -> None:
    found = measured().figures().figures
    for remedy in METHODS[1:]:
        assert found[f"tail_{remedy}"] > found["tail_plain"] + 0.1
        assert found[f"head_{remedy}"] < found["head_plain"]
        assert found[f"mean_class_{remedy}"] > found["mean_class_plain"] + 0.05


def test_oversampling_to_balance_is_weighting_by_the_sum_where_repetition_is_even() -> None:
    judged = measured()  # 80 = 4 * 20 = 16 * 5
    assert torch.equal(judged.right["oversampling"], judged.right["weights_sum"])
    assert not torch.equal(judged.right["plain"], judged.right["weights_sum"])
    uneven = measured(imbalance=11)
    assert not torch.equal(uneven.right["oversampling"], uneven.right["plain"])


def test_dividing_by_samples_is_dividing_by_weights_under_a_stronger_penalty() -> None:
    # Weights 3 / (1/80 + 1/20 + 1/5) / n of 80, 20 and 5 samples add up to 9 / (1/80 + 1/20 + 1/5).
    factor = 9 / (1 / 80 + 1 / 20 + 1 / 5) / 105
    assert factor == pytest.approx(0.327, abs=1e-3)
    judged = measured(l2=0.05)
    assert not torch.equal(judged.right["weights_mean"], judged.right["weights_sum"])
    stronger = measured(l2=0.05 / factor)
    assert torch.equal(judged.right["weights_mean"], stronger.right["weights_sum"])


def test_weights_by_the_sum_are_torchs() -> None:
    train, test = toy(240, 0), toy(300, 1)
    drawn = train[torch.from_numpy(draw_long_tail(train.labels.numpy(), 16, trial=0))]
    probe = fit_penalised(
        drawn.embeddings,
        drawn.labels,
        classes=3,
        l2=0.05,
        max_iterations=200,
        loss=torch.nn.CrossEntropyLoss(torch.tensor([1 / 80, 1 / 20, 1 / 5])),
    )
    right = probe.rank(test.embeddings)[:, 0] == test.labels
    assert torch.equal(measured().right["weights_sum"], right.double())


def test_weights_are_inverse_numbers_that_sum_to_the_classes_there_are() -> None:
    weights = balancing_weights(torch.tensor([80, 20, 0, 5]))
    assert float(weights.sum()) == pytest.approx(3)
    assert float(weights[2]) == 0
    assert (weights[[0, 1, 3]] * torch.tensor([80, 20, 5])).tolist() == pytest.approx([3 / 0.2625] * 3)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([9, 8, 7, 6, 5, 4, 3, 2, 1, 1], ([0, 1, 2], [3, 4, 5, 6], [7, 8, 9])),
        ([4, 9, 1], ([1], [0], [2])),
        ([4, 9], ([1], [], [0])),
        ([0, 4, 0, 9, 2], ([3], [1], [4])),
    ],
)
def test_thirds_go_by_the_number_of_training_samples(
    counts: list[int], expected: tuple[list[int], ...]
) -> None:
    found = thirds(np.array(counts))
    assert list(found) == ["head", "medium", "tail"]
    assert [members.tolist() for members in found.values()] == list(expected)


def test_what_is_not_drawn_is_not_seen() -> None:
    train, test = toy(240, 0), toy(300, 1)
    unseen = torch.ones(240, dtype=torch.bool)
    unseen[torch.from_numpy(draw_long_tail(train.labels.numpy(), 16, trial=0))] = False
    changed = dataclasses.replace(train, embeddings=train.embeddings + 100.0 * unseen[:, None])
    one, other = (LongTail(**OPTIONS)(part, test, CLASSES, trial=0) for part in (train, changed))
    assert all(torch.equal(one.right[method], other.right[method]) for method in METHODS)


def test_trials_draw_anew_and_no_imbalance_draws_all() -> None:
    train, test = toy(240, 0), toy(300, 1)
    one, other = (LongTail(**OPTIONS)(train, test, CLASSES, trial=trial) for trial in (0, 1))
    assert not torch.equal(one.right["plain"], other.right["plain"])
    level = measured(imbalance=1)
    for remedy in ("oversampling", "weights_mean", "weights_sum"):
        assert torch.equal(level.right[remedy], level.right["plain"])


def test_the_class_mean_is_the_few_shot_one() -> None:
    train, test = toy(30, 0), toy(60, 1)
    level = LongTail(**{**OPTIONS, "imbalance": 1})(train, test, CLASSES, trial=0)
    few = FewShot(shots=[5, 10], draws=1, classifier="centroid", l2=0.0, max_iterations=1)
    assert torch.equal(level.right["class_mean"], few(train, test, CLASSES, trial=0).values["top1_10shot"])


def test_classes_that_do_not_occur_do_not_count() -> None:
    train, test = toy(240, 0), toy(300, 1)
    judged = LongTail(**OPTIONS)(train, test[test.labels < 2], [*CLASSES, "d"], trial=0)
    found = judged.figures()
    assert set(found.per_class) == {"a", "b"}
    assert "tail_plain" not in found.figures  # of class c alone, of which there is no test sample
    assert found.figures["mean_class_plain"] == pytest.approx(sum(found.per_class.values()) / 2)


def test_the_packed_protocol_measures() -> None:
    protocol, probe = choose_probe("long_tail", None)
    assert protocol.id == LongTail.protocol
    found = probe(toy(240, 0, noise=0.05), toy(30, 1, noise=0.05), CLASSES, trial=0).figures()
    assert found.figures[LongTail.metric] == 1.0
    assert probe(toy(240, 0), toy(30, 1), CLASSES, trial=0).predicted is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["class_mean"]}, "give plain"),
        ({"methods": ["plain", "focal"]}, "any of oversampling"),
        ({"methods": ["plain", "plain"]}, "give plain"),
        ({"imbalance": 0.5}, "imbalance=0.5"),
        ({"l2": -1.0}, "negative"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        measured(**options)
