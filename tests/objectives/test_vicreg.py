"""VICReg against the paper in plain loops, another library, and the objective contract."""

import math

import pytest
import torch

from sslkit.contracts import Embeddings, Samples
from sslkit.errors import ConfigError
from sslkit.objectives import vicreg
from sslkit.objectives.vicreg import EPSILON, VICReg
from sslkit.testing.backbones import TinyBackbone
from sslkit.testing.objective_kit import check_objective, example_views, first_losses
from sslkit.testing.ranks import many_ranks_step, one_rank_step

SMALL = {"projector_hidden": 32, "projector_outputs": 16}


def slow_terms(first, second) -> dict[str, float]:
    """Bardes et al. 2022, equations 1 to 5 entry by entry; the invariance per channel too (algorithm 1)."""

    def within(rows) -> tuple[float, float]:
        count, width = len(rows), len(rows[0])
        means = [sum(row[j] for row in rows) / count for j in range(width)]
        hinge = redundancy = 0.0
        for i in range(width):
            for j in range(width):
                entry = sum((row[i] - means[i]) * (row[j] - means[j]) for row in rows) / (count - 1)
                if i == j:
                    hinge += max(0.0, 1.0 - math.sqrt(entry + EPSILON)) / width
                else:
                    redundancy += entry**2 / width
        return hinge, redundancy

    count, width = first.shape
    first, second = first.tolist(), second.tolist()
    distance = sum(
        (x - y) ** 2 for a, b in zip(first, second, strict=True) for x, y in zip(a, b, strict=True)
    )
    one, other = within(first), within(second)
    return {
        "invariance": distance / (count * width),
        "variance": one[0] + other[0],
        "covariance": one[1] + other[1],
    }


# Both ways to the sum of squares: P x P where channels are few, N x N where they are many.
@pytest.mark.parametrize(("count", "width"), [(2, 2), (7, 1), (20, 3), (8, 16), (8, 17), (5, 24)])
@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_vicreg_is_the_paper(count, width, weights, scale) -> None:
    torch.manual_seed(count * 100 + width)
    first, second = scale * torch.randn(2, count, width, dtype=torch.float64) + 1.0
    names = ("invariance", "variance", "covariance")
    options = dict(zip(names, weights, strict=True))
    expected = sum(options[name] * term for name, term in slow_terms(first, second).items())
    assert float(vicreg(first, second, **options)) == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("width", [16, 256])
def test_vicreg_equals_another_library_at_half_the_variance_weight(width) -> None:
    """lightly, like the published code, takes the mean of both views' variance terms; the paper adds them."""
    loss = pytest.importorskip("lightly.loss", reason="lightly is in the dev extra")
    torch.manual_seed(0)
    first, second = 0.7 * torch.randn(2, 32, width)
    theirs = float(loss.VICRegLoss(lambda_param=25.0, mu_param=25.0, nu_param=1.0)(first, second))
    assert float(vicreg(first, second, variance=12.5)) == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("width", [4, 64])
def test_identical_rows_give_a_finite_loss_and_gradient(width) -> None:
    """Both views without variance: each costs 1 - sqrt(EPSILON) times the weight, and nothing else."""
    row = 1000.0 * torch.randn(1, width)
    first, second = (row.repeat(8, 1).requires_grad_() for _ in range(2))
    loss = vicreg(first, second)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(2 * 25.0 * (1 - math.sqrt(EPSILON)), rel=1e-3)
    assert first.grad.isfinite().all()


@pytest.mark.parametrize("width", [8, 128])
def test_the_gradient_under_bfloat16_autocast_is_the_exact_one(width) -> None:
    torch.manual_seed(0)
    exact, second = 0.7 * torch.randn(2, 16, width, dtype=torch.float64)
    rows = exact.float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = vicreg(rows, second.float())
    loss.backward()
    exact = exact.detach().requires_grad_()
    vicreg(exact, second).backward()
    torch.testing.assert_close(rows.grad.double(), exact.grad, rtol=1e-3, atol=1e-5)


def test_the_terms_are_logged_unweighted() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 12, 5, dtype=torch.float64)
    objective = VICReg(TinyBackbone(), invariance=3.0, variance=5.0, covariance=7.0, **SMALL)
    outcome = objective.loss(Embeddings(first, (first, second)), Samples.of(torch.arange(12)))
    expected = slow_terms(first, second)
    assert {name: float(term) for name, term in outcome.terms.items()} == pytest.approx(expected, rel=1e-9)
    weighted = 3 * expected["invariance"] + 5 * expected["variance"] + 7 * expected["covariance"]
    assert float(outcome.loss) == pytest.approx(weighted, rel=1e-9)


def test_vicreg_keeps_the_objective_contract() -> None:
    check_objective(lambda backbone: VICReg(backbone, **SMALL), lr=0.002)


@pytest.mark.parametrize("sizes", [[6, 6], [5, 4, 3]], ids=["even", "uneven"])
@pytest.mark.parametrize(
    ("objective", "options"), [(VICReg, {**SMALL, "projector_outputs": 32})], ids=["vicreg"]
)
def test_many_ranks_equal_one_rank_with_the_global_batch(objective, options, sizes) -> None:
    one = one_rank_step(objective, options, rows=12)
    many = many_ranks_step(objective, options, sizes=sizes)
    assert many.loss == pytest.approx(one.loss, rel=1e-12)
    assert many.gradients.keys() == one.gradients.keys()
    largest = max(float(gradient.abs().max()) for gradient in one.gradients.values())
    for name, gradient in one.gradients.items():
        torch.testing.assert_close(many.gradients[name], gradient, rtol=1e-9, atol=1e-12 * largest, msg=name)


def test_vicreg_golden_losses() -> None:
    """The first steps of a fixed run; a change here changes what every recipe trains."""
    losses = first_losses(lambda backbone: VICReg(backbone, **SMALL), lr=0.002)
    assert [losses[i] for i in (0, 1, 9, 19)] == pytest.approx(GOLDEN, rel=2e-3)  # rounding grows


GOLDEN = [34.962379, 33.061073, 20.139534, 13.493502]


@pytest.mark.parametrize("name", ["invariance", "variance", "covariance"])
def test_a_negative_weight_is_refused(name) -> None:
    with pytest.raises(ConfigError, match=f"objective.{name} is -1"):
        VICReg(TinyBackbone(), **{name: -1.0})


def test_a_single_row_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2 rows"):
        vicreg(torch.zeros(1, 4), torch.zeros(1, 4))


@pytest.mark.parametrize("views", [1, 3])
def test_other_than_two_views_are_refused(views) -> None:
    backbone = TinyBackbone()
    with pytest.raises(ConfigError, match=f"2 views, given {views}"):
        VICReg(backbone, **SMALL).embed(backbone, example_views(views))
