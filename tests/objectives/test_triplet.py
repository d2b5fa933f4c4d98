"""The triplet loss against the papers in plain loops, other libraries, and the objective contract."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from sslkit.contracts import Embeddings, Mined, Neighbours, Samples
from sslkit.errors import ConfigError, UnknownNameError
from sslkit.objectives import triplet_margin
from sslkit.objectives.triplet import Triplet
from sslkit.testing.backbones import TinyBackbone
from sslkit.testing.objective_kit import check_objective, example_views, first_losses
from sslkit.testing.ranks import many_ranks_step, one_rank_step

SMALL = {"projector_hidden": 32, "projector_outputs": 16}
FORMS = ["squared_distance", "distance", "squared_hinge", "ratio", "soft", "soft_squared"]
CHOICES = ["semi_hard", "hard", "random", "distance_weighted"]


def slow_value(near: float, far: float, margin: float, form: str) -> float:
    """One triplet in Python floats."""
    return {
        "squared_distance": lambda: max(0.0, margin + near**2 - far**2),
        "distance": lambda: max(0.0, margin + near - far),
        "squared_hinge": lambda: max(0.0, margin + near - far) ** 2,
        "ratio": lambda: max(0.0, 1 - far / (near + margin)),
        "soft": lambda: math.log(1 + math.exp(near - far)),
        "soft_squared": lambda: math.log(1 + math.exp(near**2 - far**2)),
    }[form]()


def slow_triplet_margin(anchor, positive, negative, margin, form, weights=None, mean="all") -> float:
    """The papers' hinges one triplet at a time; negative (N, K, P), weights (N, K)."""
    total = count = 0.0
    for i, (a, p) in enumerate(zip(anchor.tolist(), positive.tolist(), strict=True)):
        for k, n in enumerate(negative[i].tolist()):
            weight = 1.0 if weights is None else float(weights[i, k])
            value = slow_value(math.dist(a, p), math.dist(a, n), margin, form)
            total += weight * value
            count += weight if mean == "all" or value > 0 else 0.0
    return total / count if count else 0.0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("width", [1, 3, 16])
@pytest.mark.parametrize("negatives", [1, 5])
@pytest.mark.parametrize("margin", [0.05, 1.0])
@pytest.mark.parametrize("mean", ["all", "active"])
def test_triplet_margin_is_the_papers(form, count, width, negatives, margin, mean) -> None:
    torch.manual_seed(count * 100 + width)
    anchor, positive = torch.randn(2, count, width, dtype=torch.float64)
    negative = torch.randn(count, negatives, width, dtype=torch.float64)
    weights = torch.rand(count, negatives, dtype=torch.float64).round(decimals=1)
    for given in (None, weights):
        ours = triplet_margin(anchor, positive, negative, margin=margin, form=form, weights=given, mean=mean)
        expected = slow_triplet_margin(anchor, positive, negative, margin, form, given, mean)
        assert float(ours) == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_one_negative_or_one_weight_for_each_anchor_may_do_without_a_dimension(form) -> None:
    torch.manual_seed(0)
    anchor, positive, negative = torch.randn(3, 6, 4, dtype=torch.float64)
    weights = torch.rand(6, dtype=torch.float64)
    flat = triplet_margin(anchor, positive, negative, form=form, weights=weights)
    full = triplet_margin(anchor, positive, negative[:, None], form=form, weights=weights[:, None])
    assert float(flat) == float(full)


@pytest.mark.parametrize("margin", [0.05, 1.0])
def test_the_distance_form_equals_the_frameworks(margin) -> None:
    torch.manual_seed(0)
    anchor, positive, negative = torch.randn(3, 32, 16, dtype=torch.float64)
    theirs = F.triplet_margin_loss(anchor, positive, negative, margin=margin, p=2, eps=0.0)
    ours = triplet_margin(anchor, positive, negative, margin=margin, form="distance")
    assert float(ours) == pytest.approx(float(theirs), rel=1e-12)


