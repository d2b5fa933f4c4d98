"""What a head said, summed up again on resamples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sslkit.contracts import ClassLabel, Figures, Meta, SemanticMap
from sslkit.runs.judged_head import JudgedHead
from tests.runs.tiny_head import Accuracy


class Counting:
    """Stands for a head: its metric is the accuracy."""

    def metrics(self) -> Accuracy:
        return Accuracy()


def meta(id: int, view: int = 0) -> Meta:
    return Meta(id, f"{id}.png", (8, 8), (8, 8), (8, 8), view)


def judged(count: int = 6) -> JudgedHead:
    found = JudgedHead(Counting())  # type: ignore[arg-type]
    for id in reversed(range(count)):  # whatever the order they come in
        found.add(meta(id), ClassLabel(id % 3), ClassLabel(id % 2))
    return found


def test_figures_of_all_samples_are_the_metrics_own() -> None:
    right = [id % 3 == id % 2 for id in range(6)]
    assert judged().figures().figures["accuracy"] == pytest.approx(np.mean(right))
    assert judged().predicted.tolist() == [0, 1, 2, 0, 1, 2]  # type: ignore[union-attr]
    assert judged().count == 6


def test_a_sample_that_is_drawn_twice_counts_twice() -> None:
    rows = np.array([0, 0, 0, 2])  # right, right, right, wrong
    assert judged().figures(rows).figures == pytest.approx(
        {"accuracy": 0.75, "judged": 4, "of nothing": float("nan")}, nan_ok=True
    )


def test_the_views_of_a_sample_stay_together() -> None:
    found = JudgedHead(Counting())  # type: ignore[arg-type]
    for id, views in ((0, (1, 1)), (1, (0, 1))):
        for view, said in enumerate(views):
            found.add(meta(id, view), ClassLabel(said), ClassLabel(1))
    assert found.count == 2
    assert found.figures(np.array([1, 1, 0])).figures["judged"] == 3


class Right:
    """Counts what is right, and is glad to count a sample twice."""

    adds_up = True
    updates = 0

    def __init__(self) -> None:
        self.right = self.count = 0

    def update(self, ids: Any, predictions: Any, targets: Any) -> None:
        Right.updates += len(ids)
        self.count += len(ids)
        self.right += sum(said.label == true.label for said, true in zip(predictions, targets, strict=True))

    def merge(self, other: Right) -> None:
        self.count += other.count
        self.right += other.right

    def compute(self) -> Figures:
        return Figures({"accuracy": self.right / self.count, "judged": self.count})


class Adding:
    """Stands for a head whose metric adds up."""

    def metrics(self) -> Right:
        return Right()


def test_a_metric_that_adds_up_looks_at_each_sample_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Right, "updates", 0)
    slow, quick = judged(), JudgedHead(Adding())  # type: ignore[arg-type]
    for id in range(6):
        quick.add(meta(id), ClassLabel(id % 3), ClassLabel(id % 2))
    for seed in range(20):
        rows = np.random.default_rng(seed).integers(0, 6, 6)
        assert quick.figures(rows).figures["accuracy"] == slow.figures(rows).figures["accuracy"]
    assert quick.figures().figures["accuracy"] == slow.figures().figures["accuracy"]
    assert Right.updates == 12  # once all together, once each alone


def test_more_than_fits_is_not_kept_and_not_resampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslkit.runs.judged_head.MOST_BYTES", 100)
    found = JudgedHead(Counting())  # type: ignore[arg-type]
    for id in range(4):
        found.add(meta(id), SemanticMap(torch.zeros(8, 8, dtype=torch.uint8)), ClassLabel(0))
    assert not found.whole
    assert found.count == 0
    assert found.predicted is None
