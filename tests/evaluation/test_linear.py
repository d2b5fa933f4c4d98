"""The linear probe against scikit-learn, and its choice of penalty."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sslkit.errors import ConfigError, DataError
from sslkit.evaluation.linear import LinearProbe, fit_linear, fit_penalised, weighted_over_samples
from sslkit.keyed_random import permutation


def blobs(
    count: int, dim: int = 12, classes: int = 4, spread: float = 0.6, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Overlapping classes whose dimensions have very different scales and offsets."""
    generator = torch.Generator().manual_seed(7)
    centres = spread * torch.randn(classes, dim, generator=generator)
    scales, offsets = torch.logspace(-2, 2, dim), torch.linspace(-5, 5, dim)
    labels = torch.arange(count) % classes
    noise = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))
    return (centres[labels] + noise) * scales + offsets, labels


def fit(rows: Tensor, labels: Tensor, **changed: Any) -> LinearProbe:
    options: dict[str, Any] = {
        "classes": 4,
        "l2": [1e-3, 1e-1],
        "held_out_share": 0.2,
        "max_iterations": 200,
        "seed": 0,
    }
    return fit_linear(rows, labels, **{**options, **changed})


@pytest.mark.parametrize("l2", [1e-3, 1e-1])
def test_it_finds_scikit_learns_solution(l2: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rows, labels = blobs(400)
    probe = fit(rows, labels, l2=[l2])
    standardised = ((rows.double() - rows.double().mean(0)) / rows.double().std(0, correction=0)).numpy()
    theirs = linear_model.LogisticRegression(C=1 / (l2 * 400), tol=1e-8, max_iter=2000).fit(
        standardised, labels
    )
    shares = torch.from_numpy(theirs.predict_proba(standardised)).float()
    torch.testing.assert_close(probe.logits(rows).softmax(dim=1), shares, atol=2e-3, rtol=0)


def test_equal_input_gives_an_equal_probe() -> None:
    rows, labels = blobs(300)
    one, other = fit(rows, labels), fit(rows, labels)
    assert torch.equal(one.weight, other.weight)
    assert one.held_out == other.held_out


def test_it_separates_what_is_separable_and_cannot_read_noise() -> None:
    rows, labels = blobs(600, spread=3.0)
    test, test_labels = blobs(400, spread=3.0, seed=1)
    assert (fit(rows, labels).rank(test)[:, 0] == test_labels).float().mean() > 0.97
    noise = torch.randn(400, 12, generator=torch.Generator().manual_seed(3))
    assert (fit(noise, labels[:400]).rank(noise.flip(0))[:, 0] == labels[:400]).float().mean() < 0.4


def test_the_penalty_is_chosen_on_the_keyed_held_out_rows() -> None:
    rows, labels = blobs(60, dim=50, spread=0.4)
    probe = fit(rows, labels, l2=[1e-6, 1e-1, 100.0])
    assert probe.l2 == max(probe.held_out, key=lambda l2: probe.held_out[l2])
    # Rows the permutation holds out are the ones judged: their labels change the judgement, others' do not.
    held = permutation(60, seed=0, epoch=0)[:12]
    wrong = labels.clone()
    wrong[held] = (labels[held] + 1) % 4
    changed = fit(rows, wrong, l2=[1e-6, 1e-1, 100.0])
    assert changed.held_out != probe.held_out
    assert max(changed.held_out.values()) < max(probe.held_out.values())


def test_the_final_fit_uses_all_rows() -> None:
    rows, labels = blobs(200)
    probe = fit(rows, labels)
    torch.testing.assert_close(probe.mean, rows.double().mean(0).float())


def test_a_constant_dimension_does_no_harm() -> None:
    rows, labels = blobs(200)
    constant = torch.cat([rows, torch.full((200, 1), 0.1)], dim=1)
    torch.testing.assert_close(
        fit(rows, labels).logits(rows), fit(constant, labels).logits(constant), atol=1e-2, rtol=0
    )


LOSSES: dict[str, Callable[..., Tensor]] = {
    "plain": torch.nn.CrossEntropyLoss(),
    "divided by weights": torch.nn.CrossEntropyLoss(torch.tensor([0.2, 0.5, 1.3, 2.0])),
    "divided by samples": lambda logits, labels: weighted_over_samples(
        logits, labels, torch.tensor([0.2, 0.5, 1.3, 2.0])
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_one_penalty_finds_where_loss_and_penalty_are_level(name: str) -> None:
    rows, labels = blobs(200)
    labels[:120] = 0  # unequal classes
    probe = fit_penalised(rows, labels, classes=4, l2=0.05, max_iterations=300, loss=LOSSES[name])
    standardised = (rows.double() - rows.double().mean(0)) / rows.double().std(0, correction=0)
    weight, bias = (part.double().requires_grad_() for part in (probe.weight, probe.bias))
    weights = torch.tensor([1.0] * 4 if name == "plain" else [0.2, 0.5, 1.3, 2.0], dtype=torch.float64)
    total = standardised.new_zeros(())
    for row, label in zip(standardised, labels.tolist(), strict=True):
        total = total + weights[label] * ((weight @ row + bias).logsumexp(0) - (weight @ row + bias)[label])
    divisor = weights[labels].sum() if name == "divided by weights" else len(labels)
    objective = total / divisor + 0.05 / 2 * (weight * weight).sum()
    for gradient in torch.autograd.grad(objective, [weight, bias]):
        assert gradient.abs().max() < 1e-4


def test_weights_divided_by_samples_and_by_weights_are_told_apart_by_hand() -> None:
    # The right class has a probability of 1/2, 1/2, 1/2 and 1/4; the last is of the rare class.
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [math.log(3.0), 0.0]])
    labels, weights = torch.tensor([0, 0, 0, 1]), torch.tensor([0.5, 1.5])
    summed = 3 * 0.5 * math.log(2) + 1.5 * math.log(4)
    over_samples = weighted_over_samples(logits, labels, weights)
    over_weights = torch.nn.CrossEntropyLoss(weights)(logits, labels)
    assert float(over_samples) == pytest.approx(summed / 4)
    assert float(over_weights) == pytest.approx(summed / 3)
    # A batch of the rare class alone counts more in the one, and like any other in the other.
    rare = weighted_over_samples(logits[3:], labels[3:], weights)
    assert float(rare) == pytest.approx(1.5 * math.log(4))
    assert float(torch.nn.CrossEntropyLoss(weights)(logits[3:], labels[3:])) == pytest.approx(math.log(4))


def test_one_penalty_is_the_last_fit_of_a_sweep() -> None:
    rows, labels = blobs(200)
    alone = fit_penalised(rows, labels, classes=4, l2=0.1, max_iterations=200)
    swept = fit(rows, labels, l2=[0.1])
    assert torch.equal(alone.weight, swept.weight)
    assert (alone.held_out, alone.l2) == ({}, 0.1)
    assert list(swept.held_out) == [0.1]


def test_it_leaves_no_gradient_and_works_without_one() -> None:
    rows, labels = blobs(100)
    with torch.no_grad():
        probe = fit(rows, labels)
    assert not probe.weight.requires_grad


def test_bad_options_and_data_are_refused() -> None:
    rows, labels = blobs(50)
    with pytest.raises(ConfigError, match="penalty"):
        fit(rows, labels, l2=[])
    with pytest.raises(ConfigError, match="negative"):
        fit(rows, labels, l2=[-1.0])
    for share in (0.0, 0.001, 1.0):
        with pytest.raises(ConfigError, match="held_out_share"):
            fit(rows, labels, held_out_share=share)
    with pytest.raises(DataError, match=r"outside 0\.\.2"):
        fit(rows, labels, classes=3)
    with pytest.raises(DataError, match="finite"):
        fit(rows / 0, labels)
    with pytest.raises(ConfigError, match="negative"):
        fit_penalised(rows, labels, classes=4, l2=-1.0, max_iterations=10)
    with pytest.raises(DataError, match="50 of 50 embeddings are not finite"):
        fit(rows, labels).rank(rows / 0)
