"""Mask R-CNN: its masks on the way in and out, their loss, and the contract of heads."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from sslkit.contracts import Meta, Objects, Task, seen_by
from sslkit.models.task_model import TaskModel
from sslkit.testing.backbones import TinyBackbone
from sslkit.testing.head_checks import head_checks
from sslkit_detection.heads.faster_rcnn import FasterRCNNRaw
from sslkit_segmentation.heads.mask_rcnn import MaskMetrics, MaskRCNN, cells, pasted

SIDE = 64
TASK = Task("masks", ("cat", "dog", "cow"), (SIDE, SIDE))


@pytest.mark.parametrize("check", head_checks(MaskRCNN))
def test_it_conforms(check: Callable[[], None]) -> None:
    check()


def built(**options: int) -> tuple[MaskRCNN, FasterRCNNRaw, tuple[Meta, ...]]:
    """A small head and what it says of two images, the second smaller than its canvas."""
    torch.manual_seed(0)
    backbone = TinyBackbone().eval()
    head = MaskRCNN(
        seen_by(MaskRCNN.spec, backbone.info),
        TASK,
        channels=16, extra="none", anchor_scale=3.0, width=16, mask_width=8, canonical=64.0, proposals=20,
        **options,
    ).eval()  # fmt: skip
    metas = (
        Meta(0, "whole", (SIDE, SIDE), (SIDE, SIDE), (SIDE, SIDE)),
        Meta(1, "small", (80, 96), (40, 48), (SIDE, SIDE)),
    )
    model = TaskModel(backbone, head, mode="frozen")
    return head, head(model.features(torch.randn(2, 3, SIDE, SIDE), metas)), metas


def blob(seed: int, left: int, top: int, side: int = 28) -> torch.Tensor:
    """A mask (SIDE, SIDE) with random pixels in a square."""
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    drawn = torch.rand(side, side, generator=torch.Generator().manual_seed(seed)) > 0.5
    mask[top : top + side, left : left + side] = drawn
    return mask


def test_the_loss_of_masks_is_the_papers_of_the_true_class_alone() -> None:
    head, raw, _ = built()
    # No proposals: regions are the objects, of 28 pixels, so that a cell of a mask is a pixel.
    raw = replace(raw, proposals=tuple(own[:0] for own in raw.proposals))
    boxes = [torch.tensor([[4.0, 6, 32, 34], [30, 30, 58, 58]]), torch.tensor([[10.0, 3, 38, 31]])]
    labels = [torch.tensor([0, 2]), torch.tensor([1])]
    masks = [torch.stack([blob(0, 4, 6), blob(1, 30, 30)]), blob(2, 10, 3)[None]]
    targets = [Objects(*parts, masks=own) for *parts, own in zip(boxes, labels, masks, strict=True)]
    logits = head._masks(raw, boxes).double()
    total, count, region = 0.0, 0, 0
    for own, label, shapes in zip(boxes, labels, masks, strict=True):
        for (left, top, _, _), k, mask in zip(own.int().tolist(), label.tolist(), shapes, strict=True):
            for row in range(28):
                for column in range(28):
                    p = 1 / (1 + math.exp(-logits[region, k, row, column].item()))
                    total -= math.log(p if mask[top + row, left + column] else 1 - p)
                    count += 1
            region += 1
    assert count == 3 * 28 * 28
    assert head.loss(raw, targets)["masks"].item() == pytest.approx(total / count, rel=1e-4)


def test_a_crowd_teaches_no_mask() -> None:
    head, raw, _ = built()
    raw = replace(raw, proposals=tuple(own[:0] for own in raw.proposals))
    one = Objects(torch.tensor([[4.0, 6, 32, 34]]), torch.tensor([0]), masks=blob(0, 4, 6)[None])
    crowd = Objects(
        torch.cat([one.boxes, torch.tensor([[20.0, 20, 60, 60]])]),
        torch.tensor([0, 1]),
        masks=torch.stack([blob(0, 4, 6), blob(3, 25, 25)]),
        crowd=torch.tensor([False, True]),
    )
    assert head.loss(raw, [one, one])["masks"] == head.loss(raw, [crowd, crowd])["masks"]


def test_a_region_learns_the_part_of_a_mask_that_it_shows() -> None:
    # Fine samples of every cell, as the paper's figure shows RoIAlign, decide what most of it is.
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(40) + 0.5, indexing="ij")
    disc = (rows - 18) ** 2 + (columns - 22) ** 2 < 140
    boxes = torch.tensor([[10.0, 6, 34, 30]]) + 8 * torch.rand(6, 4, generator=generator)
    found = cells(torch.stack([~disc, disc]), boxes, torch.tensor([1] * 6), 7)
    fine = (torch.arange(7 * 40) + 0.5) / 40 / 7
    for (left, top, right, bottom), mask in zip(boxes.tolist(), found, strict=True):
        y = (top + fine * (bottom - top)).long()
        x = (left + fine * (right - left)).long()
        share = disc[y[:, None], x].float().view(7, 40, 7, 40).mean(dim=(1, 3))
        clear = (share - 0.5).abs() > 0.15  # roi_align samples between pixels
        assert clear.float().mean() > 0.8
        assert torch.equal(mask[clear] > 0.5, share[clear] > 0.5)


def test_a_mask_is_pasted_as_interpolation_by_hand_says() -> None:
    generator = torch.Generator().manual_seed(0)
    shares = torch.rand(1, 5, 5, generator=generator)
    box = torch.tensor([[3.3, -0.0, 17.9, 11.2]])
    (found,) = pasted(shares, box, (10, 20))
    left, top, right, bottom = box[0].tolist()
    for row in range(10):
        for column in range(20):
            v, u = (row + 0.5 - top) / (bottom - top), (column + 0.5 - left) / (right - left)
            inside = 0 < v < 1 and 0 < u < 1
            y, x = min(max(v * 5 - 0.5, 0), 4), min(max(u * 5 - 0.5, 0), 4)
            r, c = min(int(y), 3), min(int(x), 3)
            a, b = y - r, x - c
            near = shares[0, r : r + 2, c : c + 2].tolist()
            value = (1 - a) * ((1 - b) * near[0][0] + b * near[0][1])
            value += a * ((1 - b) * near[1][0] + b * near[1][1])
            assert bool(found[row, column]) == (inside and value > 0.5), (row, column)


@pytest.mark.parametrize("radius", [3, 8, 25])
def test_a_mask_comes_back_as_it_went(radius: int) -> None:
    rows, columns = torch.meshgrid(torch.arange(80) + 0.5, torch.arange(80) + 0.5, indexing="ij")
    disc = (rows - 40.2) ** 2 + (columns - 39.7) ** 2 < radius**2
    ys, xs = torch.where(disc)
    box = torch.tensor([[xs.min() - 0.3, ys.min() + 0.1, xs.max() + 1.2, ys.max() + 1.4]])
    (back,) = pasted(cells(disc[None], box, torch.tensor([0]), 28), box, (80, 80))
    assert ((back & disc).sum() / (back | disc).sum()).item() > 0.95


def test_boxes_without_a_pixel_have_empty_masks() -> None:
    boxes = torch.tensor([[5.0, 5, 5, 9], [30, 30, 31, 31], [4.6, 4.6, 5.4, 5.4]])
    masks = pasted(torch.ones(3, 28, 28), boxes, (20, 20))
    assert masks.shape == (3, 20, 20)
    assert not masks.any()
    assert pasted(torch.ones(0, 28, 28), boxes[:0], (20, 20)).shape == (0, 20, 20)


def test_masks_are_those_of_the_original_inside_their_boxes() -> None:
    head, raw, metas = built(detections=5)
    torch.nn.init.constant_(head.mask_predictor.mask_fcn_logits.bias, 9.0)  # all inside
    for found, meta in zip(head.decode(raw, metas), metas, strict=True):
        assert found.masks is not None
        assert found.masks.dtype == torch.bool
        assert found.masks.shape == (len(found), *meta.original)
        assert len(found) > 0
        for (left, top, right, bottom), mask in zip(found.boxes.tolist(), found.masks, strict=True):
            expected = torch.zeros(meta.original, dtype=torch.bool)
            # From the first to the last pixel whose centre is in the box.
            expected[round(top) : round(bottom), round(left) : round(right)] = True
            assert (mask != expected).sum() <= 2 * sum(meta.original) * 0.02


def test_the_mask_of_a_class_is_its_own() -> None:
    head, raw, metas = built(detections=5)
    bias = head.mask_predictor.mask_fcn_logits.bias
    with torch.no_grad():
        head.mask_predictor.mask_fcn_logits.weight.zero_()
        bias.copy_(torch.tensor([-9.0, 9.0, -9.0]))
    for found in head.decode(raw, metas):
        assert found.masks is not None
        shown = found.masks.flatten(1).any(dim=1)
        large = (found.boxes[:, 2:] - found.boxes[:, :2]).min(dim=1).values > 1
        assert torch.equal(shown[large], (found.labels == 1)[large])


def test_boxes_that_fit_do_not_make_masks_right() -> None:
    box, label, score = torch.tensor([[4.0, 4, 24, 24]]), torch.tensor([0]), torch.tensor([0.9])
    whole, part = (torch.zeros(1, 30, 30, dtype=torch.bool) for _ in range(2))
    whole[:, 4:24, 4:24] = True
    part[:, 4:24, 4:12] = True  # 40 % of it
    target = Objects(box, label, masks=whole)
    both = {}
    for name, mask in (("right", whole), ("wrong", part)):
        metric = MaskMetrics(TASK.classes)
        metric.update([0], [Objects(box, label, score, masks=mask)], [target])
        both[name] = metric.compute()
    assert both["right"].figures["mask AP50"] == pytest.approx(1)
    assert both["right"].per_class["cat"] == pytest.approx(1)
    assert both["wrong"].figures["mask AP50"] == 0
    assert both["wrong"].figures["AP50"] == pytest.approx(1)


def test_the_examples_masks_fill_their_boxes_and_show_their_shapes() -> None:
    batch = MaskRCNN.example_batch(3).batch
    filled: dict[str, list[float]] = {"square": [], "disc": [], "cross": []}
    for target in batch.targets:
        assert isinstance(target, Objects)
        assert target.masks is not None
        for box, label, mask in zip(target.boxes, target.labels.tolist(), target.masks, strict=True):
            ys, xs = torch.where(mask)
            assert [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] == box.tolist()
            area = (box[2:] - box[:2]).prod()
            filled[list(filled)[label]].append(float(mask.sum() / area))
    assert min(filled["square"]) == 1
    assert filled["disc"] == pytest.approx([math.pi / 4] * len(filled["disc"]), abs=0.04)
    assert filled["cross"] == pytest.approx([5 / 9] * len(filled["cross"]), abs=0.06)


def test_masks_are_drawn_below_boxes_and_weak_ones_not_at_all() -> None:
    head, _, _ = built()
    image = np.full((SIDE, SIDE, 3), 100, np.uint8)
    masks = torch.stack([blob(0, 30, 30), blob(1, 2, 30)])
    shown = Objects(
        torch.tensor([[30.0, 30, 58, 58], [2.0, 30, 30, 58]]),
        torch.tensor([0, 1]),
        torch.tensor([0.9, 0.1]),
        masks=masks,
    )
    drawn = head.draw(image, shown)
    inner = np.zeros((SIDE, SIDE), bool)
    inner[50:56, 34:56] = True  # away from the edge and from the name
    changed = (drawn != image).any(axis=2)
    assert np.array_equal(changed[inner], masks[0].numpy()[inner])
    assert not changed[32:56, 4:28].any()
    assert (image == 100).all()
