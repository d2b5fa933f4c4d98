"""SIGReg against the statistic in complex numbers and in closed form, and the objective contract."""

import cmath
import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from sslkit.contracts import Embeddings, Samples
from sslkit.errors import ConfigError
from sslkit.objectives import sigreg
from sslkit.objectives.sigreg import SIGReg, agreement
from sslkit.testing.backbones import TinyBackbone
from sslkit.testing.objective_kit import check_objective, example_views, first_losses
from sslkit.testing.ranks import many_ranks_step, one_rank_step

SMALL = {"slices": 32, "projector_hidden": 32, "projector_outputs": 16}
SAMPLES = Samples.of(torch.arange(12))


def units(count: int, width: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, width, dtype=torch.float64), dim=1)


def slow_statistic(values: list[float], knots: int, reach: float) -> float:
    """Epps and Pulley over both halves of the axis, with complex numbers and the trapezoid rule."""

    def integrand(t: float) -> float:
        empirical = sum(cmath.exp(1j * t * x) for x in values) / len(values)
        return abs(empirical - math.exp(-t * t / 2)) ** 2 * math.exp(-t * t / 2)

    gap = reach / (knots - 1)
    heights = [integrand(gap * k) for k in range(-(knots - 1), knots)]
    area = sum((left + right) / 2 * gap for left, right in pairwise(heights))
    return len(values) * area


def slow_sigreg(rows, directions, knots=17, reach=3.0) -> float:
    """The mean over slices (Balestriero and LeCun 2025, section 4)."""
    total = 0.0
    for direction in directions.tolist():
        values = [sum(a * b for a, b in zip(row, direction, strict=True)) for row in rows.tolist()]
        total += slow_statistic(values, knots, reach)
    return total / len(directions)


@pytest.mark.parametrize(("count", "width", "slices"), [(1, 1, 1), (5, 3, 4), (16, 8, 3)])
@pytest.mark.parametrize(("knots", "reach"), [(17, 3.0), (2, 1.0), (9, 5.0)])
def test_sigreg_is_the_paper(count, width, slices, knots, reach) -> None:
    torch.manual_seed(count * 10 + knots)
    rows, directions = 1.5 * torch.randn(count, width, dtype=torch.float64) + 0.3, units(slices, width)
    ours = float(sigreg(rows, directions, knots=knots, reach=reach))
    assert ours == pytest.approx(slow_sigreg(rows, directions, knots, reach), rel=1e-10)


def test_a_fine_grid_reaches_the_integral_in_closed_form() -> None:
    """Over the whole axis the integral is a sum over pairs of rows (Henze and Zirkler 1990, beta 1)."""
    torch.manual_seed(0)
    x = torch.randn(20, 1, dtype=torch.float64) * 0.7
    pairs = torch.exp(-(x - x.T).square() / 2).sum() / 20
    single = 2 * (1 / math.sqrt(2)) * torch.exp(-x.square() / 4).sum()
    closed = math.sqrt(2 * math.pi) * float(pairs - single + 20 / math.sqrt(3))
    fine = float(sigreg(x, torch.ones(1, 1, dtype=torch.float64), knots=2001, reach=12.0))
    assert fine == pytest.approx(closed, rel=1e-8)
    # The default grid cuts the tails and is coarse, yet near.
    assert float(sigreg(x, torch.ones(1, 1, dtype=torch.float64))) == pytest.approx(closed, rel=0.03)


def test_gaussian_rows_score_low_and_all_others_high() -> None:
    torch.manual_seed(0)
    gaussian, directions = torch.randn(2000, 8, dtype=torch.float64), units(64, 8)
    low = float(sigreg(gaussian, directions))
    clusters = F.one_hot(torch.arange(2000) % 3, 8).double() * 3
    unlike = {
        "collapsed": torch.zeros_like(gaussian),
        "clustered": clusters + 0.05 * gaussian,
        "too wide": 1.5 * gaussian,
        "too narrow": 0.5 * gaussian,
        "shifted": gaussian + 0.5,
        "flat": gaussian * torch.tensor([1, 1, 1, 1, 0, 0, 0, 0]),
        "uniform": (torch.rand(2000, 8, dtype=torch.float64) - 0.5) * 6,
    }
    assert low < 3.0
    for name, rows in unlike.items():
        assert float(sigreg(rows, directions)) > 20 * low, name


def test_gaussian_rows_score_what_chance_gives() -> None:
    """E N |phi_N - phi|^2 is 1 - phi^2: the integral of (1 - exp(-t^2)) exp(-t^2/2), whatever N."""
    torch.manual_seed(0)
    expected = math.sqrt(2 * math.pi) * math.erf(3 / math.sqrt(2)) - math.sqrt(2 * math.pi / 3)
    for count in (32, 256):
        scores = [float(sigreg(torch.randn(count, 64), units(64, 64).float())) for _ in range(30)]
        assert sum(scores) / 30 == pytest.approx(expected, rel=0.08)


