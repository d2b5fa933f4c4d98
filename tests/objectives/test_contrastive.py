"""The four contrastive forms against their papers in plain loops, another library, and the contract."""

import math

import pytest
import torch
import torch.nn.functional as F

from sslkit.contracts import Embeddings, Mined, Neighbours, Samples
from sslkit.errors import ConfigError
from sslkit.objectives import contrastive_margin
from sslkit.objectives.contrastive import Contrastive
from sslkit.testing.backbones import TinyBackbone
from sslkit.testing.objective_kit import check_objective, first_losses
from sslkit.testing.ranks import many_ranks_step, one_rank_step

SMALL = {"projector_hidden": 32, "projector_outputs": 16}
FORMS = ["hadsell", "mixed", "sint", "siamese"]
NEGATIVES = ["all", "hard", "random"]


def slow_pair(first, second, y, margin, form) -> float:
    """One pair, as each paper writes it, in Python floats."""
    d = math.sqrt(sum((a - b) ** 2 for a, b in zip(first, second, strict=True)))
    if form == "hadsell":
        return y * d**2 + (1 - y) * max(0.0, margin - d) ** 2
    if form == "mixed":
        return y * d + (1 - y) * max(0.0, margin - d) ** 2
    if form == "sint":
        return 0.5 * y * d**2 + 0.5 * (1 - y) * max(0.0, margin - d**2)
    return y * d + (1 - y) * max(0.0, margin - d)


def slow_contrastive_margin(first, second, same, margin, form, weights=None) -> float:
    """Weighted mean over pairs."""
    weights = [1.0] * len(first) if weights is None else weights.tolist()
    rows = zip(first.tolist(), second.tolist(), same.tolist(), weights, strict=True)
    return sum(w * slow_pair(a, b, int(y), margin, form) for a, b, y, w in rows) / sum(weights)


def samples_of(count, groups=None) -> Samples:
    ids = torch.arange(count)
    return Samples(ids, ids if groups is None else groups, torch.full((count,), -1))


def objective_of(**options) -> Contrastive:
    return Contrastive(TinyBackbone(), **{**SMALL, **options})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 2, 30])
@pytest.mark.parametrize("width", [1, 16])
@pytest.mark.parametrize("margin", [0.3, 1.0, 4.0])
def test_each_form_is_its_paper(form, count, width, margin) -> None:
    torch.manual_seed(count)
    first, second = torch.randn(2, count, width, dtype=torch.float64) / 2
    same = torch.arange(count) % 3 == 0
    ours = float(contrastive_margin(first, second, same, margin=margin, form=form))
    slow = slow_contrastive_margin(first, second, same, margin, form)
    assert ours == pytest.approx(slow, rel=1e-10, abs=1e-14)


@pytest.mark.parametrize(
    ("form", "together", "apart"),
    [("hadsell", 0.25, 1.0), ("mixed", 0.5, 1.0), ("sint", 0.125, 0.625), ("siamese", 0.5, 1.0)],
)
def test_a_pair_at_distance_one_half_by_hand(form, together, apart) -> None:
    """d = 1/2 and m = 3/2: d^2 = 1/4, (m - d)^2 = 1, (m - d^2) / 2 = 5/8, m - d = 1."""
    first, second = torch.tensor([[0.3, 0.4]]), torch.zeros(1, 2)
    for same, expected in ((1, together), (0, apart)):
        loss = contrastive_margin(first, second, torch.tensor([same]), margin=1.5, form=form)
        assert float(loss) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("form", "apart"), [("hadsell", 0.25), ("mixed", 0.25), ("sint", 0.375), ("siamese", 0.5)]
)
def test_only_some_forms_square_their_hinge_by_hand(form, apart) -> None:
    """d = 1/2 and m = 1: (m - d)^2 = 1/4, (m - d^2) / 2 = 3/8, m - d = 1/2."""
    first, second, differ = torch.tensor([[0.5]]), torch.zeros(1, 1), torch.tensor([False])
    assert float(contrastive_margin(first, second, differ, margin=1.0, form=form)) == pytest.approx(apart)


@pytest.mark.parametrize("form", FORMS)
def test_a_pair_beyond_the_margin_is_left_alone(form) -> None:
    first, second = torch.tensor([[3.0, 0.0]], requires_grad=True), torch.zeros(1, 2)
    loss = contrastive_margin(first, second, torch.tensor([False]), margin=1.0, form=form)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not first.grad.any()


