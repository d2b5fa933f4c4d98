"""Few-shot classification against draws judged one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sslkit.contracts import Features
from sslkit.data.label_draws import draw_per_class
from sslkit.errors import ConfigError, DataError
from sslkit.evaluation.probes.few_shot import FewShot
from sslkit.runs.probing import choose_probe

CLASSES = ["a", "b", "c", "d"]
OPTIONS: dict[str, Any] = {
    "shots": [1, 5, 10],
    "draws": 3,
    "classifier": "centroid",
    "l2": 1.0,
    "max_iterations": 50,
}


def toy(count: int, seed: int, noise: float = 0.7) -> Features:
    labels = torch.arange(count) % 4
    spread = noise * torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return Features(torch.arange(count), 3 + torch.eye(4, 6)[labels] + spread, labels)


def right_slowly(train: Features, test: Features, shots: int, draw: int) -> list[bool]:
    """SimpleShot (CL2N) in float64: the nearest mean of `shots` centred samples of unit length."""
    known, judged = train.embeddings.double(), test.embeddings.double()
    centre = known.mean(0)
    means = torch.zeros(4, 6, dtype=torch.float64)
    for row in draw_per_class(train.labels.numpy(), shots, trial=draw):
        means[train.labels[row]] += (known[row] - centre) / (known[row] - centre).norm() / shots
    right = []
    for row, label in zip(judged, test.labels.tolist(), strict=True):
        looked = (row - centre) / (row - centre).norm()
        right.append(min(range(4), key=lambda k: float((looked - means[k]).norm())) == label)
    return right


@pytest.mark.parametrize("trial", [0, 2])
def test_figures_are_means_over_draws_of_the_whole_test_set(trial: int) -> None:
    train, test = toy(60, 0), toy(50, 1)
    judged = FewShot(**OPTIONS)(train, test, CLASSES, trial=trial)
    found = judged.figures()
    assert list(found.figures) == ["top1_5shot", "top1_1shot", "top1_10shot"]
    rows = np.random.default_rng(0).integers(0, 50, 50)
    for shots in (1, 5, 10):
        right = np.array(
            [right_slowly(train, test, shots, draw) for draw in range(3 * trial, 3 * trial + 3)], dtype=float
        )
        name = f"top1_{shots}shot"
        assert found.figures[name] == pytest.approx(right.mean())
        assert judged.figures(rows).figures[name] == pytest.approx(right[:, rows].mean())
        if shots == 5:
            for k, label in enumerate(CLASSES):
                assert found.per_class[label] == pytest.approx(right[:, test.labels == k].mean())
    curve = judged.curves["shots"]
    assert curve.x == (1.0, 5.0, 10.0)
    assert curve.y == pytest.approx([found.figures[f"top1_{shots}shot"] for shots in (1, 5, 10)])


def test_more_shots_are_better_and_the_majority_of_draws_is_said() -> None:
    train, test = toy(200, 0), toy(400, 1)
    judged = FewShot(**{**OPTIONS, "draws": 9})(train, test, CLASSES, trial=0)
    assert judged.curves["shots"].y[0] + 0.05 < judged.curves["shots"].y[2]
    assert judged.predicted is not None
    assert judged.predicted.dtype == torch.int64
    said = float((judged.predicted == test.labels).double().mean())
    assert said > judged.figures().figures["top1_5shot"]


def test_the_linear_classifier_learns_too() -> None:
    train, test = toy(60, 0, noise=0.2), toy(80, 1, noise=0.2)
    found = FewShot(**{**OPTIONS, "classifier": "linear"})(train, test, CLASSES, trial=0).figures().figures
    assert found["top1_5shot"] > 0.9
    noisy, judged = toy(60, 0), toy(80, 1)
    linear = FewShot(**{**OPTIONS, "classifier": "linear"})(noisy, judged, CLASSES, trial=0)
    assert linear.figures() != FewShot(**OPTIONS)(noisy, judged, CLASSES, trial=0).figures()


def test_trials_differ_and_draw_nothing_twice() -> None:
    train, test = toy(60, 0), toy(50, 1)
    pair = FewShot(**{**OPTIONS, "draws": 2})(train, test, CLASSES, trial=1)
    alone = [FewShot(**{**OPTIONS, "draws": 1})(train, test, CLASSES, trial=trial) for trial in (2, 3)]
    expected = sum(one.values["top1_1shot"] for one in alone) / 2
    assert torch.equal(pair.values["top1_1shot"], expected)
    assert not torch.equal(alone[0].values["top1_1shot"], alone[1].values["top1_1shot"])


def test_the_packed_protocol_measures() -> None:
    protocol, probe = choose_probe("few_shot", None)
    assert protocol.id == FewShot.protocol
    found = probe(toy(80, 0, noise=0.05), toy(20, 1, noise=0.05), CLASSES, trial=0).figures()
    assert found.figures[FewShot.metric] == 1.0


def test_a_class_with_too_few_samples_is_named() -> None:
    train = toy(42, 0)  # c and d have 10, a and b 11
    with pytest.raises(DataError, match="c has 10, d has 10; ask for at most 10"):
        FewShot(**{**OPTIONS, "shots": [5, 11]})(train, toy(8, 1), CLASSES, trial=0)
    with pytest.raises(DataError, match="e has 0; give every class samples"):
        FewShot(**OPTIONS)(train, toy(8, 1), [*CLASSES, "e"], trial=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shots": [1, 10]}, "5 among them"),
        ({"shots": [0, 5]}, "none below 1"),
        ({"shots": [5, 5]}, "different"),
        ({"draws": 0}, "draws=0"),
        ({"classifier": "svm"}, "centroid or linear"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FewShot(**{**OPTIONS, **options})
