"""All triplets by sorting against all triplets in plain loops, in value, gradient and cost."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sslkit.errors import UnknownNameError
from sslkit.pairwise import all_triplets as module
from sslkit.pairwise.all_triplets import all_triplets, all_triplets_margin

FORMS = ["squared_distance", "distance", "squared_hinge", "ratio"]


def slow_all_triplets(rows, labels, margin, form, mean, groups=None) -> float:
    """Every triplet by itself in Python floats."""

    def hinge(near, far) -> float:
        if form == "squared_distance":
            return max(0.0, margin + near**2 - far**2)
        if form == "squared_hinge":
            return max(0.0, margin + near - far) ** 2
        if form == "ratio":
            return max(0.0, 1 - far / (near + margin))
        return max(0.0, margin + near - far)

    rows, labels = rows.tolist(), labels.tolist()
    groups = list(range(len(rows))) if groups is None else groups.tolist()
    values = []
    for a in range(len(rows)):
        for p in range(len(rows)):
            if p == a or labels[p] != labels[a]:
                continue
            near = math.dist(rows[a], rows[p])
            for n in range(len(rows)):
                if labels[n] != labels[a] and groups[n] != groups[a]:
                    values.append(hinge(near, math.dist(rows[a], rows[n])))
    kept = [value for value in values if value > 0] if mean == "active" else values
    return sum(kept) / max(1, len(kept))


def listed_all_triplets(rows, labels, margin, form, mean) -> torch.Tensor:
    """The same with torch's own gradient and a list of triplets."""
    distances = torch.linalg.vector_norm(rows[:, None] - rows[None, :], dim=2)
    same = labels[:, None] == labels[None, :]
    positive = same & ~torch.eye(len(rows), dtype=torch.bool)
    a, p, n = (positive[:, :, None] & ~same[:, None, :]).nonzero().unbind(1)
    near, far = distances[a, p], distances[a, n]
    hinge = {
        "squared_distance": lambda: F.relu(margin + near**2 - far**2),
        "distance": lambda: F.relu(margin + near - far),
        "squared_hinge": lambda: F.relu(margin + near - far) ** 2,
        "ratio": lambda: F.relu(1 - far / (near + margin)),
    }[form]()
    return hinge.sum() / (hinge > 0).sum().clamp(min=1) if mean == "active" else hinge.mean()


