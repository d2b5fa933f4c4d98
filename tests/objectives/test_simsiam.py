"""SimSiam against the paper in plain loops, another library, and the objective contract."""

import math

import pytest
import torch

from sslkit.contracts import Embeddings, Samples
from sslkit.errors import ConfigError
from sslkit.objectives import simsiam
from sslkit.objectives.simsiam import SimSiam
from sslkit.testing.backbones import TinyBackbone
from sslkit.testing.objective_kit import check_objective, example_views, first_losses
from sslkit.testing.ranks import many_ranks_step, one_rank_step

SMALL = {"projector_hidden": 32, "projector_outputs": 16, "predictor_hidden": 8}


def slow_simsiam(predictions, projections) -> float:
    """Chen and He 2021, equation 1: negative dot product of the normalised rows, mean over rows."""
    total = 0.0
    for p, z in zip(predictions.tolist(), projections.tolist(), strict=True):
        lengths = math.sqrt(sum(x * x for x in p)) * math.sqrt(sum(x * x for x in z))
        total -= sum(x * y for x, y in zip(p, z, strict=True)) / lengths
    return total / len(predictions)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("width", [2, 16])
def test_simsiam_is_the_paper(count, width) -> None:
    torch.manual_seed(count)
    predictions, projections = torch.randn(2, count, width, dtype=torch.float64)
    expected = slow_simsiam(predictions, projections)
    assert float(simsiam(predictions, projections)) == pytest.approx(expected, rel=1e-12)


def test_simsiam_equals_another_library() -> None:
    loss = pytest.importorskip("lightly.loss", reason="lightly is in the dev extra")
    torch.manual_seed(0)
    predictions, projections = torch.randn(2, 32, 16)
    theirs = float(loss.NegativeCosineSimilarity()(predictions, projections))
    assert float(simsiam(predictions, projections)) == pytest.approx(theirs, rel=1e-5)


def test_no_gradient_flows_into_projections() -> None:
    predictions, projections = (rows.requires_grad_() for rows in torch.randn(2, 4, 8))
    simsiam(predictions, projections).backward()
    assert predictions.grad is not None
    assert projections.grad is None


def test_rows_of_zeros_give_a_finite_loss_and_gradient() -> None:
    predictions = torch.zeros(4, 8, requires_grad=True)
    loss = simsiam(predictions, torch.zeros(4, 8))
    loss.backward()
    assert loss.isfinite()
    assert predictions.grad.isfinite().all()


def test_the_value_under_bfloat16_autocast_is_the_exact_one() -> None:
    torch.manual_seed(0)
    predictions, projections = torch.randn(2, 8, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = simsiam(predictions.bfloat16(), projections.bfloat16())
    assert loss.dtype == torch.float32
    expected = slow_simsiam(predictions.bfloat16(), projections.bfloat16())
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_loss_is_the_mean_of_both_directions() -> None:
    torch.manual_seed(0)
    objective = SimSiam(TinyBackbone(), **SMALL)
    first, second, first_target, second_target = torch.randn(4, 6, 16).unbind()
    embeddings = Embeddings(first, (first, second), (first_target, second_target))
    expected = (slow_simsiam(first, second_target) + slow_simsiam(second, first_target)) / 2
    outcome = objective.loss(embeddings, Samples.of(torch.arange(6)))
    assert float(outcome.loss) == pytest.approx(expected, rel=1e-5)


def test_targets_are_the_projections_that_the_predictions_are_made_of() -> None:
    backbone = TinyBackbone()
    objective = SimSiam(backbone, **SMALL).eval()
    backbone.eval()
    embeddings = objective.embed(backbone, example_views(rows=6))
    for prediction, target in zip(embeddings.outputs, embeddings.targets, strict=True):
        torch.testing.assert_close(objective.predictor(target), prediction)


@pytest.mark.parametrize(("collapsed", "expected"), [(True, 0.0), (False, 1.0)])
def test_the_spread_tells_a_collapse(collapsed, expected) -> None:
    torch.manual_seed(0)
    rows = torch.randn(1, 16).expand(500, 16) if collapsed else torch.randn(500, 16)
    outcome = SimSiam(TinyBackbone(), **SMALL).loss(
        Embeddings(rows, (rows, rows), (rows, rows)), Samples.of(torch.arange(500))
    )
    assert float(outcome.terms["output_spread"]) == pytest.approx(expected, abs=0.02)


def test_simsiam_keeps_the_objective_contract() -> None:
    check_objective(lambda backbone: SimSiam(backbone, **SMALL))


@pytest.mark.parametrize("sizes", [[6, 6], [5, 4, 3]], ids=["even", "uneven"])
@pytest.mark.parametrize(("objective", "options"), [(SimSiam, SMALL)], ids=["simsiam"])
def test_many_ranks_equal_one_rank_with_the_global_batch(objective, options, sizes) -> None:
    one = one_rank_step(objective, options, rows=12)
    many = many_ranks_step(objective, options, sizes=sizes)
    assert many.loss == pytest.approx(one.loss, rel=1e-12)
    assert many.gradients.keys() == one.gradients.keys()
    largest = max(float(gradient.abs().max()) for gradient in one.gradients.values())
    for name, gradient in one.gradients.items():
        torch.testing.assert_close(many.gradients[name], gradient, rtol=1e-9, atol=1e-12 * largest, msg=name)


def test_simsiam_golden_losses() -> None:
    """The first steps of a fixed run; a change here changes what every recipe trains."""
    losses = first_losses(lambda backbone: SimSiam(backbone, **SMALL))
    assert [losses[i] for i in (0, 1, 9, 19)] == pytest.approx(GOLDEN, rel=2e-3)  # rounding grows


GOLDEN = [0.0117842, -0.0547466, -0.3810318, -0.6618269]


@pytest.mark.parametrize("views", [1, 3])
def test_other_than_two_views_are_refused(views) -> None:
    backbone = TinyBackbone()
    with pytest.raises(ConfigError, match=f"2 views, given {views}"):
        SimSiam(backbone, **SMALL).embed(backbone, example_views(views))
