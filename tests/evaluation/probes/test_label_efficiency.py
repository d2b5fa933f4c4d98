"""Linear probes on parts of the labels, against fits of the drawn samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sslkit.contracts import Features
from sslkit.data.label_draws import draw_share
from sslkit.errors import ConfigError
from sslkit.evaluation.linear import fit_linear, fit_penalised
from sslkit.evaluation.probes.label_efficiency import LabelEfficiency
from sslkit.evaluation.probes.linear import Linear
from sslkit.runs.probing import choose_probe

CLASSES = ["a", "b", "c", "d"]
OPTIONS: dict[str, Any] = {
    "shares": [0.01, 0.1, 1.0],
    "l2": [1e-3, 1e-1, 10.0],
    "held_out_share": 0.2,
    "max_iterations": 60,
}


def toy(count: int, seed: int, noise: float = 0.8) -> Features:
    labels = torch.arange(count) % 4
    spread = noise * torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return Features(torch.arange(count), torch.eye(4, 6)[labels] + spread, labels)


def test_each_share_is_a_fit_of_the_samples_drawn() -> None:
    train, test = toy(400, 0), toy(120, 1)
    judged = LabelEfficiency(**OPTIONS)(train, test, CLASSES, trial=3)
    found = judged.figures()
    assert list(found.figures) == ["top1_10pct", "top1_1pct", "top1_100pct"]
    assert judged.curves["labels"].x == (4.0, 40.0, 400.0)
    resample = np.random.default_rng(0).integers(0, 120, 120)
    for share, at in ((0.01, 0), (0.1, 1), (1.0, 2)):
        rows = torch.from_numpy(draw_share(train.labels.numpy(), share, trial=3))
        if share == 0.01:  # one sample of each class: nothing to hold out
            probe = fit_penalised(
                train.embeddings[rows], train.labels[rows], classes=4, l2=10.0, max_iterations=60
            )
        else:
            options = {key: OPTIONS[key] for key in ("l2", "held_out_share", "max_iterations")}
            probe = fit_linear(train.embeddings[rows], train.labels[rows], classes=4, seed=3, **options)
        right = (probe.rank(test.embeddings)[:, 0] == test.labels).double()
        name = f"top1_{100 * share:g}pct"
        assert found.figures[name] == pytest.approx(float(right.mean()))
        assert judged.figures(resample).figures[name] == pytest.approx(float(right[resample].mean()))
        assert judged.curves["labels"].y[at] == pytest.approx(float(right.mean()))
        if share == 0.1:
            assert found.per_class["b"] == pytest.approx(float(right[test.labels == 1].mean()))
            assert judged.predicted is not None
            assert torch.equal(judged.predicted == test.labels, right.bool())


def test_all_labels_are_the_linear_probe() -> None:
    train, test = toy(200, 0), toy(120, 1)
    options = {key: OPTIONS[key] for key in ("l2", "held_out_share", "max_iterations")}
    for trial in (0, 1):
        whole = Linear(**options, seed=0)(train, test, CLASSES, trial=trial).figures()
        parts = LabelEfficiency(**OPTIONS)(train, test, CLASSES, trial=trial).figures()
        assert parts.figures["top1_100pct"] == whole.figures["top1"]


def test_the_strongest_penalty_ranks_as_class_means_where_none_can_be_chosen() -> None:
    train, test = toy(400, 0, noise=0.3), toy(200, 1, noise=0.3)
    rows = torch.from_numpy(draw_share(train.labels.numpy(), 0.01, trial=0))
    few = train[rows]
    probe = fit_penalised(few.embeddings, few.labels, classes=4, l2=100.0, max_iterations=60)
    standardised = (few.embeddings - probe.mean) / probe.scale
    nearest = ((test.embeddings - probe.mean) / probe.scale) @ standardised[few.labels.argsort()].T
    agree = (probe.rank(test.embeddings)[:, 0] == nearest.argmax(dim=1)).double().mean()
    assert float(agree) > 0.97


def test_trials_draw_anew() -> None:
    train, test = toy(400, 0), toy(120, 1)
    one, other = (LabelEfficiency(**OPTIONS)(train, test, CLASSES, trial=trial) for trial in (0, 1))
    assert not torch.equal(one.values["top1_1pct"], other.values["top1_1pct"])
    again = LabelEfficiency(**OPTIONS)(train, test, CLASSES, trial=0)
    assert all(torch.equal(one.values[name], again.values[name]) for name in one.values)


def test_a_class_that_nobody_has_shown_is_never_right() -> None:
    train, test = toy(80, 0), toy(40, 1)
    seen = train[train.labels != 3]
    found = LabelEfficiency(**OPTIONS)(seen, test, CLASSES, trial=0).figures()
    assert found.per_class["d"] == 0.0


def test_the_packed_protocol_measures() -> None:
    protocol, probe = choose_probe("label_efficiency", None)
    assert protocol.id == LabelEfficiency.protocol
    found = probe(toy(120, 0, noise=0.05), toy(20, 1, noise=0.05), CLASSES, trial=0).figures()
    assert found.figures[LabelEfficiency.metric] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shares": [0.01, 1.0]}, "0.1 among them"),
        ({"shares": [0.1, 0.1]}, "different"),
        ({"shares": [0.1, 2.0]}, "share=2.0"),
        ({"l2": []}, "penalty"),
        ({"held_out_share": 1.0}, "held_out_share"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LabelEfficiency(**{**OPTIONS, **options})(toy(80, 0), toy(8, 1), CLASSES, trial=0)
