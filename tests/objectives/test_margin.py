"""The margin loss against the paper in plain loops, another library, and the objective contract."""

import math

import pytest
import torch
import torch.nn.functional as F

from sslkit.contracts import Embeddings, Mined, Neighbours, Samples
from sslkit.errors import ConfigError
from sslkit.objectives import margin_loss
from sslkit.objectives.margin import Margin
from sslkit.testing.backbones import TinyBackbone
from sslkit.testing.objective_kit import check_objective, first_losses
from sslkit.testing.ranks import many_ranks_step, one_rank_step

SMALL = {"projector_hidden": 32, "projector_outputs": 16}


def distance(first, second) -> float:
    return math.sqrt(sum((a - b) ** 2 for a, b in zip(first, second, strict=True)))


def slow_margin_loss(
    anchor, positive, negative, beta, margin, mean, nu=0.0, weights=None, positive_weights=None
) -> float:
    """Wu et al. 2017, margin based loss: (margin + y (d - beta))+, one pair at a time in Python floats.

    positive, negative: (N, K, P); beta: one number for each anchor.
    """
    total = counted = 0.0
    for i, row in enumerate(anchor.tolist()):
        pairs = [(1, other, 1.0 if positive_weights is None else float(positive_weights[i, k]))
                 for k, other in enumerate(positive[i].tolist())]  # fmt: skip
        pairs += [(-1, other, 1.0 if weights is None else float(weights[i, k]))
                  for k, other in enumerate(negative[i].tolist())]  # fmt: skip
        for y, other, weight in pairs:
            value = max(0.0, margin + y * (distance(row, other) - beta[i]))
            total += weight * value
            counted += weight if mean == "all" or value > 0 else 0.0
    return (total / counted if counted else 0.0) + nu * sum(beta) / len(beta)


def samples_of(count, groups=None) -> Samples:
    ids = torch.arange(count)
    return Samples(ids, ids if groups is None else groups, torch.full((count,), -1))


def objective_of(**options) -> Margin:
    return Margin(TinyBackbone(), **{**SMALL, **options}).double()


