"""RetinaNet's assignment, loss and decoding."""

import dataclasses
import math

import pytest
import torch
from torchvision.ops import box_iou

from sslkit.contracts import Meta, Objects
from sslkit_detection.heads.retinanet import RetinaNet
from sslkit_detection.losses import BACKGROUND, NEITHER

SMALL = {"channels": 16, "extra": "none", "anchor_scale": 2.0}


def slow_loss(raw, targets, gamma, alpha, beta):
    """Lin et al. 2017, sections 3 and 4.1, anchor by anchor."""
    judged, regressed, positives = 0.0, 0.0, 0
    for logits, deltas, target in zip(raw.logits.double(), raw.deltas.double(), targets, strict=True):
        ious = box_iou(target.boxes.double(), raw.anchors.double())
        best_anchors = {
            (k, a) for k in range(len(target)) for a in range(len(raw.anchors)) if ious[k, a] == ious[k].max()
        }
        for a, anchor in enumerate(raw.anchors.double().tolist()):
            best = int(ious[:, a].argmax())
            positive = ious[best, a] >= 0.5 or any((k, a) in best_anchors for k in range(len(target)))
            if not positive and ious[best, a] >= 0.4:
                continue
            for k, logit in enumerate(logits[a].tolist()):
                yes = positive and k == int(target.labels[best])
                p = 1 / (1 + math.exp(-logit))
                p_t, alpha_t = (p, alpha) if yes else (1 - p, 1 - alpha)
                judged -= alpha_t * (1 - p_t) ** gamma * math.log(p_t)
            if positive:
                positives += 1
                width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
                left, top, right, bottom = target.boxes[best].tolist()
                wanted = (
                    ((left + right) / 2 - (anchor[0] + anchor[2]) / 2) / width,
                    ((top + bottom) / 2 - (anchor[1] + anchor[3]) / 2) / height,
                    math.log((right - left) / width),
                    math.log((bottom - top) / height),
                )
                for value, want in zip(deltas[a].tolist(), wanted, strict=True):
                    gap = abs(value - want)
                    regressed += gap**2 / (2 * beta) if gap < beta else gap - beta / 2
    return judged / positives, regressed / positives


@pytest.mark.parametrize(("gamma", "alpha", "beta"), [(2.0, 0.25, 1 / 9), (0.5, 0.75, 1.0)])
def test_the_loss_is_the_papers(build, targets, gamma, alpha, beta) -> None:
    head, features = build(RetinaNet, **SMALL, gamma=gamma, alpha=alpha, beta=beta)
    raw = head(features)
    raw = dataclasses.replace(raw, logits=torch.randn_like(raw.logits), deltas=torch.randn_like(raw.deltas))
    losses = head.loss(raw, targets)
    judged, regressed = slow_loss(raw, targets, gamma, alpha, beta)
    assert losses["classification"].item() == pytest.approx(judged, rel=1e-4)
    assert losses["boxes"].item() == pytest.approx(regressed, rel=1e-4)


def test_before_training_every_class_has_its_prior_probability(build) -> None:
    head, features = build(RetinaNet, **SMALL, prior=0.02)
    assert torch.sigmoid(head(features).logits).mean().item() == pytest.approx(0.02, rel=0.1)


def test_every_object_has_an_anchor_even_where_none_fits(build, targets) -> None:
    head, features = build(RetinaNet, **SMALL)
    thin = Objects(torch.tensor([[10.0, 10, 11, 60]]), torch.tensor([0]))
    counts = head.positives(head(features), [targets[0], thin])
    assert [own.tolist() and min(own.tolist()) >= 1 for own in counts] == [True, True]
    assert len(head.anchor_table().splitlines()) == 1 + 3


def test_anchors_on_a_crowd_are_neither_object_nor_background(build) -> None:
    head, features = build(RetinaNet, **SMALL)
    anchors = head(features).anchors
    crowd = Objects(torch.tensor([[0.0, 0, 32, 64]]), torch.tensor([1]), crowd=torch.tensor([True]))
    objects, classes, _ = head._assigned(anchors, crowd)
    inside = (anchors[:, 0] >= 0) & (anchors[:, 1] >= 0) & (anchors[:, 2] <= 32) & (anchors[:, 3] <= 64)
    assert len(objects) == 0
    assert (classes[inside] == NEITHER).all()
    assert (classes[anchors[:, 0] >= 32] == BACKGROUND).all()