@pytest.mark.parametrize(("form", "smooth"), [("distance", False), ("soft", True)])
def test_the_mean_over_active_triplets_equals_another_librarys(form, smooth) -> None:
    """It normalises rows and averages over positive losses by default; its smooth form keeps the margin."""
    losses = pytest.importorskip("pytorch_metric_learning.losses", reason="it is in the dev extra")
    torch.manual_seed(0)
    anchor, positive, negative = F.normalize(torch.randn(3, 32, 4), dim=2)
    margin = 0.0 if smooth else 0.05
    theirs = losses.TripletMarginLoss(margin=margin, smooth_loss=smooth)(
        torch.cat([anchor, positive, negative]),
        indices_tuple=tuple(torch.arange(32) + 32 * part for part in range(3)),
    )
    options = {"form": form, "mean": "active"} | ({} if smooth else {"margin": margin})
    assert float(triplet_margin(anchor, positive, negative, **options)) == pytest.approx(
        float(theirs), rel=1e-5
    )


def test_averaging_over_active_triplets_makes_another_number() -> None:
    """One of four triplets loses 0.2: the mean is 0.05 over all of them and 0.2 over the active one."""
    anchor, positive = torch.zeros(4, 1), torch.ones(4, 1)
    negative = torch.tensor([[1.0], [3.0], [4.0], [5.0]])
    values = [
        float(triplet_margin(anchor, positive, negative, margin=0.2, form="distance", mean=mean))
        for mean in ("all", "active")
    ]
    assert values == pytest.approx([0.05, 0.2])