def unit(*shape, seed=0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


@pytest.mark.parametrize("mean", ["active", "all"])
@pytest.mark.parametrize("count", [1, 2, 20])
@pytest.mark.parametrize("width", [2, 16])
@pytest.mark.parametrize(("beta", "margin"), [(1.2, 0.2), (0.6, 0.5)])
def test_margin_loss_is_the_paper(mean, count, width, beta, margin) -> None:
    anchor, positive, negative = unit(3, count, width, seed=count)
    ours = float(margin_loss(anchor, positive, negative, beta=beta, margin=margin, mean=mean, nu=0.1))
    slow = slow_margin_loss(
        anchor, positive[:, None], negative[:, None], [beta] * count, margin, mean, nu=0.1
    )
    assert ours == pytest.approx(slow, rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("mean", ["active", "all"])
def test_several_weighted_neighbours_and_a_boundary_for_each_anchor(mean) -> None:
    anchor, positive, negative = unit(5, 8), unit(5, 2, 8, seed=1), unit(5, 4, 8, seed=2)
    beta = torch.tensor([0.9, 1.0, 1.1, 1.2, 1.3], dtype=torch.float64)
    weights = torch.rand(5, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    positive_weights = torch.tensor([[1.0, 0.0]] * 5, dtype=torch.float64)
    options = {"weights": weights, "positive_weights": positive_weights, "nu": 0.05}
    ours = float(margin_loss(anchor, positive, negative, beta=beta, margin=0.3, mean=mean, **options))
    slow = slow_margin_loss(anchor, positive, negative, beta.tolist(), 0.3, mean, **options)
    assert ours == pytest.approx(slow, rel=1e-10)


def test_one_positive_and_two_negatives_by_hand() -> None:
    """beta 1, margin 1/4: at 7/8 the positive costs 1/8; at 1 a negative costs 1/4, and at 2 nothing."""
    anchor = torch.zeros(1, 1)
    positive, negative = torch.tensor([[0.875]]), torch.tensor([[[1.0], [2.0]]])
    active = margin_loss(anchor, positive, negative, beta=1.0, margin=0.25)
    assert float(active) == pytest.approx((1 / 8 + 1 / 4) / 2)
    every = margin_loss(anchor, positive, negative, beta=1.0, margin=0.25, mean="all")
    assert float(every) == pytest.approx((1 / 8 + 1 / 4) / 3)


def test_the_boundarys_gradient_is_negatives_less_positives_among_active_pairs() -> None:
    beta = torch.tensor(1.0, requires_grad=True)
    anchor = torch.zeros(1, 1)
    positive, negative = torch.tensor([[0.875]]), torch.tensor([[[1.0], [1.1], [2.0]]])
    margin_loss(anchor, positive, negative, beta=beta, margin=0.25, nu=0.5).backward()
    assert float(beta.grad) == pytest.approx((2 - 1) / 3 + 0.5)


def test_pairs_on_their_side_of_the_margin_cost_nothing_and_have_a_zero_gradient() -> None:
    anchor = torch.zeros(1, 1, requires_grad=True)
    beta = torch.tensor(1.0, requires_grad=True)
    loss = margin_loss(anchor, torch.tensor([[0.5]]), torch.tensor([[1.5]]), beta=beta)
    loss.backward()
    assert float(loss.detach()) == float(anchor.grad) == float(beta.grad) == 0.0


def test_the_gradient_at_distance_zero_is_finite_under_bfloat16_autocast_too() -> None:
    rows = unit(4, 8).float()
    for kind in (torch.float32, torch.bfloat16):
        anchor = rows.to(kind, copy=True).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = margin_loss(anchor, rows.to(kind), rows.to(kind), beta=0.1, margin=0.2)
        assert loss.dtype == torch.float32
        loss.backward()
        assert anchor.grad.isfinite().all()


def test_a_near_duplicate_negative_is_pushed_away_under_bfloat16_autocast() -> None:
    rows = unit(8, 16)
    negative = rows + 1e-4 * torch.randn(8, 16, generator=torch.Generator().manual_seed(1)).double()
    anchor, exact = rows.float().requires_grad_(), rows.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        margin_loss(anchor, rows.float(), negative.float(), beta=1.2).backward()
    margin_loss(exact, rows, negative, beta=1.2).backward()
    assert anchor.grad.any()
    assert F.cosine_similarity(anchor.grad.double().flatten(), exact.grad.flatten(), dim=0) > 0.999


@pytest.mark.parametrize("learn", [False, True])
def test_margin_loss_equals_another_library(learn) -> None:
    """pytorch_metric_learning means over active pairs too; it adds nu beta only when beta is learned."""
    losses = pytest.importorskip("pytorch_metric_learning.losses", reason="it is in the dev extra")
    rows = unit(24, 8).float()
    labels = torch.arange(24) % 5
    a, p, n = (
        (labels[:, None] == labels)[:, :, None]
        & ~torch.eye(24, dtype=torch.bool)[:, :, None]
        & (labels[:, None] != labels)[:, None, :]
    ).nonzero().T  # fmt: skip
    theirs = losses.MarginLoss(beta=1.1, nu=0.3, learn_beta=learn)
    value = theirs(rows, labels, (a, p, n))
    beta = torch.tensor(1.1, requires_grad=True)
    ours = margin_loss(rows[a], rows[p], rows[n], beta=beta, margin=0.2, nu=0.3 if learn else 0.0)
    assert float(ours.detach()) == pytest.approx(float(value.detach()), rel=1e-5)
    if learn:
        value.backward()
        ours.backward()
        assert float(beta.grad) == pytest.approx(float(theirs.beta.grad), rel=1e-4)


def test_in_the_batch_every_anchor_of_both_views_meets_the_nearest_row_of_another_group() -> None:
    first, second = unit(2, 6, 16)
    groups = [0, 0, 1, 2, 3, 3]
    outcome = objective_of(negatives="hard").loss(
        Embeddings(first, (first, second)), samples_of(6, torch.tensor(groups))
    )
    nearest = []
    for anchors, others in ((first, second), (second, first)):
        for i in range(6):
            rivals = [others[j] for j in range(6) if groups[j] != groups[i]]
            nearest.append(
                min(rivals, key=lambda row, i=i, anchors=anchors: float((anchors[i] - row).norm()))
            )
    anchors, positives = torch.cat([first, second]), torch.cat([second, first])
    slow = slow_margin_loss(
        anchors, positives[:, None], torch.stack(nearest)[:, None], [1.2] * 12, 0.2, "active"
    )
    assert float(outcome.loss.detach()) == pytest.approx(slow, rel=1e-6)  # 1.2 was once float32


@pytest.mark.parametrize("negatives", ["distance_weighted", "random"])
def test_draws_belong_to_samples_and_change_with_the_step(negatives) -> None:
    objective = objective_of(negatives=negatives, projector_outputs=4)
    first, second = unit(2, 9, 4)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    samples, shuffled = samples_of(9), Samples(order, order, torch.full((9,), -1))

    def value(*rows, of=samples) -> float:
        return float(objective.loss(Embeddings(rows[0], rows), of).loss.detach())

    before = value(first, second)
    assert value(first, second) == before
    assert value(first[order], second[order], of=shuffled) == pytest.approx(before, rel=1e-12)
    objective.after_step(TinyBackbone(), 0.5)
    assert value(first, second) != before
    resumed = objective_of(negatives=negatives, projector_outputs=4)
    resumed.load_state_dict(objective.state_dict())
    resumed_value = resumed.loss(Embeddings(first, (first, second)), samples).loss
    assert float(resumed_value.detach()) == value(first, second)


def test_other_seeds_draw_other_negatives() -> None:
    rows = unit(2, 9, 16)
    values = {
        float(objective_of(seed=seed, negatives="random").loss(
            Embeddings(rows[0], tuple(rows)), samples_of(9)).loss.detach())
        for seed in range(3)
    }  # fmt: skip
    assert len(values) == 3


def test_near_negatives_are_drawn_far_more_often_than_their_share() -> None:
    """In 16 dimensions a row at distance 0.6 weighs thousands of times what one at 1.3 does."""
    first = torch.zeros(8, 16, dtype=torch.float64)
    first[:, 0] = 1.0
    near, far = (1 - 0.6**2 / 2, 1 - 1.3**2 / 2)
    first[1:] = torch.tensor([far, math.sqrt(1 - far**2), *[0.0] * 14])
    first[4] = torch.tensor([near, math.sqrt(1 - near**2), *[0.0] * 14])
    groups = torch.tensor([0, 1, 1, 1, 1, 1, 1, 1])
    for negatives, low, high in (("distance_weighted", 0.59, 0.61), ("random", 1.0, 1.3)):
        objective = objective_of(negatives=negatives)
        seen = []
        for _ in range(20):
            columns, counts = objective._in_batch(first, first, samples_of(8, groups))
            assert (counts == 1).all()
            seen.append(float((first[0] - first[int(columns[0])]).norm()))
            objective.after_step(TinyBackbone(), 0.0)
        assert low < sum(seen) / 20 < high


def test_an_anchor_with_all_candidates_out_of_reach_has_no_negative() -> None:
    rows = torch.eye(4, 16, dtype=torch.float64)  # sqrt(2) apart, beyond 1.4
    embeddings = Embeddings(rows, (rows, rows))
    outcome = objective_of().loss(embeddings, samples_of(4))
    assert float(outcome.loss.detach()) == 0.0
    assert float(outcome.terms["negative_distance"]) == 0.0
    reached = objective_of(longest=1.5, beta=1.4).loss(embeddings, samples_of(4))
    assert float(reached.terms["negative_distance"]) == pytest.approx(math.sqrt(2))
    assert float(reached.loss.detach()) == pytest.approx(1.6 - math.sqrt(2), rel=1e-6)


def test_a_batch_of_one_group_has_no_negatives_and_a_finite_gradient() -> None:
    first, second = (rows.requires_grad_() for rows in unit(2, 3, 16).clone().unbind())
    outcome = objective_of(beta=0.5).loss(
        Embeddings(first.detach(), (first, second)), samples_of(3, torch.zeros(3, dtype=torch.int64))
    )
    outcome.loss.backward()
    assert first.grad.isfinite().all()
    expected = (0.2 + (first - second).detach().norm(dim=1) - 0.5).clamp(min=0).mean()
    assert float(outcome.loss.detach()) == pytest.approx(float(expected), rel=1e-6)


def mined_of(count, k, weights) -> Neighbours:
    return Neighbours(unit(count, k, 16, seed=5), torch.zeros(count, k, dtype=torch.int64), weights)


def test_the_mined_negatives_of_an_anchor_weigh_as_much_as_one() -> None:
    first, second = unit(2, 3, 16)
    weights = torch.tensor([[1.0, 0.0], [1.0, 3.0], [0.0, 0.0]], dtype=torch.float64)
    mined = mined_of(3, 2, weights)
    objective = objective_of(mean="all")
    outcome = objective.loss(Embeddings(first, (first, second)), samples_of(3), Mined(negatives=mined))
    shares = torch.tensor([[1.0, 0.0], [0.25, 0.75], [0.0, 0.0]]).repeat(2, 1)
    slow = slow_margin_loss(
        torch.cat([first, second]),
        torch.cat([second, first])[:, None],
        mined.embeddings.repeat(2, 1, 1),
        [1.2] * 6,
        0.2,
        "all",
        weights=shares,
    )
    assert float(outcome.loss.detach()) == pytest.approx(slow, rel=1e-6)


def test_mined_positives_join_the_other_view() -> None:
    first, second = unit(2, 3, 16)
    found = mined_of(3, 1, torch.tensor([[1.0], [0.0], [0.5]], dtype=torch.float64))
    repelled = mined_of(3, 2, torch.ones(3, 2, dtype=torch.float64))
    mined = Mined(negatives=repelled, positives=found)
    outcome = objective_of().loss(Embeddings(first, (first, second)), samples_of(3), mined)
    positives = torch.cat([torch.cat([second, first])[:, None], found.embeddings.repeat(2, 1, 1)], dim=1)
    slow = slow_margin_loss(
        torch.cat([first, second]),
        positives,
        repelled.embeddings.repeat(2, 1, 1),
        [1.2] * 6,
        0.2,
        "active",
        weights=torch.full((6, 2), 0.5),
        positive_weights=torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 0.5]]).repeat(2, 1),
    )
    assert float(outcome.loss.detach()) == pytest.approx(slow, rel=1e-6)


