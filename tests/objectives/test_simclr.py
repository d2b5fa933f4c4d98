"""NT-Xent against the paper in plain loops, another library, and SimCLR against the objective contract."""

import math

import pytest
import torch
import torch.nn.functional as F

from sslkit.errors import ConfigError
from sslkit.objectives import nt_xent
from sslkit.objectives.simclr import SimCLR
from sslkit.testing.backbones import TinyBackbone
from sslkit.testing.objective_kit import check_objective, first_losses

SMALL = {"projector_hidden": 32, "projector_outputs": 16}


def slow_nt_xent(first, second, temperature, negatives=None) -> float:
    """Chen et al. 2020, equation 1 and algorithm 1, one pair at a time in Python floats."""

    def cosine(a, b) -> float:
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    count = len(first)
    rows = first.tolist() + second.tolist()
    total = 0.0
    for i in range(2 * count):
        positive = (i + count) % (2 * count)
        terms = [math.exp(cosine(rows[i], rows[k]) / temperature) for k in range(2 * count) if k != i]
        if negatives is not None:
            terms += [math.exp(cosine(rows[i], n) / temperature) for n in negatives[i % count].tolist()]
        total -= cosine(rows[i], rows[positive]) / temperature - math.log(sum(terms))
    return total / (2 * count)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("width", [1, 3, 16])
@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0])
def test_nt_xent_is_the_paper(count, width, temperature) -> None:
    torch.manual_seed(count * 100 + width)
    first, second = torch.randn(2, count, width, dtype=torch.float64)
    ours = float(nt_xent(first, second, temperature=temperature))
    assert ours == pytest.approx(slow_nt_xent(first, second, temperature), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("mined", [1, 5])
def test_further_negatives_join_the_denominator_of_both_views(mined) -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 4, 6, dtype=torch.float64)
    negatives = torch.randn(4, mined, 6, dtype=torch.float64)
    ours = float(nt_xent(first, second, temperature=0.2, negatives=negatives))
    assert ours == pytest.approx(slow_nt_xent(first, second, 0.2, negatives), rel=1e-10)
    assert ours > float(nt_xent(first, second, temperature=0.2))


def test_two_orthogonal_pairs_by_hand() -> None:
    """Positives at cosine 1, two negatives at 0: -log(e / (e + 2)) at temperature 1."""
    rows = torch.eye(2, 4)
    expected = -math.log(math.e / (math.e + 2))
    assert float(nt_xent(rows, rows, temperature=1.0)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_nt_xent_equals_another_library(temperature) -> None:
    loss = pytest.importorskip("lightly.loss", reason="lightly is in the dev extra")
    torch.manual_seed(0)
    first, second = torch.randn(2, 32, 16)
    theirs = float(loss.NTXentLoss(temperature=temperature)(first, second))
    assert float(nt_xent(first, second, temperature=temperature)) == pytest.approx(theirs, rel=1e-5)


def test_the_gradient_is_right_at_a_temperature_where_naive_code_overflows() -> None:
    torch.manual_seed(0)
    first, second = (rows.requires_grad_() for rows in torch.randn(2, 8, 16))
    exact = [rows.detach().double().requires_grad_() for rows in (first, second)]
    nt_xent(first, second, temperature=0.005).backward()
    nt_xent(*exact, temperature=0.005).backward()
    assert first.grad.isfinite().all()
    torch.testing.assert_close(first.grad.double(), exact[0].grad, rtol=1e-3, atol=1e-4)


def test_an_antipodal_positive_still_pulls_under_bfloat16_autocast() -> None:
    torch.manual_seed(0)
    first = torch.randn(8, 16)
    second = -first + 1e-3 * torch.randn(8, 16)
    rows = first.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        nt_xent(rows, second, temperature=0.05).backward()
    exact = first.double().requires_grad_()
    nt_xent(exact, second.double(), temperature=0.05).backward()
    cosine = F.cosine_similarity(rows.grad.double().flatten(), exact.grad.flatten(), dim=0)
    assert cosine > 0.999


def test_simclr_keeps_the_objective_contract() -> None:
    check_objective(lambda backbone: SimCLR(backbone, **SMALL))


def test_simclr_golden_losses() -> None:
    """The first steps of a fixed run; a change here changes what every recipe trains."""
    losses = first_losses(lambda backbone: SimCLR(backbone, temperature=0.2, **SMALL))
    assert [losses[i] for i in (0, 1, 9, 19)] == pytest.approx(GOLDEN, rel=2e-3)  # rounding grows


GOLDEN = [1.2726918, 0.8524327, 0.4205746, 0.3824688]


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_not_positive_is_refused(temperature) -> None:
    with pytest.raises(ConfigError, match="must be > 0"):
        SimCLR(TinyBackbone(), temperature=temperature)
