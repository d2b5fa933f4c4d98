"""Barlow Twins against the paper in plain loops, another library, and the objective contract."""

import math

import pytest
import torch

from sslkit.contracts import Embeddings, Samples
from sslkit.errors import ConfigError
from sslkit.objectives import barlow_twins
from sslkit.objectives.barlow_twins import EPSILON, BarlowTwins
from sslkit.testing.backbones import TinyBackbone
from sslkit.testing.objective_kit import check_objective, example_views, first_losses
from sslkit.testing.ranks import many_ranks_step, one_rank_step

SMALL = {"projector_hidden": 32, "projector_outputs": 16}


def slow_terms(first, second) -> tuple[float, float]:
    """Zbontar et al. 2021, equation 2 entry by entry, and the two sums of equation 1.

    A channel's sum of squares has N * EPSILON added, which the equation leaves out and the paper's code, a
    BatchNorm, has.
    """

    def centred(rows, channel) -> list[float]:
        column = [row[channel] for row in rows]
        return [x - sum(column) / len(column) for x in column]

    count, width = first.shape
    first, second = first.tolist(), second.tolist()
    invariance = redundancy = 0.0
    for i in range(width):
        one = centred(first, i)
        for j in range(width):
            other = centred(second, j)
            one_length = math.sqrt(sum(x * x for x in one) + count * EPSILON)
            other_length = math.sqrt(sum(x * x for x in other) + count * EPSILON)
            entry = sum(x * y for x, y in zip(one, other, strict=True)) / (one_length * other_length)
            if i == j:
                invariance += (1 - entry) ** 2
            else:
                redundancy += entry**2
    return invariance, redundancy


# Both ways to the sum of squares: P x P where channels are few, N x N where they are many.
@pytest.mark.parametrize(("count", "width"), [(1, 3), (2, 2), (7, 1), (20, 3), (8, 16), (8, 17), (5, 24)])
@pytest.mark.parametrize("off_diagonal", [0.005, 1.0])
def test_barlow_twins_is_the_paper(count, width, off_diagonal) -> None:
    torch.manual_seed(count * 100 + width)
    first, second = 3.0 * torch.randn(2, count, width, dtype=torch.float64) + 1.0
    invariance, redundancy = slow_terms(first, second)
    ours = float(barlow_twins(first, second, off_diagonal=off_diagonal))
    assert ours == pytest.approx(invariance + off_diagonal * redundancy, rel=1e-10)


@pytest.mark.parametrize("width", [16, 256])
def test_barlow_twins_equals_another_library(width) -> None:
    loss = pytest.importorskip("lightly.loss", reason="lightly is in the dev extra")
    torch.manual_seed(0)
    first, second = torch.randn(2, 32, width)
    theirs = float(loss.BarlowTwinsLoss(lambda_param=0.01)(first, second))
    assert float(barlow_twins(first, second, off_diagonal=0.01)) == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("width", [4, 64])
def test_identical_rows_give_a_finite_loss_and_gradient(width) -> None:
    """A channel without variance correlates with none: each costs 1 on the diagonal."""
    first, second = (1000.0 * torch.randn(1, width).repeat(8, 1).requires_grad_() for _ in range(2))
    first.retain_grad()
    loss = barlow_twins(first, second)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(width, rel=0.01)
    assert first.grad.isfinite().all()


@pytest.mark.parametrize("width", [8, 128])
def test_equal_views_cost_nothing_on_the_diagonal(width) -> None:
    torch.manual_seed(0)
    rows = torch.randn(16, width)
    outcome = BarlowTwins(TinyBackbone(), **SMALL).loss(
        Embeddings(rows, (rows, rows)), Samples.of(torch.arange(16))
    )
    assert float(outcome.terms["invariance"]) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("width", [8, 128])
def test_the_gradient_under_bfloat16_autocast_is_the_exact_one(width) -> None:
    torch.manual_seed(0)
    exact, second = torch.randn(2, 16, width, dtype=torch.float64)
    rows = exact.float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = barlow_twins(rows, second.float())
    loss.backward()
    exact.requires_grad_()
    barlow_twins(exact, second).backward()
    torch.testing.assert_close(rows.grad.double(), exact.grad, rtol=1e-3, atol=1e-5)


def test_the_module_weighs_its_terms() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 12, 5, dtype=torch.float64)
    objective = BarlowTwins(TinyBackbone(), off_diagonal=0.1, **SMALL)
    outcome = objective.loss(Embeddings(first, (first, second)), Samples.of(torch.arange(12)))
    invariance, redundancy = slow_terms(first, second)
    assert float(outcome.terms["invariance"]) == pytest.approx(invariance, rel=1e-9)
    assert float(outcome.terms["redundancy"]) == pytest.approx(redundancy, rel=1e-9)
    assert float(outcome.loss) == pytest.approx(invariance + 0.1 * redundancy, rel=1e-9)


def test_barlow_twins_keeps_the_objective_contract() -> None:
    check_objective(lambda backbone: BarlowTwins(backbone, **SMALL))


@pytest.mark.parametrize("sizes", [[6, 6], [5, 4, 3]], ids=["even", "uneven"])
@pytest.mark.parametrize(
    ("objective", "options"), [(BarlowTwins, {**SMALL, "projector_outputs": 32})], ids=["barlow_twins"]
)
def test_many_ranks_equal_one_rank_with_the_global_batch(objective, options, sizes) -> None:
    one = one_rank_step(objective, options, rows=12)
    many = many_ranks_step(objective, options, sizes=sizes)
    assert many.loss == pytest.approx(one.loss, rel=1e-12)
    assert many.gradients.keys() == one.gradients.keys()
    largest = max(float(gradient.abs().max()) for gradient in one.gradients.values())
    for name, gradient in one.gradients.items():
        torch.testing.assert_close(many.gradients[name], gradient, rtol=1e-9, atol=1e-12 * largest, msg=name)


def test_barlow_twins_golden_losses() -> None:
    """The first steps of a fixed run; a change here changes what every recipe trains."""
    losses = first_losses(lambda backbone: BarlowTwins(backbone, **SMALL), lr=0.02)
    assert [losses[i] for i in (0, 1, 9, 19)] == pytest.approx(GOLDEN, rel=2e-3)  # rounding grows


GOLDEN = [0.9756746, 0.2692010, 0.1805974, 0.1733972]


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be >= 0"):
        BarlowTwins(TinyBackbone(), off_diagonal=-0.1)


@pytest.mark.parametrize("views", [1, 3])
def test_other_than_two_views_are_refused(views) -> None:
    backbone = TinyBackbone()
    with pytest.raises(ConfigError, match=f"2 views, given {views}"):
        BarlowTwins(backbone, **SMALL).embed(backbone, example_views(views))