def test_mined_neighbours_are_refused_where_rows_have_another_length() -> None:
    rows = unit(3, 16)
    mined = Mined(negatives=mined_of(3, 1, torch.ones(3, 1)))
    with pytest.raises(ConfigError, match="normalize=true"):
        objective_of(normalize=False, negatives="random").loss(
            Embeddings(rows, (rows, rows)), samples_of(3), mined
        )


def test_terms_tell_the_boundary_distances_and_the_share_of_pairs_with_a_loss() -> None:
    rows = torch.eye(3, 16, dtype=torch.float64)
    outcome = objective_of(longest=1.5, beta=1.3, nu=0.1).loss(Embeddings(rows, (rows, rows)), samples_of(3))
    terms = {name: float(term) for name, term in outcome.terms.items()}
    assert terms == pytest.approx(
        {"beta": 1.3, "active_share": 0.5, "positive_distance": 0.0, "negative_distance": math.sqrt(2)},
        rel=1e-6,
    )
    assert float(outcome.loss.detach()) == pytest.approx(1.5 - math.sqrt(2) + 0.1 * 1.3, rel=1e-5)


def test_the_boundary_is_learned_or_stays_and_is_in_the_state_either_way() -> None:
    learned, fixed = objective_of(beta=0.9), objective_of(beta=0.9, learn_beta=False)
    assert float(learned.state_dict()["beta"]) == float(fixed.state_dict()["beta"]) == pytest.approx(0.9)
    assert learned.beta.requires_grad
    assert not fixed.beta.requires_grad


