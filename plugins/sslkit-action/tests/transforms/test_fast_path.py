"""The fast pathway: few channels, all frames, and links that stride along time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sslkit_action.transforms.fast_path import FastPathway, Lateral


def slow_twin(clips: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Section 3.3, third transformation: of every slow frame, the weighted sum of the fast ones around."""
    count, _, frames, height, width = clips.shape
    kernel = weight.shape[2]
    starts = range(0, frames, stride)
    result = torch.zeros(count, weight.shape[0], len(starts), height, width, dtype=clips.dtype)
    for place, start in enumerate(starts):
        for tap in range(kernel):
            frame = start + tap - kernel // 2
            if 0 <= frame < frames:  # beyond the clip it sees zeros
                for row in range(height):
                    for column in range(width):
                        seen = clips[:, :, frame, row, column]
                        result[:, :, place, row, column] += seen @ weight[:, :, tap].T
    return result


@pytest.mark.parametrize(
    ("frames", "kernel", "stride"), [(8, 5, 4), (7, 5, 4), (9, 3, 2), (3, 5, 1), (1, 5, 8)]
)
def test_a_link_is_a_strided_convolution_along_time(frames: int, kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    link = Lateral(3, 6, kernel=kernel, stride=stride).double()
    torch.nn.init.normal_(link.convolution.weight)
    clips = torch.randn(2, 3, frames, 2, 3, dtype=torch.float64)
    found = link(clips)
    assert found.shape[2] == -(-frames // stride)
    torch.testing.assert_close(found, slow_twin(clips, link.convolution.weight[..., 0, 0], stride))


def test_a_link_adds_nothing_at_first() -> None:
    assert not Lateral(3, 6, kernel=5, stride=4)(torch.randn(1, 3, 8, 2, 2)).any()


@pytest.mark.parametrize("strides", [(2, 4, 8), (4, 8, 16), (1, 2, 2), (14, 14, 14), (16, 32)])
@pytest.mark.parametrize("size", [(64, 96), (61, 83)])
def test_every_frame_has_a_map_of_the_stride_of_the_slow_one(
    strides: tuple[int, ...], size: tuple[int, int]
) -> None:
    widths = (4, 6, 8)[: len(strides)]
    maps = FastPathway(3, widths, strides, depth=1).eval()(torch.randn(1, 3, 5, *size))
    for values, width, stride in zip(maps, widths, strides, strict=True):
        assert values.shape == (1, width, 5, -(-size[0] // stride), -(-size[1] // stride))


def test_every_stage_looks_at_neighbouring_frames() -> None:
    torch.manual_seed(0)
    path = FastPathway(3, (4, 6), (2, 4), depth=2).eval()
    clips = torch.randn(1, 3, 24, 16, 16)
    moved = clips.clone()
    moved[:, :, 12] += 1
    reach = []
    for before, after in zip(path(clips), path(moved), strict=True):
        changed = (before != after).any(dim=(0, 1, 3, 4)).nonzero()[:, 0]
        reach.append((int(changed.min()), int(changed.max())))
    assert reach == [(10, 14), (8, 16)]  # five frames at the stem, then three in each of two blocks


def test_depth_is_the_blocks_of_each_stage_after_the_first() -> None:
    path = FastPathway(3, (4, 6, 8), (2, 4, 8), depth=3)
    assert [len(stage) for stage in path.stages][1:] == [3, 3]  # type: ignore[arg-type]
