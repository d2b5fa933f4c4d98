"""NT-Xent against the papers in plain loops, other libraries, and SimCLR against the objective contract."""

import math

import pytest
import torch
import torch.nn.functional as F

from sslkit.contracts import Embeddings, Mined, Neighbours, Samples
from sslkit.errors import ConfigError
from sslkit.objectives import nt_xent
from sslkit.objectives.simclr import SimCLR
from sslkit.testing.backbones import TinyBackbone
from sslkit.testing.objective_kit import check_objective, first_losses
from sslkit.testing.ranks import many_ranks_step, one_rank_step

SMALL = {"projector_hidden": 32, "projector_outputs": 16}


def slow_nt_xent(
    views,
    temperature,
    *,
    negatives=None,
    weights=None,
    positives=None,
    positive_weights=None,
    groups=None,
    beta=0.0,
    prior=0.0,
    decoupled=False,
) -> float:
    """One pair at a time in Python floats.

    Chen et al. 2020, equation 1; more positives as in Khosla et al. 2020, equation 2; neighbours as positives
    (Dwibedi et al. 2021); decoupled (Yeh et al. 2022, equation 6); hardness (Robinson et al. 2021) and
    debiasing (Chuang et al. 2020) as in `criterion` of the official codes.
    """

    def term(a, b) -> float:
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b)) / temperature

    count = len(views[0])
    groups = list(range(count)) if groups is None else groups
    losses = []
    for v, view in enumerate(views):
        for i in range(count):
            a = view[i].tolist()
            agree = [(1.0, term(a, other[i].tolist())) for w, other in enumerate(views) if w != v]
            differ = [
                (1.0, term(a, other[k].tolist()))
                for other in views
                for k in range(count)
                if groups[k] != groups[i]
            ]
            if negatives is not None:
                shares = [1.0] * negatives.shape[1] if weights is None else weights[i].tolist()
                differ += [(w, term(a, n.tolist())) for w, n in zip(shares, negatives[i], strict=True)]
            if positives is not None:
                shares = (
                    [1.0] * positives.shape[1] if positive_weights is None else positive_weights[i].tolist()
                )
                agree += [(w, term(a, p.tolist())) for w, p in zip(shares, positives[i], strict=True)]
            many = sum(w for w, _ in differ)
            attracted = sum(w * math.exp(s) for w, s in agree)
            repelled = sum(w * math.exp(s) for w, s in differ)
            if beta:
                reweighted = sum(w * math.exp(beta * s) * math.exp(s) for w, s in differ)
                repelled = reweighted / (sum(w * math.exp(beta * s) for w, s in differ) / many)
            if prior:
                mean = attracted / sum(w for w, _ in agree)
                repelled = (repelled - prior * many * mean) / (1.0 - prior)
                repelled = max(repelled, many * math.exp(-1.0 / temperature))
            mean_logit = sum(w * s for w, s in agree) / sum(w for w, _ in agree)
            losses.append(math.log(repelled + (0.0 if decoupled else attracted)) - mean_logit)
    return sum(losses) / len(losses)


def one_matrix(views, temperature):
    """The same from the whole matrix of logits, for values and gradients."""
    count = len(views[0])
    rows = F.normalize(torch.cat(list(views)), dim=1)
    logits = rows @ rows.T / temperature
    itself = torch.eye(len(rows), dtype=torch.bool)
    alike = torch.eye(count, dtype=torch.bool).repeat(len(views), len(views)) & ~itself
    log_shares = logits.masked_fill(itself, -torch.inf).log_softmax(dim=1)
    return -log_shares[alike].mean()


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("width", [1, 3, 16])
@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0])
def test_nt_xent_is_the_paper(count, width, temperature) -> None:
    torch.manual_seed(count * 100 + width)
    first, second = torch.randn(2, count, width, dtype=torch.float64)
    ours = float(nt_xent(first, second, temperature=temperature))
    assert ours == pytest.approx(slow_nt_xent([first, second], temperature), rel=1e-10, abs=1e-12)