LABELS = {
    "two of each": lambda n: torch.arange(n) // 2,
    "shuffled": lambda n: torch.randint(0, 3, (n,)),
    "one large class": lambda n: (torch.arange(n) > n - 4).long() * torch.arange(n),
    "negative numbers": lambda n: torch.arange(n) % 4 - 7,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mean", ["all", "active"])
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize(("count", "width", "margin"), [(3, 1, 0.2), (12, 2, 0.05), (17, 8, 1.5)])
def test_all_triplets_are_those_of_the_loops(form, mean, labels, count, width, margin) -> None:
    torch.manual_seed(count)
    rows, names = torch.randn(count, width, dtype=torch.float64), LABELS[labels](count)
    ours = float(all_triplets_margin(rows, names, margin=margin, form=form, mean=mean))
    assert ours == pytest.approx(slow_all_triplets(rows, names, margin, form, mean), rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mean", ["all", "active"])
@pytest.mark.parametrize("at_once", [2**20, 40])
def test_the_gradient_is_that_of_the_list_of_triplets(form, mean, at_once, monkeypatch) -> None:
    """The second size cuts 16 anchors into tiles of two."""
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    torch.manual_seed(0)
    rows, labels = torch.randn(16, 4, dtype=torch.float64), torch.randint(0, 4, (16,))
    given, listed = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    value = all_triplets_margin(given, labels, margin=0.3, form=form, mean=mean)
    expected = listed_all_triplets(listed, labels, 0.3, form, mean)
    (3 * value).backward()
    (3 * expected).backward()
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(given.grad, listed.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_duplicates_and_ties_count_like_any_other(form) -> None:
    """Whole numbers on a small grid: many equal distances, equal rows within and across labels."""
    torch.manual_seed(0)
    rows = torch.randint(0, 3, (20, 2)).double().requires_grad_()
    labels = torch.randint(0, 3, (20,))
    value = all_triplets_margin(rows, labels, margin=0.5, form=form)
    value.backward()
    expected = slow_all_triplets(rows.detach(), labels, 0.5, form, "all")
    assert float(value.detach()) == pytest.approx(expected, rel=1e-10)
    assert rows.grad.isfinite().all()


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_a_group_are_never_negatives_of_each_other(form) -> None:
    torch.manual_seed(0)
    rows, labels = torch.randn(14, 3, dtype=torch.float64), torch.arange(14) // 2
    groups = torch.arange(14) // 4
    ours = all_triplets(rows, labels, margin=0.4, form=form, groups=groups)
    expected = slow_all_triplets(rows, labels, 0.4, form, "all", groups)
    assert float(ours.loss) == pytest.approx(expected, rel=1e-10)
    assert expected != pytest.approx(slow_all_triplets(rows, labels, 0.4, form, "all"))


def test_what_is_logged_is_counted_over_the_same_triplets() -> None:
    torch.manual_seed(0)
    rows, labels = torch.randn(9, 3, dtype=torch.float64), torch.arange(9) % 3
    found = all_triplets(rows, labels, margin=0.1, form="squared_distance")
    distances = torch.cdist(rows, rows)
    same = labels[:, None] == labels
    pairs = same & ~torch.eye(9, dtype=torch.bool)
    hinges = 0.1 + distances.square()[:, :, None] - distances.square()[:, None, :]
    chosen = pairs[:, :, None] & ~same[:, None, :]
    assert float(found.active_share) == pytest.approx(float((hinges[chosen] > 0).double().mean()))
    assert float(found.positive_distance) == pytest.approx(float(distances[pairs].mean()))
    assert float(found.negative_distance) == pytest.approx(float(distances[~same].mean()))


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]])
@pytest.mark.parametrize("mean", ["all", "active"])
def test_without_any_triplet_the_loss_is_zero_with_a_gradient_of_zero(labels, mean) -> None:
    rows = torch.randn(4, 3, requires_grad=True)
    loss = all_triplets_margin(rows, torch.tensor(labels), margin=0.2, mean=mean)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert not rows.grad.any()


@pytest.mark.parametrize("form", FORMS)
def test_equal_rows_everywhere_lose_the_margin_with_a_finite_gradient(form) -> None:
    rows = torch.ones(8, 4, requires_grad=True)
    loss = all_triplets_margin(rows, torch.arange(8) % 2, margin=0.2, form=form)
    loss.backward()
    assert float(loss.detach()) == pytest.approx({"squared_hinge": 0.04, "ratio": 1.0}.get(form, 0.2))
    assert not rows.grad.any()


def test_a_broken_row_is_seen_even_where_it_is_in_no_triplet() -> None:
    rows = torch.randn(5, 3)
    rows[4] = torch.nan
    assert all_triplets_margin(rows, torch.tensor([0, 0, 1, 1, 2]), margin=0.2).isnan()


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_under_autocast_is_computed_in_single(form) -> None:
    torch.manual_seed(0)
    labels = torch.arange(24) % 6
    half = F.normalize(torch.randn(24, 16), dim=1).bfloat16().requires_grad_()
    exact = half.detach().double().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = all_triplets_margin(half, labels, margin=0.2, form=form)
    loss.backward()
    expected = all_triplets_margin(exact, labels, margin=0.2, form=form)
    expected.backward()
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    torch.testing.assert_close(half.grad.double(), exact.grad, rtol=1e-2, atol=1e-5)


def test_more_triplets_than_fit_32_bits_are_counted() -> None:
    """2 x 1300 x 1299 x 1300 = 4.4e9 triplets, half of them active by symmetry."""
    torch.manual_seed(0)
    rows = torch.randn(2600, 1)
    found = all_triplets(rows, torch.arange(2600) % 2, margin=0.0, form="distance")
    assert float(found.active_share) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("option", "value"), [("form", "soft"), ("mean", "median")])
def test_unknown_names_are_refused(option, value) -> None:
    with pytest.raises(UnknownNameError, match=value):
        all_triplets_margin(torch.randn(4, 2), torch.arange(4) % 2, margin=0.1, **{option: value})
