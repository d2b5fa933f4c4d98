"""The inflated convolution is Conv3d on folded rows, and the sum over its taps in plain loops."""

from __future__ import annotations

import itertools

import pytest
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from sslkit.contracts import ClipRows
from sslkit.errors import ModelError
from sslkit_inflation.convolution import InflatedConv, Init, Padding, spread_in_time
from sslkit_inflation.pacing import Packing

CLIPS, FRAMES = 2, 5


def built(conv: nn.Conv2d, kernel: int, stride: int, padding: Padding, init: Init = "tile") -> InflatedConv:
    torch.manual_seed(1)
    layer = InflatedConv(conv, ClipRows(CLIPS), kernel=kernel, stride=stride, init=init, padding=padding)
    nn.init.normal_(layer.weight, std=0.2)
    return layer


class Lone(nn.Module):
    """A network of one convolution."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, rows: Tensor) -> Tensor:
        """The layer's rows."""
        found: Tensor = self.layer(rows)
        return found


def run(layer: InflatedConv, clips: Tensor) -> Tensor:
    """(N, T, C, H, W) through the layer, packed where it is strided, to (N, T', O, H', W')."""
    packed = Packing(Lone(layer), "forward", layer.clip_rows, layer.stride, zero=layer.padding == "zero")
    return packed(clips.flatten(0, 1)).unflatten(0, (len(clips), -1))


def noise(channels: int = 4, frames: int = FRAMES, side: int = 6) -> Tensor:
    return torch.randn(CLIPS, frames, channels, side, side + 1, generator=torch.Generator().manual_seed(0))


def in_loops(layer: InflatedConv, clips: Tensor) -> Tensor:
    """Each output frame as the sum over taps of 2D convolutions of the frames that its window shows."""
    n, frames = clips.shape[:2]
    k, s = layer.kernel, layer.stride
    conv = nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, padding=layer.margins)
    out = []
    for clip, t in itertools.product(range(n), range(-(-frames // s))):
        # Causal windows end with the last frame of the group, others have it in their middle.
        first = s * t + s - k if layer.padding == "causal" else s * t - -(-(k - s) // 2)
        total = layer.bias.view(-1, 1, 1).clone() if layer.bias is not None else torch.zeros(1)
        for tap in range(k):
            at = min(max(first + tap, 0), frames - 1)
            conv.weight.data, conv.bias = layer.weight.data[:, :, tap], None
            total = total + conv(clips[clip, at][None])[0]
        out.append(total)
    return torch.stack(out).unflatten(0, (n, -1))


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (3, 2), (7, 2), (4, 2), (2, 2), (3, 3)])
@pytest.mark.parametrize("padding", ["replicate", "causal"])
def test_it_is_the_sum_over_taps_of_the_frames_around(kernel: int, stride: int, padding: Padding) -> None:
    layer = built(nn.Conv2d(4, 3, 3, padding=1), kernel, stride, padding)
    torch.testing.assert_close(run(layer, noise()), in_loops(layer, noise()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("frames", [1, 4, 5])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (7, 2), (5, 2)])
@pytest.mark.parametrize(
    "options", [{}, {"groups": 4}, {"groups": 2, "stride": 2, "dilation": 2, "bias": False}], ids=str
)
def test_with_zeros_it_is_conv3d(frames: int, kernel: int, stride: int, options: dict[str, int]) -> None:
    layer = built(nn.Conv2d(4, 8, 3, padding=1, **options), kernel, stride, "zero")  # type: ignore[arg-type]
    there = {"groups": 1, "stride": 1, "dilation": 1, "bias": True} | options
    twin = nn.Conv3d(
        4,
        8,
        (kernel, 3, 3),
        stride=(stride, there["stride"], there["stride"]),
        padding=(kernel // 2, 1, 1),
        dilation=(1, there["dilation"], there["dilation"]),
        groups=there["groups"],
        bias=bool(there["bias"]),
    )
    twin.load_state_dict(layer.state_dict())
    clips = noise(frames=frames)
    expected = twin(clips.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(run(layer, clips), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "conv",
    [Conv2dSame(4, 3, 3, stride=2), nn.Conv2d(4, 3, 4, padding="same"), nn.Conv2d(4, 3, 3, padding="valid")],
    ids=["tensorflow's", "same", "valid"],
)
def test_margins_in_space_are_those_of_the_layer(conv: nn.Conv2d) -> None:
    layer = InflatedConv(conv, ClipRows(CLIPS), kernel=3, stride=1, init="centre", padding="replicate")
    rows = noise().flatten(0, 1)
    torch.testing.assert_close(layer(rows), conv(rows))


@pytest.mark.parametrize(
    ("kernel", "causal", "tap"), [(3, False, 1), (4, False, 1), (3, True, 2), (1, False, 0)]
)
def test_centre_leaves_one_tap(kernel: int, causal: bool, tap: int) -> None:
    weight = torch.randn(5, 4, 3, 3)
    taps = spread_in_time(weight, kernel, "centre", causal=causal)
    assert torch.equal(taps[:, :, tap], weight)
    assert taps.count_nonzero() == weight.count_nonzero()


def test_tiles_add_up_to_the_kernel() -> None:
    weight = torch.randn(5, 4, 3, 3)
    taps = spread_in_time(weight, 5, "tile", causal=False)
    torch.testing.assert_close(taps.sum(dim=2), weight)
    assert torch.equal(taps[:, :, 0], taps[:, :, 4])


def test_rows_that_are_no_clips_are_refused() -> None:
    layer = built(nn.Conv2d(4, 3, 3), 3, 1, "zero")
    with pytest.raises(ModelError, match="5 rows are not the frames of 2 clips"):
        layer(torch.zeros(5, 4, 6, 6))


def test_frozen_weights_stay_frozen() -> None:
    conv = nn.Conv2d(4, 3, 3)
    conv.weight.requires_grad_(False)
    assert not built(conv, 3, 1, "zero").weight.requires_grad


@pytest.mark.parametrize("groups", [1, 8])
def test_rows_with_channels_last_stay_so(groups: int) -> None:
    layer = built(nn.Conv2d(8, 8, 3, padding=1, groups=groups), 3, 1, "replicate")
    rows = noise(8).flatten(0, 1)
    expected = layer(rows)
    layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last_3d)
    found = layer(rows.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    if groups == 1:
        assert found.is_contiguous(memory_format=torch.channels_last)