def test_the_gradient_makes_rows_gaussian() -> None:
    torch.manual_seed(0)
    rows = (0.2 * torch.rand(200, 4) + 1.0).requires_grad_()
    optimizer = torch.optim.Adam([rows], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        sigreg(rows, units(16, 4)).backward()
        optimizer.step()
    covariance = torch.cov(rows.detach().T)
    assert rows.detach().mean(dim=0).abs().max() < 0.15
    torch.testing.assert_close(covariance, torch.eye(4), rtol=0.0, atol=0.25)


def test_the_gradient_is_right_under_bfloat16_autocast() -> None:
    torch.manual_seed(0)
    rows, directions = torch.randn(16, 8, requires_grad=True), units(4, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = sigreg(rows, directions.float())
    loss.backward()
    exact = rows.detach().double().requires_grad_()
    sigreg(exact, directions).backward()
    torch.testing.assert_close(rows.grad.double(), exact.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("global_views", [1, 2, 4])
def test_agreement_is_the_squared_distance_to_the_centre_of_the_global_views(global_views) -> None:
    torch.manual_seed(0)
    views = torch.randn(4, 3, 5, dtype=torch.float64)
    total = 0.0
    for n in range(3):
        for p in range(5):
            centre = sum(float(views[v, n, p]) for v in range(global_views)) / global_views
            total += sum((float(views[v, n, p]) - centre) ** 2 for v in range(4))
    assert float(agreement(views.unbind(), global_views)) == pytest.approx(total / 60, rel=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_loss_weighs_both_parts_over_all_views(share) -> None:
    torch.manual_seed(0)
    objective = SIGReg(TinyBackbone(), regularization=share, **SMALL)
    views = torch.randn(3, 12, 16)
    outcome = objective.loss(Embeddings(views[0], views.unbind()), SAMPLES)
    directions = objective.directions(16)
    gaussian = sum(slow_sigreg(view, directions) for view in views) / 3
    near = float(agreement(views.unbind(), 2))
    assert float(outcome.loss) == pytest.approx(share * gaussian + (1 - share) * near, rel=1e-5)
    assert float(outcome.terms["sigreg"]) == pytest.approx(gaussian, rel=1e-5)
    assert float(outcome.terms["prediction"]) == pytest.approx(near, rel=1e-6)


@pytest.mark.parametrize("views", [2, 4])
def test_sigreg_keeps_the_objective_contract(views) -> None:
    check_objective(lambda backbone: SIGReg(backbone, **SMALL), views=views)


def test_sigreg_golden_losses() -> None:
    """The first steps of a fixed run; a change here changes what every recipe trains."""
    losses = first_losses(lambda backbone: SIGReg(backbone, regularization=0.5, **SMALL), views=4)
    assert [losses[i] for i in (0, 1, 9, 19)] == pytest.approx(GOLDEN, rel=2e-3)  # rounding grows


GOLDEN = [2.0022466, 1.4906172, 0.6635506, 0.5883287]


@pytest.mark.parametrize("sizes", [[6, 6], [5, 4, 3]])
def test_many_ranks_are_one(sizes) -> None:
    options = {**SMALL, "regularization": 0.5}
    alone = one_rank_step(SIGReg, options, rows=12, views=3)
    together = many_ranks_step(SIGReg, options, sizes=sizes, views=3)
    assert together.loss == pytest.approx(alone.loss, rel=1e-12)
    for name, gradient in alone.gradients.items():
        torch.testing.assert_close(together.gradients[name], gradient, rtol=1e-8, atol=1e-12)


def test_every_step_has_slices_of_its_own_that_follow_seed_and_step() -> None:
    backbone = TinyBackbone()
    objective, twin = (SIGReg(backbone, **SMALL) for _ in range(2))
    first = objective.directions(16)
    torch.testing.assert_close(first.norm(dim=1), torch.ones(32))
    assert len(first.unique(dim=0)) == 32
    torch.manual_seed(99)  # torch's generator has no say
    assert torch.equal(twin.directions(16), first)
    objective.after_step(backbone, 0.5)
    assert not torch.isclose(objective.directions(16), first).any(dim=1).all()
    assert not torch.equal(SIGReg(backbone, seed=1, **SMALL).directions(16), first)


def test_slices_point_everywhere_alike() -> None:
    directions = SIGReg(TinyBackbone(), **{**SMALL, "slices": 4000}).directions(6)
    assert directions.mean(dim=0).abs().max() < 0.03
    torch.testing.assert_close(directions.T @ directions / 4000, torch.eye(6) / 6, rtol=0.0, atol=0.015)


def test_a_resumed_run_continues_the_slices() -> None:
    backbone = TinyBackbone()
    objective = SIGReg(backbone, **SMALL)
    for step in range(3):
        objective.after_step(backbone, step / 10)
    resumed = SIGReg(backbone, **SMALL)
    resumed.load_state_dict(objective.state_dict())
    for step in range(3, 6):
        assert torch.equal(resumed.directions(16), objective.directions(16))
        for each in (objective, resumed):
            each.after_step(backbone, step / 10)


def test_views_of_two_sizes_are_embedded_together() -> None:
    backbone = TinyBackbone()
    views = [*example_views(2), *(view[:, :, :8, :8] for view in example_views(3))]
    embeddings = SIGReg(backbone, **SMALL).embed(backbone, views)
    assert [tuple(output.shape) for output in embeddings.outputs] == [(12, 16)] * 5
    assert embeddings.targets == ()


@pytest.mark.parametrize(
    ("sides", "global_views"), [([16], 1), ([16, 8, 8], 2), ([8, 16], 1), ([8, 8, 16], 2), ([16, 16], 3)]
)
def test_views_that_do_not_start_with_the_global_ones_are_refused(sides, global_views) -> None:
    backbone = TinyBackbone()
    objective = SIGReg(backbone, global_views=global_views, **SMALL)
    with pytest.raises(ConfigError, match="multi_crop"):
        objective.embed(backbone, [torch.zeros(2, 3, side, side) for side in sides])


@pytest.mark.parametrize(
    ("option", "value"),
    [("regularization", 1.5), ("global_views", 0), ("slices", 0), ("knots", 1), ("reach", 0.0)],
)
def test_an_option_outside_its_range_is_refused(option, value) -> None:
    with pytest.raises(ConfigError, match=f"objective.{option} is {value}"):
        SIGReg(TinyBackbone(), **{**SMALL, option: value})