OPTIONS = {
    "plain": {},
    "decoupled": {"decoupled": True},
    "hard": {"beta": 1.5},
    "debiased": {"prior": 0.1},
    "hard and debiased": {"beta": 0.5, "prior": 0.2},
    "hard and decoupled": {"beta": 2.0, "decoupled": True},
}


@pytest.mark.parametrize("views", [2, 3, 4])
@pytest.mark.parametrize("grouped", [False, True], ids=["apart", "grouped"])
@pytest.mark.parametrize("mined", ["none", "negatives", "positives", "both"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_every_variant_is_its_paper(options, mined, grouped, views) -> None:
    torch.manual_seed(views)
    rows = torch.randn(views, 5, 6, dtype=torch.float64)
    given = dict(options)
    if mined in ("negatives", "both"):
        given |= {"negatives": torch.randn(5, 4, 6, dtype=torch.float64)}
        given |= {"weights": torch.tensor([2.0, 0.0, 1.0, 0.25]).expand(5, 4)}
    if mined in ("positives", "both"):
        given |= {"positives": rows[0][:, None] + torch.randn(5, 2, 6, dtype=torch.float64)}
        given |= {"positive_weights": torch.rand(5, 2).round(decimals=1)}
    groups = torch.tensor([3, 8, 3, 1, 2]) if grouped else None
    ours = float(nt_xent(*rows, temperature=0.3, groups=groups, **given))
    slow = slow_nt_xent(rows, 0.3, groups=groups.tolist() if grouped else None, **given)
    assert ours == pytest.approx(slow, rel=1e-10)


def test_the_debiased_mass_does_not_fall_below_its_floor() -> None:
    """Positives at cosine 1 and negatives far off: what is left after the correction would be negative."""
    rows = torch.eye(4, dtype=torch.float64)
    ours = float(nt_xent(rows, rows, temperature=0.5, prior=0.5))
    floor = 6 * math.exp(-2.0)
    assert ours == pytest.approx(math.log(math.exp(2.0) + floor) - 2.0, rel=1e-12)
    assert ours == pytest.approx(slow_nt_xent([rows, rows], 0.5, prior=0.5), rel=1e-12)


@pytest.mark.parametrize("mined", [1, 5])
def test_further_negatives_join_the_denominator_of_both_views(mined) -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 4, 6, dtype=torch.float64)
    negatives = torch.randn(4, mined, 6, dtype=torch.float64)
    ours = float(nt_xent(first, second, temperature=0.2, negatives=negatives))
    assert ours == pytest.approx(slow_nt_xent([first, second], 0.2, negatives=negatives), rel=1e-10)
    assert ours > float(nt_xent(first, second, temperature=0.2))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_a_neighbour_of_weight_nothing_vanishes_and_one_of_weight_two_counts_twice(options) -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 4, 6, dtype=torch.float64)
    mined = torch.randn(4, 3, 6, dtype=torch.float64)
    none, twice = torch.zeros(4, 3, dtype=torch.float64), torch.tensor([[2.0, 1.0, 0.0]]).expand(4, 3)
    listed = mined[:, [0, 0, 1]]

    def value(**given):
        return nt_xent(first, second, temperature=0.2, **options, **given)

    assert torch.equal(value(negatives=mined, weights=none), value())
    assert torch.equal(value(positives=mined, positive_weights=none), value())
    torch.testing.assert_close(value(negatives=mined, weights=twice), value(negatives=listed))
    torch.testing.assert_close(value(positives=mined, positive_weights=twice), value(positives=listed))