@pytest.mark.parametrize("form", FORMS)
def test_weights_are_those_of_a_mean_and_a_pair_of_weight_zero_is_absent(form) -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 6, 4, dtype=torch.float64)
    same, weights = torch.tensor([1, 0, 1, 0, 0, 1]), torch.tensor([1.0, 0.5, 0.0, 2.0, 0.0, 0.25])
    ours = float(contrastive_margin(first, second, same, margin=2.0, form=form, weights=weights))
    slow = slow_contrastive_margin(first, second, same, 2.0, form, weights)
    assert ours == pytest.approx(slow, rel=1e-12)
    none = contrastive_margin(first, second, same, margin=2.0, form=form, weights=torch.zeros(6))
    assert float(none) == 0.0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("same", [True, False])
def test_the_gradient_at_distance_zero_is_finite_under_bfloat16_autocast_too(form, same) -> None:
    torch.manual_seed(0)
    rows = torch.randn(4, 8)
    for kind, autocast in ((torch.float32, False), (torch.float32, True), (torch.bfloat16, True)):
        first = rows.to(kind, copy=True).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = contrastive_margin(first, rows.to(kind), torch.full((4,), same), form=form)
        assert loss.dtype == torch.float32
        loss.backward()
        assert first.grad.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_a_near_duplicate_is_pushed_away_under_bfloat16_autocast(form) -> None:
    """The distance is smaller than bfloat16 resolves; the direction must be that of float64."""
    torch.manual_seed(0)
    rows = torch.randn(8, 16)
    other = rows + 1e-4 * torch.randn(8, 16)
    first, exact = rows.clone().requires_grad_(), rows.double().requires_grad_()
    differ = torch.zeros(8, dtype=torch.bool)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        contrastive_margin(first, other, differ, form=form).backward()
    contrastive_margin(exact, other.double(), differ, form=form).backward()
    assert first.grad.any()
    assert F.cosine_similarity(first.grad.double().flatten(), exact.grad.flatten(), dim=0) > 0.999


@pytest.mark.parametrize(("form", "power", "share"), [("siamese", 1, 1.0), ("sint", 2, 0.5)])
def test_two_forms_equal_another_library(form, power, share) -> None:
    """pytorch_metric_learning hinges d (power 1) or d^2 (power 2), without squares or halves: no other form.

    It adds the means over positives and over negatives, each over the pairs with a loss unless told
    otherwise; ours is one mean over the pairs it is given, so the two are taken apart here.
    """
    losses = pytest.importorskip("pytorch_metric_learning.losses", reason="it is in the dev extra")
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.reducers import MeanReducer

    torch.manual_seed(0)
    rows = F.normalize(torch.randn(24, 8), dim=1)
    labels = torch.arange(24) % 5
    theirs = losses.ContrastiveLoss(
        neg_margin=1.2, distance=LpDistance(normalize_embeddings=False, power=power), reducer=MeanReducer()
    )(rows, labels)
    i, j = (~torch.eye(24, dtype=torch.bool)).nonzero().T
    same = labels[i] == labels[j]
    ours = sum(
        contrastive_margin(rows[i][kind], rows[j][kind], same[kind], margin=1.2, form=form)
        for kind in (same, ~same)
    )
    assert float(ours) == pytest.approx(share * float(theirs), rel=1e-5)


def slow_objective(first, second, groups, margin, form) -> float:
    """Mean over the pairs of views plus mean over all pairs across views of different groups."""
    first, second = (F.normalize(rows, dim=1).tolist() for rows in (first, second))
    count = len(first)
    pulls = [slow_pair(first[i], second[i], 1, margin, form) for i in range(count)]
    pushes = [
        slow_pair(first[i], second[j], 0, margin, form)
        for i in range(count)
        for j in range(count)
        if groups[i] != groups[j]
    ]
    return sum(pulls) / len(pulls) + sum(pushes) / len(pushes)


@pytest.mark.parametrize("form", FORMS)
def test_all_negatives_are_rows_of_other_groups_and_do_not_drown_the_positives(form) -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 7, 16, dtype=torch.float64)
    groups = torch.tensor([0, 0, 1, 2, 3, 3, 3])
    embeddings = Embeddings(first, (first, second))
    outcome = objective_of(form=form, margin=1.5).loss(embeddings, samples_of(7, groups))
    assert float(outcome.loss) == pytest.approx(
        slow_objective(first, second, groups.tolist(), 1.5, form), rel=1e-10
    )