def test_the_boundary_takes_its_share_of_the_gradient_and_the_loss_stays() -> None:
    first, second = unit(2, 6, 16)
    losses, gradients = [], []
    for rate in (1.0, 0.25):
        objective = objective_of(beta_rate=rate, nu=0.1)
        loss = objective.loss(Embeddings(first, (first, second)), samples_of(6)).loss
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append(float(objective.beta.grad))
    assert losses[0] == losses[1]
    assert gradients[0] != 0
    assert gradients[1] == pytest.approx(0.25 * gradients[0], rel=1e-12)


@pytest.mark.parametrize("negatives", ["distance_weighted", "random", "hard"])
def test_margin_keeps_the_objective_contract(negatives) -> None:
    check_objective(lambda backbone: Margin(backbone, negatives=negatives, **SMALL))


def test_margin_with_a_fixed_boundary_keeps_the_objective_contract() -> None:
    check_objective(lambda backbone: Margin(backbone, learn_beta=False, mean="all", **SMALL))


@pytest.mark.parametrize("sizes", [[6, 6], [5, 4, 3]])
def test_many_ranks_equal_one_in_the_boundarys_gradient_too(sizes) -> None:
    options = {**SMALL, "nu": 0.01, "beta_rate": 1.0}
    one = one_rank_step(Margin, options, rows=12)
    many = many_ranks_step(Margin, options, sizes=sizes)
    assert many.loss == pytest.approx(one.loss, rel=1e-9)
    assert many.gradients.keys() == one.gradients.keys()
    assert abs(float(one.gradients["objective.beta"])) > 0.01
    for name, gradient in one.gradients.items():
        torch.testing.assert_close(many.gradients[name], gradient, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("negatives", ["distance_weighted", "random"])
def test_margin_golden_losses(negatives) -> None:
    """The first steps of a fixed run; a change here changes what every recipe trains.

    Slowly trained, and distance-weighted for ten steps only: rounding grows, until it draws another negative.
    """
    losses = first_losses(lambda backbone: Margin(backbone, negatives=negatives, **SMALL), lr=0.01)
    steps = {"distance_weighted": (0, 1, 4, 9), "random": (0, 1, 9, 19)}[negatives]
    assert [losses[i] for i in steps] == pytest.approx(GOLDEN[negatives], rel=2e-3)


GOLDEN = {
    "distance_weighted": [0.607124, 0.734010, 0.628250, 0.633612],
    "random": [0.373143, 0.453475, 0.415216, 0.259855],
}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 0.0}, "must be > 0"),
        ({"beta": 0.2}, "beta must be larger"),
        ({"beta": math.nan}, "beta must be larger"),
        ({"nu": -0.1}, "must be >= 0"),
        ({"beta_rate": 0.0}, "learn_beta=false"),
        ({"mean": "actve"}, "active"),
        ({"negatives": "distance_weigthed"}, "distance_weighted"),
        ({"normalize": False}, "normalize=true"),
        ({"longest": 2.5}, "cutoff"),
        ({"projector_outputs": 1}, "sphere"),
    ],
)
def test_bad_options_are_refused_with_what_would_work(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        Margin(TinyBackbone(), **{**SMALL, **options})


def test_an_unknown_mean_is_refused_by_the_loss_itself() -> None:
    rows = torch.zeros(1, 2)
    with pytest.raises(ConfigError, match="active"):
        margin_loss(rows, rows, rows, beta=1.0, mean="activ")