def test_two_orthogonal_pairs_by_hand() -> None:
    """Positives at cosine 1, two negatives at 0: -log(e / (e + 2)) at temperature 1.

    It is the mean over the four anchors; the official SimCLR code adds those of the two views: twice that.
    """
    rows = torch.eye(2, 4)
    expected = -math.log(math.e / (math.e + 2))
    assert float(nt_xent(rows, rows, temperature=1.0)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("views", [2, 3, 4])
@pytest.mark.parametrize("count", [5, 300])
@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_value_and_gradient_are_those_of_the_one_matrix_form(temperature, count, views) -> None:
    """In float32 within 1e-5; 300 samples make several tiles, the last ones uneven."""
    torch.manual_seed(views)
    rows = torch.randn(views, count, 24)
    tiled, whole = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    ours, expected = nt_xent(*tiled, temperature=temperature), one_matrix(whole, temperature)
    ours.backward()
    expected.backward()
    assert float(ours.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    scale = float(whole.grad.abs().max())
    torch.testing.assert_close(tiled.grad, whole.grad, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_nt_xent_equals_other_libraries(temperature) -> None:
    lightly = pytest.importorskip("lightly.loss", reason="lightly is in the dev extra")
    metric = pytest.importorskip("pytorch_metric_learning.losses", reason="in the dev extra")
    torch.manual_seed(0)
    first, second = torch.randn(2, 32, 16)
    ours = float(nt_xent(first, second, temperature=temperature))
    assert ours == pytest.approx(float(lightly.NTXentLoss(temperature)(first, second)), rel=1e-5)
    pairs = torch.cat([first, second]), torch.arange(32).repeat(2)
    assert ours == pytest.approx(float(metric.NTXentLoss(temperature)(*pairs)), rel=1e-5)


def test_three_views_equal_another_library_in_the_form_with_all_positives_below() -> None:
    """Its NT-Xent has one positive at a time in the denominator, so for three views it is another loss."""
    metric = pytest.importorskip("pytorch_metric_learning.losses", reason="in the dev extra")
    torch.manual_seed(0)
    views = torch.randn(3, 20, 16)
    ours = float(nt_xent(*views, temperature=0.1))
    rows, labels = views.flatten(0, 1), torch.arange(20).repeat(3)
    assert ours == pytest.approx(float(metric.SupConLoss(0.1)(rows, labels)), rel=1e-5)
    assert ours - float(metric.NTXentLoss(0.1)(rows, labels)) > 1e-3


def test_the_decoupled_form_equals_another_library() -> None:
    lightly = pytest.importorskip("lightly.loss", reason="lightly is in the dev extra")
    torch.manual_seed(0)
    first, second = torch.randn(2, 32, 16)
    theirs = float(lightly.DCLLoss(temperature=0.1)(first, second))
    assert float(nt_xent(first, second, temperature=0.1, decoupled=True)) == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("temperature", [0.005, 0.01, 0.02])
def test_cold_temperatures_are_exact_in_float32_with_every_variant(temperature, options) -> None:
    """Plain sums of exponentials overflow float32 here: exp(1 / 0.01) is 3e43, and hardness squares it."""
    torch.manual_seed(0)
    rows = torch.randn(2, 8, 16)
    mined = {"negatives": torch.randn(8, 3, 16), "positives": torch.randn(8, 2, 16)}
    single, double = rows.clone().requires_grad_(), rows.double().requires_grad_()
    ours = nt_xent(*single, temperature=temperature, **mined, **options)
    exact = nt_xent(*double, temperature=temperature, **{k: v.double() for k, v in mined.items()}, **options)
    ours.backward()
    exact.backward()
    assert float(ours.detach()) == pytest.approx(float(exact.detach()), rel=1e-5)
    scale = float(double.grad.abs().max())
    torch.testing.assert_close(single.grad.double(), double.grad, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("temperature", [0.02, 0.05, 0.07])
def test_an_antipodal_positive_still_pulls_under_bfloat16_autocast(temperature, options) -> None:
    torch.manual_seed(0)
    first = torch.randn(8, 16)
    second = -first + 1e-3 * torch.randn(8, 16)
    rows = first.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        nt_xent(rows, second, temperature=temperature, **options).backward()
    exact = first.double().requires_grad_()
    nt_xent(exact, second.double(), temperature=temperature, **options).backward()
    assert F.cosine_similarity(rows.grad.double().flatten(), exact.grad.flatten(), dim=0) > 0.999
    assert float(rows.grad.norm()) == pytest.approx(float(exact.grad.norm()), rel=1e-3)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_the_gradient_of_every_input_is_the_numerical_one(options) -> None:
    torch.manual_seed(0)
    rows = torch.randn(3, 4, 3, dtype=torch.float64, requires_grad=True)
    negatives, positives = torch.randn(2, 4, 2, 3, dtype=torch.float64, requires_grad=True).unbind()
    temperature = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([[0.0, 0.7]], dtype=torch.float64).expand(4, 2)

    def loss(rows, negatives, positives, temperature):
        given = {"negatives": negatives, "weights": weights, "positives": positives}
        return nt_xent(*rows, temperature=temperature, groups=torch.tensor([0, 1, 1, 2]), **given, **options)

    inputs = [tensor.detach().requires_grad_() for tensor in (rows, negatives, positives, temperature)]
    assert torch.autograd.gradcheck(loss, inputs, atol=1e-6)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("mined", [False, True])
def test_anchors_without_any_negative_are_only_attracted(mined, options) -> None:
    """One group alone: nothing to differ from, in the batch or (with weight 0) mined."""
    torch.manual_seed(0)
    rows = torch.randn(2, 3, 8, requires_grad=True)
    given = {"negatives": torch.randn(3, 2, 8), "weights": torch.zeros(3, 2)} if mined else {}
    loss = nt_xent(*rows, temperature=0.1, groups=torch.zeros(3, dtype=torch.int64), **given, **options)
    loss.backward()
    attracted = -F.cosine_similarity(*rows.detach()).mean() / 0.1 if options.get("decoupled") else 0.0
    assert float(loss.detach()) == pytest.approx(float(attracted), abs=1e-5)
    assert rows.grad.isfinite().all()


def test_rows_of_one_group_do_not_repel_each_other() -> None:
    torch.manual_seed(0)
    first, second = (rows.requires_grad_() for rows in torch.randn(2, 4, 8))
    nt_xent(first, second, temperature=0.1, groups=torch.tensor([5, 5, 5, 5])).backward()
    assert float(first.grad.abs().max()) == 0.0  # one positive, and nothing else in the denominator


@pytest.mark.parametrize("options", [{}, {"views": 3}], ids=["two views", "three views"])
def test_simclr_keeps_the_objective_contract(options) -> None:
    check_objective(lambda backbone: SimCLR(backbone, **SMALL), **options)


@pytest.mark.parametrize("options", [*OPTIONS.values()][1:], ids=[*OPTIONS][1:])
def test_every_variant_keeps_the_objective_contract(options) -> None:
    check_objective(lambda backbone: SimCLR(backbone, temperature=0.3, **SMALL, **options))


def in_double(backbone, **options):
    """SimCLR in float64: in float32 one ulp at the start is two per cent of the loss after 20 steps."""
    backbone.double().register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    return SimCLR(backbone, temperature=0.2, **SMALL, **options).double()


@pytest.mark.parametrize("name", ["plain", "decoupled", "hard and debiased"])
def test_simclr_golden_losses(name) -> None:
    """The first steps of a fixed run; a change here changes what every recipe trains."""
    losses = first_losses(lambda backbone: in_double(backbone, **OPTIONS[name]))
    assert [losses[i] for i in (0, 1, 9, 19)] == pytest.approx(GOLDEN[name], rel=1e-6)


GOLDEN = {
    "plain": [1.27269176, 0.85243255, 0.42057021, 0.38254433],
    "decoupled": [0.79923782, 0.29353363, -0.43675851, -0.92670652],
    "hard and debiased": [0.89100119, 0.56074653, 0.53102600, 0.24436281],
}


@pytest.mark.parametrize(
    ("options", "sizes"),
    [({"beta": 0.5, "prior": 0.1}, [6, 6]), ({"temperature": 0.001}, [5, 4, 3])],
    ids=["hard and even", "cold and uneven"],
)
def test_many_ranks_equal_one_rank_with_the_global_batch(options, sizes) -> None:
    """With three views; what is computed in shares is put together, through each of the two ways to sum."""
    one = one_rank_step(SimCLR, SMALL | options, rows=12, views=3)
    many = many_ranks_step(SimCLR, SMALL | options, sizes=sizes, views=3)
    assert many.loss == pytest.approx(one.loss, rel=1e-9)
    largest = max(float(gradient.abs().max()) for gradient in one.gradients.values())
    for name, gradient in one.gradients.items():
        torch.testing.assert_close(many.gradients[name], gradient, rtol=1e-9, atol=1e-9 * largest, msg=name)


def neighbours(embeddings, weights):
    ids = torch.where(weights > 0, 100, -1)
    return Neighbours(embeddings, ids, weights)


def test_the_module_hands_groups_and_mined_neighbours_with_their_weights_to_the_loss() -> None:
    torch.manual_seed(0)
    objective = SimCLR(TinyBackbone(), temperature=0.2, beta=0.5, prior=0.05, **SMALL)
    rows, negatives, positives = torch.randn(2, 6, 16), torch.randn(6, 3, 16), torch.randn(6, 2, 16)
    weights, positive_weights = torch.rand(6, 3), torch.rand(6, 2)
    ids, groups = torch.arange(6), torch.tensor([0, 0, 1, 1, 2, 3])
    mined = Mined(neighbours(negatives, weights), neighbours(positives, positive_weights))
    embeddings, samples = Embeddings(rows[0], tuple(rows)), Samples(ids, groups, ids)
    outcome = objective.loss(embeddings, samples, mined)
    given = {"negatives": negatives, "weights": weights, "groups": groups.tolist()}
    given |= {"positives": positives, "positive_weights": positive_weights}
    expected = slow_nt_xent(rows, 0.2, beta=0.5, prior=0.05, **given)
    assert float(outcome.loss) == pytest.approx(expected, rel=1e-5)
    unit, near = F.normalize(rows, dim=2), F.normalize(negatives, dim=2)
    cosines = torch.einsum("vnp,nkp->nk", unit, near) / 2
    assert float(outcome.terms["mined_similarity"]) == pytest.approx(
        float((cosines * weights).sum() / weights.sum()), rel=1e-5
    )
    assert set(objective.loss(embeddings, samples).terms) == {"positive_similarity"}


@pytest.mark.parametrize("views", [2, 4])
def test_positive_similarity_is_the_mean_cosine_of_all_pairs_of_views(views) -> None:
    torch.manual_seed(0)
    rows = torch.randn(views, 5, 16)
    outcome = SimCLR(TinyBackbone(), **SMALL).loss(
        Embeddings(rows[0], tuple(rows)), Samples.of(torch.arange(5))
    )
    pairs = [F.cosine_similarity(rows[v], rows[w]) for v in range(views) for w in range(v)]
    expected = float(torch.stack(pairs).mean())
    assert float(outcome.terms["positive_similarity"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "must be > 0"),
        ({"temperature": -1.0}, "must be > 0"),
        ({"temperature": math.nan}, "must be > 0"),
        ({"beta": -0.5}, "must be >= 0"),
        ({"prior": 1.0}, r"\[0, 1\)"),
        ({"prior": -0.1}, r"\[0, 1\)"),
        ({"prior": 0.1, "decoupled": True}, "use one of the two"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        SimCLR(TinyBackbone(), **options)
    rows = torch.randn(2, 3, 4)
    with pytest.raises(ConfigError, match=message):
        nt_xent(*rows, **({"temperature": 0.1} | options))


@pytest.mark.parametrize("of", ["weights", "positive_weights"])
def test_weights_of_nothing_or_of_another_number_are_refused(of) -> None:
    rows = torch.randn(2, 3, 4)
    with pytest.raises(ConfigError, match="there are none"):
        nt_xent(*rows, temperature=0.1, **{of: torch.ones(3, 2)})
    neighbours = {"weights": "negatives", "positive_weights": "positives"}[of]
    with pytest.raises(ConfigError, match="one per row"):
        nt_xent(*rows, temperature=0.1, **{of: torch.ones(3, 2), neighbours: torch.randn(3, 5, 4)})


def test_a_single_view_is_refused() -> None:
    backbone = TinyBackbone()
    with pytest.raises(ConfigError, match="needs 2 or more"):
        SimCLR(backbone, **SMALL).embed(backbone, [torch.randn(2, 3, 16, 16)])
