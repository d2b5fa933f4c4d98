"""Faster R-CNN without a pyramid: where it looks, and what a region goes through."""

import pytest
import torch

from sslkit.contracts import FeatureInfo, Objects, Task
from sslkit.errors import ConfigError
from sslkit_detection.heads.faster_rcnn_c4 import FasterRCNNC4

SMALL = {"sizes": (24.0, 48.0), "proposals": 50, "region_batch": 32, "width": 32}
INFO = FeatureInfo(("c4", "c5"), (6, 8), (16, 32), 8, 32, (0.5,) * 3, (0.5,) * 3)


def test_anchors_of_all_sizes_stand_around_every_cell_of_the_first_map(build) -> None:
    head, features = build(FasterRCNNC4, **SMALL)
    raw = head(features)
    first, stride = features.maps[0].values, features.maps[0].stride
    assert stride == 16
    expected = []
    for row in range(first.shape[2]):
        for column in range(first.shape[3]):
            for ratio in (0.5, 1.0, 2.0):
                for size in (24.0, 48.0):
                    height, width = size * ratio**0.5, size / ratio**0.5
                    x, y = stride * (column + 0.5), stride * (row + 0.5)
                    expected.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    found = {tuple(row) for row in raw.anchors.round().tolist()}
    # torchvision rounds the corners of one cell's boxes.
    near = torch.cdist(raw.anchors, torch.tensor(expected), p=float("inf"))
    assert len(raw.anchors) == len(expected) == len(found)
    assert near.min(dim=1).values.max() <= 0.5
    assert near.min(dim=0).values.max() <= 0.5


def test_proposals_depend_on_the_first_map_and_verdicts_on_the_last(build) -> None:
    head, features = build(FasterRCNNC4, **SMALL, score_threshold=0.0)
    head.eval()
    raw = head(features)
    judged = raw.maps[0].values.clone()
    assert [level.stride for level in raw.maps] == [features.maps[-1].stride]
    for place in (0, len(features.maps) - 1):
        before = features.maps[place].values.clone()
        features.maps[place].values.mul_(-1)
        other = head(features)
        changed = other.maps[0].values.clone()
        features.maps[place].values.copy_(before)
        assert torch.equal(raw.objectness, other.objectness) == (place > 0)
        assert torch.equal(judged, changed) == (place == 0)


def test_without_blocks_a_region_is_the_normed_mean_of_its_cells() -> None:
    torch.manual_seed(0)
    head = FasterRCNNC4(INFO, Task("boxes", ("cat", "dog"), (64, 64)), blocks=0, width=8)
    regions = torch.randn(5, 8, 7, 7)
    mean, spread = regions.mean(dim=(0, 2, 3)), regions.var(dim=(0, 2, 3), unbiased=False)
    normal = (regions - mean[:, None, None]) / (spread[:, None, None] + 1e-5).sqrt()
    torch.testing.assert_close(head.regions.box_head(regions), normal.mean(dim=(2, 3)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_no_region_at_all_is_learnt_by_every_parameter_and_leaves_the_norms(build, training) -> None:
    head, features = build(FasterRCNNC4, **SMALL)
    head.train(training)
    buffers = {name: value.clone() for name, value in head.named_buffers()}
    everywhere = Objects(
        torch.tensor([[-99.0, -99, 199, 199]]), torch.tensor([0]), crowd=torch.tensor([True])
    )
    losses = head.loss(head(features), [everywhere, everywhere])
    assert all(loss == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    for name, value in head.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            assert value.equal(buffers[name]), name


def test_a_region_of_no_possible_width_is_refused() -> None:
    task = Task("boxes", ("cat", "dog"), (64, 64))
    with pytest.raises(ConfigError, match=r"width=30 and blocks=1 .* a multiple of 4, such as 2048"):
        FasterRCNNC4(INFO, task, width=30)
    with pytest.raises(ConfigError, match="or 0 with the 8 channels of the map"):
        FasterRCNNC4(INFO, task, blocks=0, width=16)