def test_hard_negatives_are_the_nearest_rows_of_other_groups_for_anchors_of_both_views() -> None:
    torch.manual_seed(0)
    first, second = F.normalize(torch.randn(2, 6, 16, dtype=torch.float64), dim=2)
    groups = torch.tensor([0, 0, 1, 2, 3, 3])
    outcome = objective_of(negatives="hard", margin=2.0).loss(
        Embeddings(first, (first, second)), samples_of(6, groups)
    )
    nearest = []
    for anchors, others in ((first, second), (second, first)):
        for i in range(6):
            nearest.append(
                min(float((anchors[i] - others[j]).norm()) for j in range(6) if groups[i] != groups[j])
            )
    pulls = (first - second).square().sum(1).mean()
    assert float(outcome.terms["negative_distance"]) == pytest.approx(sum(nearest) / 12, rel=1e-10)
    assert float(outcome.loss) == pytest.approx(
        float(pulls) + sum((2.0 - d) ** 2 for d in nearest) / 12, rel=1e-10
    )


def test_random_negatives_belong_to_samples_and_change_with_the_step() -> None:
    torch.manual_seed(0)
    objective = objective_of(negatives="random")
    first, second = torch.randn(2, 9, 16, dtype=torch.float64)
    order = torch.randperm(9)
    samples, shuffled = samples_of(9), Samples(order, order, torch.full((9,), -1))

    def value(*rows, of=samples) -> float:
        return float(objective.loss(Embeddings(rows[0], rows), of).loss)

    before = value(first, second)
    assert value(first, second) == before
    assert value(first[order], second[order], of=shuffled) == pytest.approx(before, rel=1e-12)
    objective.after_step(TinyBackbone(), 0.5)
    assert value(first, second) != before
    resumed = objective_of(negatives="random")
    resumed.load_state_dict(objective.state_dict())
    assert float(resumed.loss(Embeddings(first, (first, second)), samples).loss) == value(first, second)


def test_a_random_negative_is_never_of_the_anchors_group() -> None:
    rows = torch.zeros(4, 16)
    rows[:2, 0], rows[2:, 1] = 1.0, 1.0  # two groups, sqrt(2) apart, each in one point
    objective = objective_of(negatives="random")
    for _ in range(10):
        outcome = objective.loss(Embeddings(rows, (rows, rows)), samples_of(4, torch.tensor([0, 0, 1, 1])))
        assert float(outcome.terms["negative_distance"]) == pytest.approx(math.sqrt(2), rel=1e-6)
        objective.after_step(TinyBackbone(), 0.0)


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_a_batch_of_one_group_has_no_negatives_and_a_finite_gradient(negatives) -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 3, 16).unbind()
    first.requires_grad_()
    outcome = objective_of(negatives=negatives).loss(
        Embeddings(first.detach(), (first, second)), samples_of(3, torch.zeros(3, dtype=torch.int64))
    )
    outcome.loss.backward()
    expected = (F.normalize(first.detach(), dim=1) - F.normalize(second, dim=1)).square().sum(1).mean()
    assert float(outcome.loss.detach()) == pytest.approx(float(expected), rel=1e-5)
    assert first.grad.isfinite().all()
    assert float(outcome.terms["active_share"]) == 0.0


def mined_of(count, k, weights) -> Neighbours:
    generator = torch.Generator().manual_seed(3)
    rows = F.normalize(torch.randn(count, k, 16, generator=generator, dtype=torch.float64), dim=2)
    return Neighbours(rows, torch.zeros(count, k, dtype=torch.int64), weights)


def test_mined_negatives_replace_those_of_the_batch_and_count_by_weight() -> None:
    torch.manual_seed(0)
    first, second = F.normalize(torch.randn(2, 3, 16, dtype=torch.float64), dim=2)
    weights = torch.tensor([[1.0, 0.0], [0.5, 2.0], [0.0, 0.0]])
    mined = mined_of(3, 2, weights)
    outcome = objective_of(margin=2.0).loss(
        Embeddings(first, (first, second)), samples_of(3), Mined(negatives=mined)
    )
    pulls = (first - second).square().sum(1).mean()
    total = 0.0
    for rows in (first, second):
        for i in range(3):
            for k in range(2):
                distance = float((rows[i] - mined.embeddings[i, k]).norm())
                total += float(weights[i, k]) * max(0.0, 2.0 - distance) ** 2
    assert float(outcome.loss) == pytest.approx(float(pulls) + total / (2 * 3.5), rel=1e-10)


