"""Groups of frames become their mean, or one packed row; a group may be short."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from sslkit.contracts import ClipRows
from sslkit_inflation.pacing import FrameMean, Packing


def noise(frames: int) -> Tensor:
    return torch.randn(2, frames, 3, 4, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("frames", "stride"), [(6, 2), (7, 2), (7, 3), (1, 2), (2, 5)])
def test_a_group_becomes_the_mean_of_the_frames_that_are_there(frames: int, stride: int) -> None:
    clips = noise(frames)
    rows, other = FrameMean(ClipRows(2), stride)(nn.Identity(), (clips.flatten(0, 1), "kept"))
    expected = [
        [torch.stack([clip[t] for t in range(first, min(first + stride, frames))]).mean(dim=0)
         for first in range(0, frames, stride)]
        for clip in clips
    ]  # fmt: skip
    torch.testing.assert_close(rows, torch.stack([mean for clip in expected for mean in clip]))
    assert other == "kept"


def test_an_unfinished_group_waits_while_streaming() -> None:
    clips, rows = noise(7), ClipRows(2, history={})
    mean = FrameMean(rows, 3)
    given = [mean(nn.Identity(), (clips[:, t],))[0] for t in range(7)]
    assert [len(one) for one in given] == [0, 0, 2, 0, 0, 2, 0]
    torch.testing.assert_close(given[5], clips[:, 3:6].mean(dim=1))


class Echo(nn.Module):
    """Gives what it gets, twice over if asked."""

    def forward(self, rows: Tensor, times: int = 1) -> Tensor:
        """The rows."""
        return rows * times


@pytest.mark.parametrize(("zero", "filled"), [(True, 0.0), (False, 1.0)])
def test_packed_frames_lie_one_behind_the_other_in_the_channels(zero: bool, filled: float) -> None:
    clips = noise(5)
    packing = Packing(Echo(), "forward", ClipRows(2), 2, zero=zero)
    rows = packing(clips.flatten(0, 1), times=2).unflatten(0, (2, 3))
    assert rows.shape == (2, 3, 6, 4, 5)
    torch.testing.assert_close(rows[:, 1], 2 * clips[:, 2:4].flatten(1, 2))
    torch.testing.assert_close(rows[:, 2, 3:], 2 * filled * clips[:, 4])


def test_a_copy_packs_for_the_copy() -> None:
    network = Echo()
    network.forward = Packing(network, "forward", ClipRows(1), 2, zero=False)  # type: ignore[method-assign]
    twin = copy.deepcopy(network)
    assert twin.forward.network is twin  # type: ignore[attr-defined]
    assert twin(torch.zeros(4, 3, 2, 2)).shape == (2, 6, 2, 2)