@pytest.mark.parametrize("form", FORMS)
def test_the_ratio_without_a_margin_alone_has_no_scale(form) -> None:
    torch.manual_seed(0)
    rows = torch.randn(3, 16, 4, dtype=torch.float64)
    one, other = (float(triplet_margin(*(scale * rows), margin=0.0, form=form)) for scale in (1.0, 7.0))
    assert (one == pytest.approx(other, rel=1e-12)) == (form == "ratio")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_the_gradient_is_finite_where_rows_are_equal_under_bfloat16_autocast(form, margin) -> None:
    """Anchor on the positive, on the negative, and on both."""
    torch.manual_seed(0)
    a, p, n = torch.randn(3, 3, 8).bfloat16()
    p[0], n[1], p[2], n[2] = a[0], a[1], a[2], a[2]
    rows = [part.clone().requires_grad_() for part in (a, p, n)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = triplet_margin(*rows, margin=margin, form=form)
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(part.grad.isfinite().all() for part in rows)


@pytest.mark.parametrize("form", FORMS)
def test_near_duplicates_pull_as_they_do_in_double_precision(form) -> None:
    torch.manual_seed(0)
    anchor = F.normalize(torch.randn(40, 16), dim=1)
    positive, negative = (anchor + 1e-3 * torch.randn(40, 16) for _ in range(2))
    rows = [anchor.requires_grad_(), positive, negative]
    exact = [part.detach().double().requires_grad_() for part in rows]
    triplet_margin(*rows, form=form).backward()
    triplet_margin(*exact, form=form).backward()
    torch.testing.assert_close(rows[0].grad.double(), exact[0].grad, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("mean", ["all", "active"])
def test_without_a_triplet_that_counts_the_loss_and_its_gradient_are_zero(mean) -> None:
    anchor = torch.randn(4, 3, requires_grad=True)
    loss = triplet_margin(
        anchor, torch.randn(4, 3), torch.randn(4, 2, 3), weights=torch.zeros(4, 2), mean=mean
    )
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not anchor.grad.any()


# ---------------------------------------------------------------------------------------- the objective


def gathered(views: int = 2, rows: int = 6, seed: int = 0) -> Embeddings:
    torch.manual_seed(seed)
    outputs = torch.randn(views, rows, 4, dtype=torch.float64).unbind()
    return Embeddings(outputs[0], outputs)


def value(embeddings, samples, mined=None, **options) -> float:
    objective = Triplet(TinyBackbone(), **{**SMALL, **options})
    return float(objective.loss(embeddings, samples, mined).loss)


def listed(embeddings, samples, *, labels: bool, semi: bool) -> list[tuple[int, int, int]]:
    """(anchor, positive, negative) as numbers of rows, view by view, by loops over all rows."""
    views, count = len(embeddings.outputs), len(samples.ids)
    rows = F.normalize(torch.cat(embeddings.outputs), dim=1).tolist()
    ids, groups, names = (column.repeat(views).tolist() for column in samples)
    triplets = []
    for a in range(len(rows)):

        def far(n: int, a: int = a) -> float:
            return math.dist(rows[a], rows[n])

        if labels:
            same = [p for p in range(len(rows)) if p != a and names[p] == names[a] >= 0]
            positives = [max(same, key=far)] if same else []
        else:
            positives = [(a + shift * count) % len(rows) for shift in range(1, views)]
        others = [n for n in range(len(rows)) if groups[n] != groups[a]]
        if labels:
            others = [n for n in others if names[n] != names[a] and min(names[n], names[a]) >= 0]
        else:
            assert all(ids[p] == ids[a] for p in positives)
        for p in positives:
            beyond = [n for n in others if far(n) > far(p)]
            if semi and others:
                triplets.append((a, p, min(beyond, key=far) if beyond else max(others, key=far)))
            elif others:
                triplets.append((a, p, min(others, key=far)))
    return triplets


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("negatives", ["semi_hard", "hard"])
@pytest.mark.parametrize("form", FORMS)
def test_the_batch_gives_the_triplets_of_the_loops(views, labels, negatives, form) -> None:
    """Six samples in three groups and three labels, one of them unknown."""
    embeddings = gathered(views)
    samples = Samples(torch.arange(6) * 5, torch.arange(6) // 2, torch.tensor([0, 1, 0, 1, -1, 2]))
    triplets = listed(embeddings, samples, labels=labels, semi=negatives == "semi_hard")
    rows = F.normalize(torch.cat(embeddings.outputs), dim=1)
    a, p, n = (rows[torch.tensor(column)] for column in zip(*triplets, strict=True))
    expected = slow_triplet_margin(a, p, n[:, None], 0.2, form)
    assert value(embeddings, samples, labels=labels, negatives=negatives, form=form) == pytest.approx(
        expected, rel=1e-9
    )


@pytest.mark.parametrize("labels", [False, True])
def test_labels_are_asked_for_only_by_option(labels) -> None:
    objective = Triplet(TinyBackbone(), labels=labels, **SMALL)
    assert objective.needs_labels is labels
    assert objective.takes_mined


@pytest.mark.parametrize("choice", CHOICES)
def test_rows_of_one_group_are_no_negatives(choice) -> None:
    """All samples are frames of one video: there is nothing to differ from."""
    samples = Samples(torch.arange(6), torch.zeros(6, dtype=torch.int64), torch.arange(6))
    assert value(gathered(), samples, negatives=choice) == 0.0
    assert value(gathered(), samples, negatives=choice, labels=True) == 0.0
    assert value(gathered(), samples, all_triplets=True) == 0.0


def mined_neighbours(count: int, seed: int, *, weights: torch.Tensor | None = None) -> Neighbours:
    generator = torch.Generator().manual_seed(seed)
    rows = F.normalize(torch.randn(6, count, 4, generator=generator, dtype=torch.float64), dim=2)
    weights = torch.ones(6, count) if weights is None else weights
    return Neighbours(rows, torch.arange(6 * count).view(6, count) + 100, weights)


@pytest.mark.parametrize("form", ["squared_distance", "distance"])
def test_mined_negatives_take_the_place_of_the_batch_with_their_weights(form) -> None:
    embeddings, weights = gathered(), torch.rand(6, 3).round(decimals=1)
    mined = Mined(mined_neighbours(3, 1, weights=weights))
    first, second = (F.normalize(output, dim=1) for output in embeddings.outputs)
    anchors, positives = torch.cat([first, second]), torch.cat([second, first])
    expected = slow_triplet_margin(
        anchors, positives, mined.negatives.embeddings.repeat(2, 1, 1), 0.2, form, weights.repeat(2, 1)
    )
    ours = value(embeddings, Samples.of(torch.arange(6)), mined, form=form)
    assert ours == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("with_negatives", [True, False])
def test_mined_positives_come_on_top_of_the_other_view(with_negatives) -> None:
    embeddings, samples = gathered(), Samples.of(torch.arange(6))
    negatives, positives = mined_neighbours(3, 1), mined_neighbours(2, 2)
    rows = F.normalize(torch.cat(embeddings.outputs), dim=1)
    total, count = 0.0, 0
    for a in range(12):
        near = [rows[(a + 6) % 12], *positives.embeddings[a % 6]]
        for p in near:
            others = negatives.embeddings[a % 6] if with_negatives else rows[torch.arange(12) % 6 != a % 6]
            far = [math.dist(rows[a], n) for n in others]
            total += sum(slow_value(math.dist(rows[a], p), d, 0.2, "distance") for d in far if with_negatives)
            total += 0 if with_negatives else slow_value(math.dist(rows[a], p), min(far), 0.2, "distance")
            count += len(far) if with_negatives else 1
    mined = Mined(negatives if with_negatives else None, positives)
    ours = value(embeddings, samples, mined, form="distance", negatives="hard")
    assert ours == pytest.approx(total / count, rel=1e-9)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("form", ["squared_distance", "distance", "squared_hinge", "ratio"])
def test_all_triplets_are_every_anchor_positive_and_negative(labels, form) -> None:
    embeddings = gathered()
    names = torch.tensor([0, 1, 0, 1, -1, 2])
    samples = Samples(torch.arange(6), torch.arange(6) // 2 * 2, names)
    rows = F.normalize(torch.cat(embeddings.outputs), dim=1)
    own = (names if labels else samples.ids).repeat(2).tolist()
    groups = samples.groups.repeat(2).tolist()
    triplets = [
        (a, p, n)
        for a in range(12)
        for p in range(12)
        for n in range(12)
        if a != p and own[a] == own[p] != own[n] and groups[a] != groups[n] and min(own[a], own[n]) >= 0
    ]
    a, p, n = (rows[torch.tensor(column)] for column in zip(*triplets, strict=True))
    expected = slow_triplet_margin(a, p, n[:, None], 0.2, form)
    ours = value(embeddings, samples, labels=labels, form=form, all_triplets=True)
    assert ours == pytest.approx(expected, rel=1e-9)


def test_what_is_logged_is_the_active_share_and_plain_distances() -> None:
    embeddings, samples = gathered(), Samples.of(torch.arange(6))
    triplets = listed(embeddings, samples, labels=False, semi=False)
    rows = F.normalize(torch.cat(embeddings.outputs), dim=1)
    a, p, n = (rows[torch.tensor(column)] for column in zip(*triplets, strict=True))
    near, far = (a - p).norm(dim=1), (a - n).norm(dim=1)
    terms = Triplet(TinyBackbone(), negatives="hard", **SMALL).loss(embeddings, samples).terms
    assert {name: float(term) for name, term in terms.items()} == pytest.approx(
        {
            "active_share": float((0.2 + near**2 - far**2 > 0).double().mean()),
            "positive_distance": float(near.mean()),
            "negative_distance": float(far.mean()),
        }
    )


@pytest.mark.parametrize("choice", ["random", "distance_weighted"])
def test_drawn_negatives_change_with_the_step_and_the_state_knows_the_step(choice) -> None:
    embeddings, samples = gathered(rows=20), Samples.of(torch.arange(20))
    objective = Triplet(TinyBackbone(), negatives=choice, form="soft", **SMALL)
    first = [float(objective.loss(embeddings, samples).loss) for _ in range(2)]
    state = copy.deepcopy(objective.state_dict())
    objective.after_step(TinyBackbone(), 0.5)
    second = float(objective.loss(embeddings, samples).loss)
    assert first[0] == first[1] != second
    resumed = Triplet(TinyBackbone(), negatives=choice, form="soft", **SMALL)
    resumed.load_state_dict(state)
    assert float(resumed.loss(embeddings, samples).loss) == first[0]
    resumed.load_state_dict(objective.state_dict())
    assert float(resumed.loss(embeddings, samples).loss) == second


VARIANTS = [
    *({"negatives": choice} for choice in CHOICES),
    *({"form": form} for form in FORMS[1:]),
    {"labels": True, "negatives": "hard", "form": "soft"},
    {"mean": "active", "normalize": False, "margin": 1.0},
    {"all_triplets": True, "form": "distance"},
    {"all_triplets": True, "labels": True, "mean": "active"},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_triplet_keeps_the_objective_contract(options) -> None:
    check_objective(lambda backbone: Triplet(backbone, **SMALL, **options))


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"negatives": "distance_weighted"}, [5, 4, 3]),
        ({"labels": True}, [6, 6]),
        ({"all_triplets": True}, [5, 4, 3]),
    ],
)
def test_n_ranks_are_one_rank(options, sizes) -> None:
    one = one_rank_step(Triplet, SMALL | options, rows=12)
    many = many_ranks_step(Triplet, SMALL | options, sizes=sizes)
    assert many.loss == pytest.approx(one.loss, rel=1e-10)
    assert many.gradients.keys() == one.gradients.keys()
    for name, gradient in many.gradients.items():
        torch.testing.assert_close(gradient, one.gradients[name], rtol=1e-8, atol=1e-10)


GOLDEN = {
    "semi_hard": [0.5594371, 0.5251598, 0.2641765, 0.1915158],
    "distance_weighted": [0.5408121, 0.4620078, 0.1650675, 0.1735219],
}


@pytest.mark.parametrize("choice", GOLDEN)
def test_triplet_golden_losses(choice) -> None:
    """The first steps of a fixed run; a change here changes what every recipe trains."""
    losses = first_losses(lambda backbone: Triplet(backbone, margin=1.0, negatives=choice, **SMALL))
    assert [losses[i] for i in (0, 1, 9, 19)] == pytest.approx(GOLDEN[choice], rel=2e-3)  # rounding grows


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -0.1}, "must be >= 0"),
        ({"margin": math.inf}, "must be >= 0"),
        ({"form": "soft", "margin": 0.2}, "no margin"),
        ({"form": "soft", "all_triplets": True}, "sorting"),
        ({"form": "cubed"}, "squared_distance"),
        ({"mean": "median"}, "active"),
        ({"negatives": "semihard"}, "semi_hard"),
        ({"negatives": "distance_weighted", "normalize": False}, "normalize=true"),
        ({"cutoff": 1.5}, "cutoff"),
    ],
)
def test_bad_options_are_refused(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        Triplet(TinyBackbone(), **SMALL, **options)


def test_the_function_refuses_unknown_names() -> None:
    rows = torch.randn(3, 4, 2)
    with pytest.raises(UnknownNameError, match="ratio"):
        triplet_margin(*rows, form="ratios")


@pytest.mark.parametrize("options", [{"normalize": False}, {"all_triplets": True}])
def test_mined_neighbours_are_refused_where_they_cannot_be_used(options) -> None:
    with pytest.raises(ConfigError, match="mined neighbours"):
        value(gathered(), Samples.of(torch.arange(6)), Mined(mined_neighbours(2, 0)), **options)


def test_one_view_needs_labels() -> None:
    with pytest.raises(ConfigError, match=r"objective\.labels=true"):
        Triplet(TinyBackbone(), **SMALL).embed(TinyBackbone(), example_views(1))
    objective = Triplet(TinyBackbone(), labels=True, **SMALL)
    embeddings = objective.embed(TinyBackbone(), example_views(1))
    assert objective.loss(embeddings, Samples.of(torch.arange(12), torch.arange(12) % 4)).loss > 0


def test_labels_where_there_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="no sample of the batch has a label"):
        value(gathered(), Samples.of(torch.arange(6)), labels=True)


@pytest.mark.parametrize("options", [{}, {"negatives": "distance_weighted"}, {"all_triplets": True}])
def test_broken_embeddings_make_the_loss_nan_and_never_zero(options) -> None:
    embeddings = gathered()
    for broken in (embeddings.outputs[0][:1], torch.cat(embeddings.outputs)):
        outputs = tuple(output.clone() for output in embeddings.outputs)
        for output in outputs if len(broken) > 1 else outputs[:1]:
            output[: len(broken)] = torch.nan
        loss = value(Embeddings(outputs[0], outputs), Samples.of(torch.arange(6)), **options)
        assert math.isnan(loss)