@pytest.mark.parametrize("empty", [Objects.none(), Objects(torch.zeros(1, 4), torch.tensor([0]))])
def test_a_batch_without_objects_is_learnt_by_every_parameter(build, empty) -> None:
    head, features = build(RetinaNet, **SMALL)
    losses = head.loss(head(features), [empty, empty])
    assert losses["boxes"] == 0
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def one_box(raw, box, label, score):
    """Raw outputs that say nothing but one object at every anchor, torchvision's coder inverted."""
    anchors, box = raw.anchors, torch.tensor([box])
    sides, wanted = anchors[:, 2:] - anchors[:, :2], box[:, 2:] - box[:, :2]
    shift = ((box[:, :2] + box[:, 2:]) - (anchors[:, :2] + anchors[:, 2:])) / 2 / sides
    logits = torch.full_like(raw.logits, -20.0)
    logits[:, :, label] = math.log(score / (1 - score))
    deltas = torch.cat([shift, (wanted / sides).log()], dim=1).expand(len(logits), -1, -1)
    return dataclasses.replace(raw, logits=logits, deltas=deltas)


def test_decoding_gives_one_box_of_many_in_pixels_of_the_original(build) -> None:
    head, features = build(RetinaNet, **SMALL)
    raw = one_box(head(features), [10.0, 8, 60, 36], label=2, score=0.7)
    whole, small = head.decode(raw, features.metas)
    assert (len(whole), len(small)) == (1, 1)  # the others overlap it
    torch.testing.assert_close(whole.boxes, torch.tensor([[10.0, 8, 60, 36]]), atol=1e-3, rtol=0)
    # The second image is 48 x 40 on its canvas and was twice as large.
    torch.testing.assert_close(small.boxes, torch.tensor([[20.0, 16, 96, 72]]), atol=1e-3, rtol=0)
    assert whole.labels.tolist() == [2]
    assert whole.scores.item() == pytest.approx(0.7, abs=1e-4)


def test_boxes_in_the_padding_are_no_predictions(build) -> None:
    head, features = build(RetinaNet, **SMALL)
    whole, small = head.decode(one_box(head(features), [50.0, 8, 60, 36], 0, 0.7), features.metas)
    assert (len(whole), len(small)) == (1, 0)


def test_ties_are_decided_the_same_way_every_time(build) -> None:
    head, features = build(RetinaNet, **SMALL, candidates=7, detections=5, nms_threshold=1.0)
    raw = dataclasses.replace(head(features), logits=torch.zeros_like(head(features).logits))
    first, again = head.decode(raw, features.metas), head.decode(raw, features.metas)
    swapped = dataclasses.replace(raw, logits=raw.logits.flip(0), deltas=raw.deltas.flip(0))
    other = head.decode(swapped, features.metas[::-1])[::-1]
    for mine, same, moved in zip(first, again, other, strict=True):
        assert len(mine) <= 5
        assert torch.equal(mine.boxes, same.boxes)
        assert torch.equal(mine.boxes, moved.boxes)
        assert torch.equal(mine.labels, same.labels)


def test_rare_classes_weigh_more(build, targets) -> None:
    head, features = build(RetinaNet, **SMALL, class_weights="inverse", counts=(1, 10, 10))
    plain, _ = build(RetinaNet, **SMALL)
    raw = head(features)
    judge = head.judge(raw.logits[0], torch.zeros(len(raw.anchors), dtype=torch.int64)).sum(0)
    base = plain.judge(raw.logits[0], torch.zeros(len(raw.anchors), dtype=torch.int64)).sum(0)
    torch.testing.assert_close(judge / base, torch.tensor([7.0, 0.7, 0.7]))


def test_the_share_of_easy_background_falls_with_the_focal_loss(build, targets) -> None:
    shares = []
    for kind in ("cross_entropy", "focal"):
        head, features = build(RetinaNet, **SMALL, classification=kind, alpha=None)
        shares.append(head.easy_negative_share(head(features), targets))
    assert shares[0] > 5 * shares[1]


def test_an_original_of_another_shape_than_the_canvas_bounds_its_boxes(build) -> None:
    head, features = build(RetinaNet, **SMALL, score_threshold=0.0)
    meta = Meta(0, "", (33, 90), (22, 60), (64, 64))
    boxes = torch.cat([found.boxes for found in head.decode(head(features), [meta, meta])])
    assert len(boxes)
    assert (boxes >= 0).all()
    assert (boxes <= torch.tensor([90.0, 33, 90, 33])).all()
