"""The probe of several labels against scikit-learn, and its choice of penalty."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sslkit.errors import ConfigError, DataError
from sslkit.evaluation.linear import LinearProbe
from sslkit.evaluation.multi_label import fit_multi_label
from sslkit.keyed_random import permutation


def attributes(count: int, *, dim: int = 10, classes: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows of very different scales, and sets that depend on them with noise."""
    planes = torch.randn(dim, classes, generator=torch.Generator().manual_seed(7))
    random = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, dim, generator=random)
    sets = rows @ planes + 2 * torch.randn(count, classes, generator=random) > torch.linspace(-1, 4, classes)
    return rows * torch.logspace(-2, 2, dim) + torch.linspace(-5, 5, dim), sets


def fit(rows: Tensor, sets: Tensor, **changed: Any) -> LinearProbe:
    options: dict[str, Any] = {"l2": [1e-3, 1e-1], "held_out_share": 0.2, "max_iterations": 200, "seed": 0}
    return fit_multi_label(rows, sets, **{**options, **changed})


@pytest.mark.parametrize("l2", [1e-3, 1e-1])
def test_each_class_has_the_solution_it_would_have_alone(l2: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    rows, sets = attributes(300)
    logits = fit(rows, sets, l2=[l2]).logits(rows)
    exact = rows.double()
    standardised = ((exact - exact.mean(0)) / exact.std(0, correction=0)).numpy()
    for k in range(5):
        theirs = linear_model.LogisticRegression(C=1 / (l2 * 300), tol=1e-8, max_iter=2000).fit(
            standardised, sets[:, k].numpy()
        )
        shares = torch.from_numpy(theirs.predict_proba(standardised)[:, 1]).float()
        torch.testing.assert_close(logits[:, k].sigmoid(), shares, atol=2e-3, rtol=0)


def test_the_gradient_of_the_loss_is_nothing_at_the_solution() -> None:
    rows, sets = attributes(200)
    probe = fit(rows, sets, l2=[1e-2])
    standardised = (rows.double() - probe.mean.double()) / probe.scale.double()
    errors = probe.logits(rows).double().sigmoid() - sets.double()
    gradient = errors.T @ standardised / 200 + 1e-2 * probe.weight.double()
    assert gradient.abs().max() < 5e-4  # float32, of rows far from their mean
    assert errors.mean(dim=0).abs().max() < 5e-4


def test_the_penalty_is_chosen_on_the_keyed_held_out_rows() -> None:
    rows, sets = attributes(60, dim=40)
    tried = [1e-6, 1e-1, 100.0]
    probe = fit(rows, sets, l2=tried)
    assert probe.l2 == max(probe.held_out, key=lambda l2: probe.held_out[l2])
    held = permutation(60, seed=0, epoch=0)[:12]
    wrong = sets.clone()
    wrong[held] = ~sets[held]
    assert max(fit(rows, wrong, l2=tried).held_out.values()) < max(probe.held_out.values())
    other = fit(rows, sets, l2=tried, seed=1)
    assert other.held_out != probe.held_out


def test_a_class_that_nobody_or_everybody_is_of_stays_finite() -> None:
    rows, sets = attributes(80)
    sets[:, 0], sets[:, 1] = False, True
    logits = fit(rows, sets).logits(rows)
    assert logits.isfinite().all()
    assert (logits[:, 0] < 0).all()
    assert (logits[:, 1] > 0).all()


def test_equal_input_gives_an_equal_probe_without_gradient() -> None:
    rows, sets = attributes(100)
    with torch.no_grad():
        one, other = fit(rows, sets), fit(rows, sets)
    assert torch.equal(one.weight, other.weight)
    assert not one.weight.requires_grad


def test_bad_options_and_data_are_refused() -> None:
    rows, sets = attributes(50)
    for l2 in ([], [-1.0]):
        with pytest.raises(ConfigError, match="penalty"):
            fit(rows, sets, l2=l2)
    with pytest.raises(ConfigError, match="held_out_share"):
        fit(rows, sets, held_out_share=1.0)
    with pytest.raises(DataError, match="finite"):
        fit(rows / 0, sets)
    for wrong in (sets[:40], sets[:, 0], torch.zeros_like(sets)):
        with pytest.raises(DataError, match="at least one sample of a class"):
            fit(rows, wrong)
