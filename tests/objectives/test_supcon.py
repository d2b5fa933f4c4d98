"""SupCon against the paper in plain loops, another library, NT-Xent, and the objective contract."""

import math

import pytest
import torch
import torch.nn.functional as F

from sslkit.contracts import Embeddings, Samples
from sslkit.errors import ConfigError
from sslkit.objectives import nt_xent, supcon
from sslkit.objectives.supcon import SupCon
from sslkit.testing.backbones import TinyBackbone
from sslkit.testing.objective_kit import check_objective, first_losses
from sslkit.testing.ranks import many_ranks_step, one_rank_step

SMALL = {"projector_hidden": 32, "projector_outputs": 16}


def slow_supcon(views, labels, temperature) -> float:
    """Khosla et al. 2020, equation 2, one pair at a time; a sample of label -1 is a class of its own."""

    def cosine(a, b) -> float:
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    rows = [(i, row.tolist()) for view in views for i, row in enumerate(view)]
    losses = []
    for anchor, (i, a) in enumerate(rows):
        others = [(j, b) for other, (j, b) in enumerate(rows) if other != anchor]
        denominator = sum(math.exp(cosine(a, b) / temperature) for _, b in others)
        alike = [b for j, b in others if j == i or (labels[i] == labels[j] and labels[i] >= 0)]
        terms = [math.log(math.exp(cosine(a, b) / temperature) / denominator) for b in alike]
        losses.append(-sum(terms) / len(alike))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("labels", [[0], [4, 4], [0, 1, 2, 0, 0, 1, 7], [0, -1, 3, 3, -1, -1, 0], [-1] * 5])
@pytest.mark.parametrize("width", [2, 16])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_supcon_is_the_paper(temperature, width, labels, views) -> None:
    torch.manual_seed(len(labels) + width)
    rows = torch.randn(views, len(labels), width, dtype=torch.float64)
    ours = float(supcon(*rows, labels=torch.tensor(labels), temperature=temperature))
    assert ours == pytest.approx(slow_supcon(rows, labels, temperature), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("views", [2, 3])
def test_supcon_equals_another_library(views) -> None:
    metric = pytest.importorskip("pytorch_metric_learning.losses", reason="in the dev extra")
    torch.manual_seed(0)
    rows, labels = torch.randn(views, 24, 16), torch.arange(24) % 5
    theirs = metric.SupConLoss(temperature=0.1)(rows.flatten(0, 1), labels.repeat(views))
    assert float(supcon(*rows, labels=labels, temperature=0.1)) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize("views", [2, 3])
def test_without_labels_it_is_nt_xent(views) -> None:
    torch.manual_seed(0)
    rows, unknown = torch.randn(views, 9, 8, dtype=torch.float64), torch.full((9,), -1)
    expected = nt_xent(*rows, temperature=0.2)
    torch.testing.assert_close(supcon(*rows, labels=unknown, temperature=0.2), expected)


def test_two_samples_of_unknown_label_are_not_of_one_class() -> None:
    torch.manual_seed(0)
    rows = torch.randn(2, 4, 8, dtype=torch.float64)
    unknown = supcon(*rows, labels=torch.tensor([-1, -1, 0, 0]), temperature=0.2)
    torch.testing.assert_close(unknown, supcon(*rows, labels=torch.tensor([5, 6, 0, 0]), temperature=0.2))
    assert float(unknown) != pytest.approx(
        float(supcon(*rows, labels=torch.tensor([1, 1, 0, 0]), temperature=0.2))
    )


@pytest.mark.parametrize("temperature", [0.01, 0.05, 0.5])
def test_value_and_gradient_in_float32_are_those_of_the_matrix_in_float64(temperature) -> None:
    torch.manual_seed(0)
    rows, labels = torch.randn(2, 300, 24), torch.arange(300) % 7
    single, double = rows.clone().requires_grad_(), rows.double().requires_grad_()
    ours = supcon(*single, labels=labels, temperature=temperature)
    unit = F.normalize(double.flatten(0, 1), dim=1)
    itself = torch.eye(600, dtype=torch.bool)
    shares = (
        (unit @ unit.T / temperature).masked_fill(itself, -torch.inf).log_softmax(1).masked_fill(itself, 0)
    )
    alike = (labels.repeat(2)[:, None] == labels.repeat(2)) & ~itself
    exact = -((shares * alike).sum(1) / alike.sum(1)).mean()
    ours.backward()
    exact.backward()
    assert float(ours.detach()) == pytest.approx(float(exact.detach()), rel=1e-5)
    scale = float(double.grad.abs().max())
    torch.testing.assert_close(single.grad.double(), double.grad, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("temperature", [0.02, 0.07])
def test_an_antipodal_positive_still_pulls_under_bfloat16_autocast(temperature) -> None:
    torch.manual_seed(0)
    first = torch.randn(8, 16)
    second = -first + 1e-3 * torch.randn(8, 16)
    rows, labels = first.clone().requires_grad_(), torch.arange(8) % 3
    with torch.autocast("cpu", dtype=torch.bfloat16):
        supcon(rows, second, labels=labels, temperature=temperature).backward()
    exact = first.double().requires_grad_()
    supcon(exact, second.double(), labels=labels, temperature=temperature).backward()
    assert F.cosine_similarity(rows.grad.double().flatten(), exact.grad.flatten(), dim=0) > 0.999
    assert float(rows.grad.norm()) == pytest.approx(float(exact.grad.norm()), rel=1e-3)


def test_the_gradients_of_rows_and_temperature_are_the_numerical_ones() -> None:
    torch.manual_seed(0)
    rows = torch.randn(3, 4, 3, dtype=torch.float64, requires_grad=True)
    temperature = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1, 0, 1, -1])
    assert torch.autograd.gradcheck(
        lambda rows, temperature: supcon(*rows, labels=labels, temperature=temperature), (rows, temperature)
    )


