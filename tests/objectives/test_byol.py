"""BYOL against the paper in plain loops, another library, and the objective contract."""

import math

import pytest
import torch

from sslkit.contracts import Embeddings, Samples
from sslkit.errors import ConfigError
from sslkit.objectives import byol
from sslkit.objectives.byol import BYOL
from sslkit.testing.backbones import TinyBackbone
from sslkit.testing.objective_kit import check_objective, first_losses

SMALL = {"projector_hidden": 32, "projector_outputs": 16, "predictor_hidden": 32}


def slow_byol(predictions, targets) -> float:
    """Grill et al. 2020, equation 2: squared distance of the normalised rows, mean over rows."""
    total = 0.0
    for prediction, target in zip(predictions.tolist(), targets.tolist(), strict=True):
        length = math.sqrt(sum(x * x for x in prediction))
        other = math.sqrt(sum(x * x for x in target))
        total += sum((x / length - y / other) ** 2 for x, y in zip(prediction, target, strict=True))
    return total / len(predictions)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("width", [2, 16])
def test_byol_is_the_paper(count, width) -> None:
    torch.manual_seed(count)
    predictions, targets = torch.randn(2, count, width, dtype=torch.float64)
    assert float(byol(predictions, targets)) == pytest.approx(slow_byol(predictions, targets), rel=1e-12)


def test_byol_equals_another_library_up_to_its_affine_form() -> None:
    """lightly's negative cosine similarity c relates to the paper's distance by 2 + 2c."""
    loss = pytest.importorskip("lightly.loss", reason="lightly is in the dev extra")
    torch.manual_seed(0)
    predictions, targets = torch.randn(2, 32, 16)
    theirs = float(loss.NegativeCosineSimilarity()(predictions, targets))
    assert float(byol(predictions, targets)) == pytest.approx(2 + 2 * theirs, rel=1e-5)


def test_no_gradient_flows_into_targets() -> None:
    predictions, targets = torch.randn(2, 4, 8).unbind()
    predictions.requires_grad_()
    targets.requires_grad_()
    byol(predictions, targets).backward()
    assert predictions.grad is not None
    assert targets.grad is None


def test_each_prediction_meets_the_teachers_other_view() -> None:
    torch.manual_seed(0)
    objective = BYOL(TinyBackbone(), **SMALL)
    first, second, first_target, second_target = torch.randn(4, 6, 16).unbind()
    embeddings = Embeddings(first, (first, second), (first_target, second_target))
    expected = slow_byol(first, second_target) + slow_byol(second, first_target)
    assert float(objective.loss(embeddings, Samples.of(torch.arange(6))).loss) == pytest.approx(
        expected, rel=1e-5
    )


def test_byol_keeps_the_objective_contract() -> None:
    check_objective(lambda backbone: BYOL(backbone, **SMALL))


def test_the_teacher_follows_the_student_by_its_momentum() -> None:
    torch.manual_seed(0)
    backbone = TinyBackbone()
    objective = BYOL(backbone, momentum=0.9, **SMALL)
    before = [p.clone() for p in objective.teacher.parameters()]
    with torch.no_grad():
        for parameter in [*backbone.parameters(), *objective.projector.parameters()]:
            parameter.add_(1.0)
    objective.after_step(backbone, progress=0.0)
    for old, new in zip(before, objective.teacher.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.1)
    objective.after_step(backbone, progress=1.0)  # the momentum has risen to 1: nothing moves any more
    for old, new in zip(before, objective.teacher.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.1)


def test_byol_golden_losses() -> None:
    """The first steps of a fixed run; a change here changes what every recipe trains."""
    losses = first_losses(lambda backbone: BYOL(backbone, momentum=0.9, **SMALL))
    assert [losses[i] for i in (0, 1, 9, 19)] == pytest.approx(GOLDEN, rel=2e-3)  # rounding grows


GOLDEN = [4.2384853, 2.4376502, 0.7675712, 0.3644880]


def test_a_momentum_outside_its_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[0, 1\]"):
        BYOL(TinyBackbone(), momentum=1.5)