def test_mined_positives_join_the_pairs_of_views() -> None:
    torch.manual_seed(0)
    first, second = F.normalize(torch.randn(2, 3, 16, dtype=torch.float64), dim=2)
    mined = mined_of(3, 1, torch.tensor([[1.0], [0.0], [0.5]]))
    embeddings, objective = Embeddings(first, (first, second)), objective_of()
    without = objective.loss(embeddings, samples_of(3)).loss
    outcome = objective.loss(embeddings, samples_of(3), Mined(positives=mined))
    pulls = (first - second).square().sum(1)
    more = sum((rows - mined.embeddings[:, 0]).square().sum(1) for rows in (first, second))
    expected = (pulls.sum() + more[0] + 0.5 * more[2]) / (3 + 2 * 1.5)
    assert float(outcome.loss - without) == pytest.approx(float(expected - pulls.mean()), rel=1e-9)


def test_mined_neighbours_are_refused_where_rows_have_another_length() -> None:
    rows = torch.randn(3, 16, dtype=torch.float64)
    with pytest.raises(ConfigError, match="normalize=true"):
        objective_of(normalize=False).loss(
            Embeddings(rows, (rows, rows)), samples_of(3), Mined(negatives=mined_of(3, 1, torch.ones(3, 1)))
        )


def test_terms_tell_distances_and_the_share_of_negatives_inside_the_margin() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    terms = objective_of(margin=1.5).loss(Embeddings(rows, (rows, rows)), samples_of(3)).terms
    assert float(terms["positive_distance"]) == 0.0
    assert float(terms["negative_distance"]) == pytest.approx((4 * math.sqrt(2) + 2 * 2.0) / 6, rel=1e-6)
    assert float(terms["active_share"]) == pytest.approx(4 / 6)


def test_without_normalisation_the_length_of_rows_counts() -> None:
    rows = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    terms = objective_of(normalize=False).loss(Embeddings(rows, (rows, rows)), samples_of(2)).terms
    assert float(terms["negative_distance"]) == pytest.approx(5.0)


@pytest.mark.parametrize("form", FORMS)
def test_contrastive_keeps_the_objective_contract_in_every_form(form) -> None:
    check_objective(lambda backbone: Contrastive(backbone, form=form, **SMALL))


@pytest.mark.parametrize("negatives", ["hard", "random"])
def test_contrastive_keeps_the_objective_contract_with_chosen_negatives(negatives) -> None:
    check_objective(lambda backbone: Contrastive(backbone, negatives=negatives, **SMALL))


@pytest.mark.parametrize(("sizes", "negatives"), [([6, 6], "all"), ([5, 4, 3], "random")])
def test_many_ranks_equal_one(sizes, negatives) -> None:
    options = {**SMALL, "negatives": negatives, "form": "siamese"}
    one = one_rank_step(Contrastive, options, rows=12)
    many = many_ranks_step(Contrastive, options, sizes=sizes)
    assert many.loss == pytest.approx(one.loss, rel=1e-9)
    assert many.gradients.keys() == one.gradients.keys()
    for name, gradient in one.gradients.items():
        torch.testing.assert_close(many.gradients[name], gradient, rtol=1e-7, atol=1e-10)


def test_contrastive_golden_losses() -> None:
    """The first steps of a fixed run; a change here changes what every recipe trains."""
    losses = first_losses(lambda backbone: Contrastive(backbone, **SMALL))
    assert [losses[i] for i in (0, 1, 9, 19)] == pytest.approx(GOLDEN, rel=2e-3)  # rounding grows


GOLDEN = [0.1559860, 0.0732018, 0.0591028, 0.0382827]


def test_an_unknown_form_or_choice_of_negatives_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="hadsell"):
        objective_of(form="hadsel")
    with pytest.raises(ConfigError, match="random"):
        objective_of(negatives="randm")
    with pytest.raises(ConfigError, match="sint"):
        contrastive_margin(torch.ones(1, 2), torch.ones(1, 2), torch.ones(1), form="sintt")


@pytest.mark.parametrize("margin", [0.0, -1.0, math.nan])
def test_a_margin_that_is_not_positive_is_refused(margin) -> None:
    with pytest.raises(ConfigError, match="must be > 0"):
        objective_of(margin=margin)


def test_flags_of_another_length_are_refused() -> None:
    with pytest.raises(ConfigError, match="2 pairs"):
        contrastive_margin(torch.ones(2, 3), torch.ones(2, 3), torch.ones(3, dtype=torch.bool))
