"""One object an image."""

import dataclasses

import pytest
import torch

from sslkit.contracts import Meta, Objects
from sslkit.errors import ConfigError
from sslkit_detection.heads.localisation import Localisation, LocalisationMetrics, LocalisationRaw, largest

SMALL = {"grid": 2, "width": 16}


def test_the_largest_object_that_is_no_crowd_is_learnt() -> None:
    boxes = torch.tensor([[0.0, 0, 5, 5], [0, 0, 9, 9], [0, 0, 50, 50]])
    target = Objects(boxes, torch.tensor([0, 1, 2]), crowd=torch.tensor([False, False, True]))
    assert largest(target).labels.tolist() == [1]
    assert len(largest(Objects.none())) == 0


@pytest.mark.parametrize(("kind", "expected"), [("l2", 0.01 * 4), ("smooth_l1", 4 * (0.1 - 0.01))])
def test_the_loss_is_of_shares_of_the_real_image(build, kind, expected) -> None:
    head, _ = build(Localisation, **SMALL, box_loss=kind, beta=0.02, box_weight=2.0)
    wanted = torch.tensor([[0.2, 0.3, 0.6, 0.7], [0.1, 0.1, 0.5, 0.5]])
    sides = torch.tensor([[64.0] * 4, [48, 40, 48, 40]])
    raw = LocalisationRaw(torch.zeros(2, 3), wanted + 0.1, sides)
    targets = [Objects((wanted * sides)[[row]], torch.tensor([row])) for row in range(2)]
    losses = head.loss(raw, targets)
    assert losses["boxes"].item() == pytest.approx(2 * expected, rel=1e-4)
    assert losses["classification"].item() == pytest.approx(torch.log(torch.tensor(3.0)).item())
    alone = head.loss(raw, [targets[0], Objects.none()])
    assert alone["boxes"].item() == pytest.approx(2 * expected, rel=1e-4)  # a mean over images with an object


def test_decoding_gives_one_box_in_the_original_whichever_corner_comes_first(build) -> None:
    head, features = build(Localisation, **SMALL)
    raw = head(features)
    boxes = torch.tensor([[0.5, 0.25, 0.25, 0.75], [0.0, 0.0, 1.5, 0.5]])
    raw = dataclasses.replace(raw, logits=torch.tensor([[0.0, 9, 0], [9, 0, 0]]), boxes=boxes)
    whole, small = head.decode(raw, features.metas)
    assert whole.boxes.tolist() == [[16, 16, 32, 48]]
    assert small.boxes.tolist() == [[0, 0, 96, 40]]
    assert (whole.labels.tolist(), small.labels.tolist()) == ([1], [0])


def test_padding_is_not_looked_at(build) -> None:
    head, features = build(Localisation, **SMALL)
    (level,) = features.maps
    loud = level.values.clone()
    loud[1, :, 2:], loud[1, :, :, 2:] = 99.0, 99.0  # the second image ends inside the second cell
    changed = dataclasses.replace(features, maps=(dataclasses.replace(level, values=loud),))
    near = dataclasses.replace(features.metas[1], valid=(level.stride, level.stride))
    metas = (features.metas[0], near)
    first = head(dataclasses.replace(features, metas=metas))
    second = head(dataclasses.replace(changed, metas=metas))
    torch.testing.assert_close(first.logits, second.logits)


def test_nothing_to_learn_is_a_finite_zero_with_gradients(build) -> None:
    head, features = build(Localisation, **SMALL)
    losses = head.loss(head(features), [Objects.none(), Objects.none()])
    assert sum(losses.values()) == 0
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in head.parameters())


def test_the_error_counts_wrong_classes_and_wrong_boxes() -> None:
    target = Objects(torch.tensor([[0.0, 0, 10, 10], [0, 0, 2, 2]]), torch.tensor([0, 1]))

    def said(box: list[float], label: int) -> Objects:
        return Objects(torch.tensor([box]), torch.tensor([label]), torch.tensor([0.9]))

    right, half = said([0, 0, 10, 6], 0), said([0, 0, 10, 5], 0)  # an IoU of 0.5 is not above 0.5
    metric, other = LocalisationMetrics(("a", "b")), LocalisationMetrics(("a", "b"))
    metric.update([0, 1], [right, half], [target, target])
    other.update([2, 3], [said([0, 0, 10, 10], 1), right], [target, Objects.none()])
    metric.merge(other)
    assert metric.compute().figures["localisation error"] == pytest.approx(2 / 3)


def test_an_unknown_box_loss_is_refused(build) -> None:
    with pytest.raises(ConfigError, match="not one of smooth_l1, l2"):
        build(Localisation, box_loss="l3")


def test_a_meta_of_another_size_scales_the_box(build) -> None:
    head, _ = build(Localisation, **SMALL)
    raw = LocalisationRaw(
        torch.zeros(1, 3), torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[32.0, 16, 32, 16]])
    )
    (found,) = head.decode(raw, [Meta(0, "", (160, 320), (16, 32), (64, 64))])
    assert found.boxes.tolist() == [[0, 0, 320, 160]]
