"""The k-NN probe against the paper in plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sslkit.errors import ConfigError, DataError
from sslkit.evaluation import knn
from sslkit.evaluation.knn import knn_classify, knn_leave_one_out


def features(count: int, dim: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def slow(
    train: Tensor, labels: list[int], query: Tensor, k: int, temperature: float, classes: int, own: int = -1
) -> list[float]:
    """Wu et al. 2018, section 3.4, in float64: shares of the votes of one query."""
    similarities = []
    for row, vector in enumerate(train.double()):
        cosine = float(vector @ query.double() / (vector.norm() * query.double().norm()))
        if row != own:
            similarities.append((-cosine, row))
    votes = [0.0] * classes
    for negative, row in sorted(similarities)[:k]:
        votes[labels[row]] += math.exp(-negative / temperature)
    return [vote / sum(votes) for vote in votes]


@pytest.fixture(params=[(512, 4096), (7, 11), (40, 5)], ids=["one block", "ragged blocks", "k over block"])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, bank = request.param
    monkeypatch.setattr(knn, "_QUERIES", queries)
    monkeypatch.setattr(knn, "_BANK", bank)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (9, 0.07), (9, 1.0), (60, 0.1)])
def test_votes_equal_the_paper_in_plain_loops(k: int, temperature: float) -> None:
    train, test, labels = features(60), features(25, seed=1), torch.arange(60) * 7 % 6
    votes = knn_classify(train, labels, test, k=k, temperature=temperature, classes=6)
    for row, query in enumerate(test):
        expected = torch.tensor(slow(train, labels.tolist(), query, k, temperature, 6))
        torch.testing.assert_close(votes.shares[row], expected[votes.ranking[row]], atol=1e-4, rtol=1e-3)
        assert votes.ranking[row, 0] == expected.argmax()


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("k", [1, 10, 39])
def test_leave_one_out_excludes_a_row_from_its_own_neighbours(k: int) -> None:
    rows, labels = features(40), torch.arange(40) % 4
    votes = knn_leave_one_out(rows, labels, k=k, temperature=0.1, classes=4)
    for row, query in enumerate(rows):
        expected = torch.tensor(slow(rows, labels.tolist(), query, k, 0.1, 4, own=row))
        torch.testing.assert_close(votes.shares[row], expected[votes.ranking[row]], atol=1e-4, rtol=1e-3)


def test_leave_one_out_keeps_an_identical_twin() -> None:
    rows = features(4).repeat(2, 1)  # row i and row i + 4 are equal, nothing else is near
    votes = knn_leave_one_out(rows, torch.arange(8) % 4, k=1, temperature=0.1, classes=4)
    assert votes.ranking[:, 0].tolist() == [0, 1, 2, 3] * 2


@pytest.mark.usefixtures("_blocks")
def test_equal_similarities_go_to_the_earlier_row() -> None:
    # One-hot rows give similarities of exactly 0 or 1: every row after the first is tied.
    train = torch.eye(30)
    labels = torch.arange(30) % 15
    votes = knn_classify(train, labels, torch.eye(30)[:1], k=4, temperature=1.0, classes=15)
    assert votes.ranking[0].tolist() == [0, 1, 2, 3, 4]  # rows 0..3 vote, then class 4 with no vote at all
    assert votes.shares[0, 4] == 0


def test_equal_votes_go_to_the_lower_class() -> None:
    train = torch.ones(4, 3)
    votes = knn_classify(train, torch.tensor([3, 1, 2, 0]), train[:1], k=4, temperature=0.1, classes=4)
    assert votes.ranking[0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("temperature", [1e-4, 0.01])
def test_a_small_temperature_does_not_overflow(temperature: float) -> None:
    train, labels = features(30), torch.arange(30) % 3
    votes = knn_classify(train, labels, features(10, seed=1), k=20, temperature=temperature, classes=3)
    assert votes.shares.isfinite().all()
    torch.testing.assert_close(votes.shares.sum(dim=1), torch.ones(10))


def test_scaling_embeddings_changes_nothing() -> None:
    train, labels, test = features(30), torch.arange(30) % 3, features(10, seed=1)
    one = knn_classify(train, labels, test, k=5, temperature=0.1, classes=3)
    other = knn_classify(train * 64, labels, test / 64, k=5, temperature=0.1, classes=3)
    torch.testing.assert_close(one.shares, other.shares)


def test_it_agrees_with_lightly() -> None:
    knn_module = pytest.importorskip("lightly.utils.benchmarking.knn_classifier")
    predict = pytest.importorskip("lightly.utils.benchmarking").knn_predict
    assert knn_module
    train, test, labels = features(300), features(80, seed=1), torch.arange(300) % 7
    unit = torch.nn.functional.normalize
    theirs = predict(unit(test), unit(train).T, labels, num_classes=7, knn_k=20, knn_t=0.1)
    ours = knn_classify(train, labels, test, k=20, temperature=0.1, classes=7)
    assert (theirs[:, 0] == ours.ranking[:, 0]).all()


def test_more_neighbours_than_samples_is_refused_with_both_numbers() -> None:
    rows, labels = features(10), torch.zeros(10, dtype=torch.int64)
    with pytest.raises(ConfigError, match=r"k=11 .*10 training"):
        knn_classify(rows, labels, rows, k=11, temperature=0.1, classes=1)
    with pytest.raises(ConfigError, match=r"k=10 .*9 training"):
        knn_leave_one_out(rows, labels, k=10, temperature=0.1, classes=1)


def test_bad_temperature_labels_widths_and_values_are_refused() -> None:
    rows, labels = features(10), torch.arange(10) % 2
    with pytest.raises(ConfigError, match="temperature=0"):
        knn_classify(rows, labels, rows, k=1, temperature=0, classes=2)
    with pytest.raises(DataError, match=r"5 of 10 labels are outside 0\.\.0"):
        knn_classify(rows, labels, rows, k=1, temperature=0.1, classes=1)
    with pytest.raises(DataError, match="widths"):
        knn_classify(rows, labels, features(3, dim=5), k=1, temperature=0.1, classes=2)
    broken = rows.clone()
    broken[3, 0] = torch.nan
    with pytest.raises(DataError, match="1 of 10 embeddings are not finite"):
        knn_classify(broken, labels, rows, k=1, temperature=0.1, classes=2)
    with pytest.raises(DataError, match="not finite"):
        knn_classify(rows, labels, broken, k=1, temperature=0.1, classes=2)