@pytest.mark.parametrize("views", [2, 3])
def test_supcon_keeps_the_objective_contract(views) -> None:
    check_objective(lambda backbone: SupCon(backbone, temperature=0.3, **SMALL), views=views)


def in_double(backbone):
    """SupCon in float64, where twenty steps do not make an ulp at the start visible in the loss."""
    backbone.double().register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    return SupCon(backbone, temperature=0.2, **SMALL).double()


def test_supcon_golden_losses() -> None:
    """The first steps of a fixed run; a change here changes what every recipe trains."""
    losses = first_losses(in_double)
    assert [losses[i] for i in (0, 1, 9, 19)] == pytest.approx(GOLDEN, rel=1e-6)


GOLDEN = [3.78478276, 3.16833164, 3.14978397, 3.07327474]


@pytest.mark.parametrize("sizes", [[6, 6], [5, 4, 3]], ids=["even", "uneven"])
def test_many_ranks_equal_one_rank_with_the_global_batch(sizes) -> None:
    one = one_rank_step(SupCon, SMALL, rows=12)
    many = many_ranks_step(SupCon, SMALL, sizes=sizes)
    assert many.loss == pytest.approx(one.loss, rel=1e-9)
    largest = max(float(gradient.abs().max()) for gradient in one.gradients.values())
    for name, gradient in one.gradients.items():
        torch.testing.assert_close(many.gradients[name], gradient, rtol=1e-9, atol=1e-9 * largest, msg=name)


def test_the_module_reads_labels_and_tells_how_many_there_are() -> None:
    torch.manual_seed(0)
    rows, ids = torch.randn(2, 4, 16), torch.arange(4)
    objective = SupCon(TinyBackbone(), temperature=0.2, **SMALL)
    assert objective.needs_labels
    outcome = objective.loss(Embeddings(rows[0], tuple(rows)), Samples.of(ids, torch.tensor([3, 3, -1, 0])))
    assert float(outcome.loss) == pytest.approx(slow_supcon(rows, [3, 3, -1, 0], 0.2), rel=1e-5)
    assert float(outcome.terms["labelled_share"]) == 0.75


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature) -> None:
    with pytest.raises(ConfigError, match="must be > 0"):
        SupCon(TinyBackbone(), temperature=temperature)
    with pytest.raises(ConfigError, match="must be > 0"):
        supcon(*torch.randn(2, 3, 4), labels=torch.arange(3), temperature=temperature)


def test_a_single_view_is_refused() -> None:
    backbone = TinyBackbone()
    with pytest.raises(ConfigError, match="needs 2 or more"):
        SupCon(backbone, **SMALL).embed(backbone, [torch.randn(2, 3, 16, 16)])
