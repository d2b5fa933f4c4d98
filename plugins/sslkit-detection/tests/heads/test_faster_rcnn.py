"""Faster R-CNN: proposals, regions and their losses."""

import dataclasses
import math

import pytest
import torch

from sslkit.contracts import Objects
from sslkit_detection.heads.faster_rcnn import FasterRCNN

SMALL = {
    "channels": 16,
    "extra": "none",
    "anchor_scale": 3.0,
    "width": 32,
    "canonical": 64.0,
    "proposals": 50,
}


def test_the_loss_of_proposals_is_the_papers_where_every_anchor_is_drawn(build, targets) -> None:
    head, features = build(FasterRCNN, **SMALL, anchor_batch=100_000)
    raw = head(features)
    generator = torch.Generator().manual_seed(0)
    raw = dataclasses.replace(
        raw,
        objectness=torch.randn(raw.objectness.shape, generator=generator),
        deltas=torch.randn(raw.deltas.shape, generator=generator),
    )
    judged, regressed, count = 0.0, 0.0, 0
    truth, boxes = head.proposer.assign_targets_to_anchors(
        [raw.anchors] * 2, [{"boxes": target.boxes} for target in targets]
    )
    for sample in range(2):
        for a, star in enumerate(truth[sample].tolist()):
            if star < 0:
                continue
            count += 1
            p = torch.sigmoid(raw.objectness[sample, a].double()).item()
            judged -= math.log(p) if star else math.log(1 - p)
            if star:
                ax0, ay0, ax1, ay1 = raw.anchors[a].tolist()
                x0, y0, x1, y1 = boxes[sample][a].tolist()
                wanted = (
                    (x0 + x1 - ax0 - ax1) / 2 / (ax1 - ax0),
                    (y0 + y1 - ay0 - ay1) / 2 / (ay1 - ay0),
                    math.log((x1 - x0) / (ax1 - ax0)),
                    math.log((y1 - y0) / (ay1 - ay0)),
                )
                for value, want in zip(raw.deltas[sample, a].tolist(), wanted, strict=True):
                    gap = abs(value - want)
                    regressed += 4.5 * gap**2 if gap < 1 / 9 else gap - 1 / 18
    losses = head.loss(raw, targets)
    assert losses["objectness"].item() == pytest.approx(judged / count, rel=1e-4)
    assert losses["proposals"].item() == pytest.approx(regressed / count, rel=1e-3)


def test_two_boxes_of_two_regions_give_the_loss_worked_out_by_hand(build) -> None:
    head, features = build(FasterRCNN, **SMALL)
    boxes = torch.tensor([[8.0, 8, 40, 40], [20, 30, 60, 60]])
    target = Objects(boxes, torch.tensor([2, 0]))
    raw = dataclasses.replace(head(features), proposals=(torch.zeros(0, 4), torch.zeros(0, 4)))
    with torch.no_grad():  # the same answer for every region: logits (0, 1, 2, 3), all codes 0.2
        for layer in (head.regions.box_predictor.cls_score, head.regions.box_predictor.bbox_pred):
            layer.weight.zero_()
        head.regions.box_predictor.cls_score.bias.copy_(torch.arange(4.0))
        head.regions.box_predictor.bbox_pred.bias.fill_(0.2)
    losses = head.loss(raw, [target, Objects.none()])
    total = math.log(sum(math.exp(k) for k in range(4)))
    # The objects themselves are the only regions: labels 3 and 1 inside, wanted codes 0, four of each.
    assert losses["classification"].item() == pytest.approx(((total - 3) + (total - 1)) / 2, rel=1e-5)
    assert losses["boxes"].item() == pytest.approx(2 * 4 * (0.2 - 1 / 18) / 2, rel=1e-5)


def test_background_is_private(build) -> None:
    head, features = build(FasterRCNN, **SMALL, score_threshold=0.0)
    with torch.no_grad():
        head.regions.box_predictor.cls_score.weight.zero_()
        head.regions.box_predictor.cls_score.bias.copy_(torch.tensor([9.0, 0.0, 0.0, 5.0]))
    whole, _ = head.decode(head(features), features.metas)
    assert whole.labels[0] == 2
    assert whole.labels.min() >= 0
    assert whole.labels.max() <= 2
    assert whole.scores[0].item() == pytest.approx(math.exp(5) / (math.exp(9) + math.exp(5) + 2), rel=1e-3)


@pytest.mark.parametrize("training", [True, False])
def test_a_batch_of_nothing_or_of_crowds_is_learnt_by_every_parameter(build, training) -> None:
    head, features = build(FasterRCNN, **SMALL)
    head.train(training)
    everywhere = Objects(
        torch.tensor([[-99.0, -99, 199, 199]]), torch.tensor([0]), crowd=torch.tensor([True])
    )
    for nothing in (Objects.none(), everywhere):
        head.zero_grad()
        losses = head.loss(head(features), [nothing, nothing])
        assert all(loss.isfinite() for loss in losses.values())
        assert losses["boxes"] == losses["proposals"] == 0
        sum(losses.values()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    assert losses["objectness"] == losses["classification"] == 0  # under a crowd nothing is background


def test_proposals_are_the_best_of_each_level_and_then_of_all(build) -> None:
    head, features = build(FasterRCNN, **{**SMALL, "candidates": 4, "proposals": 6})
    raw, again = head(features), head(features)
    for sample, proposals in enumerate(raw.proposals):
        assert len(proposals) <= 6
        assert torch.equal(proposals, again.proposals[sample])
        assert not proposals.requires_grad
    # The second image is 48 x 40.
    assert (raw.proposals[1] <= torch.tensor([48.0, 40, 48, 40])).all()


def test_predictions_carry_their_proposals_into_the_figures(build, targets) -> None:
    head, features = build(FasterRCNN, **SMALL)
    raw = dataclasses.replace(head(features), proposals=(targets[0].boxes, torch.tensor([[0.0, 0, 2, 2]])))
    predictions = head.decode(raw, features.metas)
    # Those of the second image are twice as large in its original.
    assert predictions[1].proposals.tolist() == [[0, 0, 4, 4]]
    metric = head.metrics()
    metric.update([0, 1], predictions, targets)
    figures = metric.compute().figures
    assert figures["proposal recall@100"] == pytest.approx(2 / 3)
    assert "AP50" in figures


def test_classes_weigh_and_background_does_not(build) -> None:
    head, _ = build(FasterRCNN, **SMALL, class_weights="inverse", counts=(1, 2, 3))
    assert head.weights.tolist() == pytest.approx([1, 2, 1, 2 / 3])
