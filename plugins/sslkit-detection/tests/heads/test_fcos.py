"""FCOS's assignment, loss and decoding."""

import dataclasses
import math

import pytest
import torch

from sslkit.contracts import Objects
from sslkit_detection.heads.fcos import FCOS, centredness
from sslkit_detection.losses import BACKGROUND, NEITHER

SMALL = {"channels": 16, "extra": "none"}


def slow_matches(cells, counts, target, radius):
    """Tian et al. 2019, sections 3.1 and 3.2, with the sampling around middles of its journal version."""
    matched, levels = [], [level for level, count in enumerate(counts) for _ in range(count)]
    for (left, top, right, bottom), level in zip(cells.tolist(), levels, strict=True):
        x, y, stride = (left + right) / 2, (top + bottom) / 2, right - left
        least, most = 4 * stride * (level > 0), math.inf if level == len(counts) - 1 else 8 * stride
        fits = []
        for place, (x0, y0, x1, y1) in enumerate(target.boxes.tolist()):
            sides = (x - x0, y - y0, x1 - x, y1 - y)
            near = max(abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2)) < radius * stride
            if near and min(sides) > 0 and least < max(sides) < most:
                fits.append(((x1 - x0) * (y1 - y0), place))
        matched.append(min(fits)[1] if fits else BACKGROUND)
    return matched


@pytest.mark.parametrize("radius", [1.0, 1.5])
def test_points_learn_the_smallest_object_of_their_scale_around_them(build, targets, radius) -> None:
    head, features = build(FCOS, **SMALL, centre_radius=radius)
    raw = head(features)
    nested = Objects(
        torch.tensor([[2.0, 2, 62, 62], [10, 10, 40, 40], [12, 20, 30, 36]]), torch.tensor([0, 1, 2])
    )
    for target in (*targets, nested):
        _, classes, matched = head._assigned(raw, target)
        assert matched.tolist() == slow_matches(raw.cells, raw.counts, target, radius)
        learnt = matched >= 0
        assert learnt.any()
        assert torch.equal(classes[learnt], target.labels[matched[learnt]])


def test_the_loss_of_boxes_is_that_of_generalised_iou_and_of_centredness_cross_entropy(
    build, targets
) -> None:
    head, features = build(FCOS, **SMALL)
    raw = head(features)
    raw = dataclasses.replace(raw, distances=2 * torch.rand_like(raw.distances) + 0.1)
    boxes_loss, centred_loss, count = 0.0, 0.0, 0
    for sample, target in enumerate(targets):
        _, _, matched = head._assigned(raw, target)
        for point in torch.where(matched >= 0)[0].tolist():
            left, top, right, bottom = raw.cells[point].tolist()
            x, y, stride = (left + right) / 2, (top + bottom) / 2, right - left
            l, t, r, b = (raw.distances[sample, point] * stride).tolist()  # noqa: E741
            box, (x0, y0, x1, y1) = (x - l, y - t, x + r, y + b), target.boxes[matched[point]].tolist()
            inner = max(0, min(box[2], x1) - max(box[0], x0)) * max(0, min(box[3], y1) - max(box[1], y0))
            union = (l + r) * (t + b) + (x1 - x0) * (y1 - y0) - inner
            hull = (max(box[2], x1) - min(box[0], x0)) * (max(box[3], y1) - min(box[1], y0))
            boxes_loss += 1 - (inner / union - (hull - union) / hull)
            across, down = sorted((x - x0, x1 - x)), sorted((y - y0, y1 - y))
            wanted = math.sqrt(across[0] / across[1] * down[0] / down[1])
            p = torch.sigmoid(raw.centredness[sample, point]).item()
            centred_loss -= wanted * math.log(p) + (1 - wanted) * math.log(1 - p)
            count += 1
    losses = head.loss(raw, targets)
    assert losses["boxes"].item() == pytest.approx(boxes_loss / count, rel=1e-4)
    assert losses["centredness"].item() == pytest.approx(centred_loss / count, rel=1e-4)


def test_centredness_is_one_in_the_middle_and_falls_to_the_sides() -> None:
    distances = torch.tensor([[3.0, 5, 3, 5], [1, 5, 4, 5], [1, 1, 4, 4]])
    assert centredness(distances).tolist() == pytest.approx([1, 0.5, 0.25])


def test_decoding_multiplies_class_and_centredness_and_clips_to_the_image(build) -> None:
    head, features = build(FCOS, **SMALL)
    raw = head(features)
    point = 27  # row 3, column 3 of the level of stride 8: its middle is (28, 28)
    logits, distances = torch.full_like(raw.logits, -20.0), torch.zeros_like(raw.distances)
    logits[:, point, 1], distances[:, point] = math.log(0.8 / 0.2), torch.tensor([1.0, 2, 3, 2])
    raw = dataclasses.replace(
        raw, logits=logits, distances=distances, centredness=torch.zeros_like(raw.centredness)
    )
    whole, small = head.decode(raw, features.metas)
    torch.testing.assert_close(whole.boxes, torch.tensor([[20.0, 12, 52, 44]]))
    torch.testing.assert_close(small.boxes, torch.tensor([[40.0, 24, 96, 80]]))
    assert whole.labels.tolist() == [1]
    assert whole.scores.item() == pytest.approx(math.sqrt(0.8 * 0.5), abs=1e-4)


def test_a_batch_without_objects_is_learnt_by_every_parameter_and_crowds_are_no_background(build) -> None:
    head, features = build(FCOS, **SMALL)
    raw = head(features)
    losses = head.loss(raw, [Objects.none(), Objects.none()])
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    crowd = Objects(torch.tensor([[0.0, 0, 64, 64]]), torch.tensor([1]), crowd=torch.tensor([True]))
    assert (head._assigned(raw, crowd)[1] == NEITHER).all()
    assert head.positives(raw, [crowd, crowd])[0].tolist() == []
