"""How many objects proposals cover."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import pytest
import torch

from sslkit.contracts import Objects
from sslkit.errors import DataError
from sslkit_detection.metrics.proposals import ProposalRecall

Scene = Callable[..., tuple[list[int], list[Objects], list[Objects]]]


def slow_recall(predictions: list[Objects], targets: list[Objects], most: int, least: float) -> float:
    wanted = covered = 0
    for one, target in zip(predictions, targets, strict=True):
        assert one.scores is not None
        assert target.crowd is not None
        ranks = sorted(range(len(one)), key=lambda row: -float(one.scores[row]))[:most]  # type: ignore[index]
        for box, crowd in zip(target.boxes.tolist(), target.crowd.tolist(), strict=True):
            if crowd:
                continue
            wanted += 1
            for row in ranks:
                other = one.boxes[row].tolist()
                width = max(0.0, min(box[2], other[2]) - max(box[0], other[0]))
                height = max(0.0, min(box[3], other[3]) - max(box[1], other[1]))
                union = (box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1])
                if width * height / (union - width * height) >= least:
                    covered += 1
                    break
    return covered / wanted


@pytest.mark.parametrize("seed", range(4))
def test_recall_equals_plain_loops(seed: int, scene: Scene) -> None:
    ids, predictions, targets = scene(seed)
    metric = ProposalRecall(at=(3, 20), iou=0.7)
    metric.update(ids, predictions, targets)
    figures = metric.compute().figures
    expected = [slow_recall(predictions, targets, most, 0.7) for most in (3, 20)]
    assert list(figures) == ["proposal recall@3", "proposal recall@20"]
    assert list(figures.values()) == pytest.approx(expected, abs=1e-12)
    assert 0 < expected[0] < expected[1] < 1


def test_labels_do_not_count_and_without_scores_the_order_does() -> None:
    boxes = torch.tensor([[0.0, 0, 5, 5], [10, 10, 20, 20]])
    target = Objects(boxes[1:], torch.tensor([4]))
    metric = ProposalRecall(at=(1, 2))
    metric.update([0], [Objects(boxes, torch.tensor([0, 0]))], [target])
    assert metric.compute().figures == {"proposal recall@1": 0.0, "proposal recall@2": 1.0}


def test_parts_merge_to_the_whole_and_no_sample_counts_twice(scene: Scene) -> None:
    ids, predictions, targets = scene(1)
    whole, first, second = ProposalRecall(), ProposalRecall(), ProposalRecall()
    whole.update(ids, predictions, targets)
    first.update(ids[:5], predictions[:5], targets[:5])
    second.update(ids[5:], predictions[5:], targets[5:])
    merged = pickle.loads(pickle.dumps(second))
    merged.merge(first)
    assert merged.compute() == whole.compute()
    with pytest.raises(DataError, match="added twice"):
        merged.merge(first)
    with pytest.raises(DataError, match="added twice"):
        whole.update(ids[:1], predictions[:1], targets[:1])


def test_nothing_to_cover_is_nan_and_no_proposal_covers_nothing() -> None:
    nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    metric = ProposalRecall(at=(10,))
    metric.update([0], [nothing], [Objects.none()])
    assert math.isnan(metric.compute().figures["proposal recall@10"])
    metric.update([1], [nothing], [Objects(torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([0]))])
    assert metric.compute().figures == {"proposal recall@10": 0.0}
