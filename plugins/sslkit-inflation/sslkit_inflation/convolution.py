"""A convolution of images that looks along time, on rows that are the frames of clips.

Shapes: N clips of T frames, rows N * T, K taps along time, s temporal stride, C and O channels.
"""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn

from sslkit.contracts import ClipRows
from sslkit_inflation.folded import as_clips

Init = Literal["tile", "centre"]
Padding = Literal["zero", "replicate", "causal"]
INITS: tuple[str, ...] = get_args(Init)
PADDINGS: tuple[str, ...] = get_args(Padding)


_SMALL_MAP = 64  # cells of all clips; of more a convolution is faster than a product (measured, one thread)


class InflatedConv(nn.Module):
    """A Conv2d with K taps along time: rows (N * T, C, H, W) to (N * T / s, O, H', W').

    kernel: K, at least the stride. init: what `spread_in_time` makes of the weight. padding of both ends in
    time: "zero" frames; "replicate", the border frames again; "causal", the first frame K - s times more, so
    that row t sees no frame after s * t + s - 1. The weight keeps its name and is (O, C / groups, K, kh, kw).

    With a stride the frames come packed (see `pacing`): (N * T / s, s * C, H, W). While streaming, the last
    K - s frames stay in `clip_rows.history`.
    """

    def __init__(
        self, conv: nn.Conv2d, clip_rows: ClipRows, *, kernel: int, stride: int, init: Init, padding: Padding
    ) -> None:
        super().__init__()
        self.clip_rows, self.kernel, self.stride, self.padding = clip_rows, kernel, stride, padding
        self.in_channels, self.out_channels, self.groups = conv.in_channels, conv.out_channels, conv.groups
        self.kernel_size = cast("tuple[int, int]", conv.kernel_size)
        self.spatial_stride = cast("tuple[int, int]", conv.stride)
        self.dilation = cast("tuple[int, int]", conv.dilation)
        # Margins that depend on the size of the input, as TensorFlow's; torch's own "same" is a case of them.
        self.same = isinstance(conv, Conv2dSame) or conv.padding == "same"
        self.margins = (0, 0) if self.same or isinstance(conv.padding, str) else conv.padding
        # The window is centred on the group of s frames that a row stands for, as in torch's Conv3d.
        spread = kernel - stride
        self.before = spread if padding == "causal" else (spread + 1) // 2
        self.after = spread - self.before
        weight = spread_in_time(conv.weight.detach(), kernel, init, causal=padding == "causal")
        self.weight = nn.Parameter(weight, requires_grad=conv.weight.requires_grad)
        self.bias = conv.bias

    def forward(self, rows: Tensor) -> Tensor:
        """Rows of clips to rows of clips; raises ModelError where they are not clips of one length."""
        if self.stride > 1:
            rows = rows.reshape(len(rows) * self.stride, self.in_channels, *rows.shape[2:])
        if self.same:
            rows = pad_same(rows, list(self.kernel_size), list(self.spatial_stride), list(self.dilation))
        if not len(rows):  # while streaming, nothing may be known yet
            flat = self.weight[:, :, -1]
            return F.conv2d(
                rows, flat, self.bias, self.spatial_stride, self.margins, self.dilation, self.groups
            )
        frames = self._with_ends(as_clips(rows, self.clip_rows).transpose(1, 2))
        history = self.clip_rows.history
        if history is not None and frames.shape[2] == self.kernel and self.groups == 1:
            return self._one_row(frames, history)
        strides = (self.stride, *self.spatial_stride)
        out = F.conv3d(
            frames, self.weight, self.bias, strides, (0, *self.margins), (1, *self.dilation), self.groups
        )
        return out.transpose(1, 2).flatten(0, 1)

    def _with_ends(self, frames: Tensor) -> Tensor:
        """(N, C, T, H, W) with what comes before the first and after the last frame."""
        if self.padding == "zero":
            return F.pad(frames, (0, 0, 0, 0, self.before, self.after))
        history = self.clip_rows.history
        known = None if history is None else history.get(self)
        if known is None:
            known = frames[:, :, :1].expand(-1, -1, self.before, -1, -1)
        last = frames[:, :, -1:].expand(-1, -1, self.after, -1, -1)
        whole = torch.cat([known, frames, last], dim=2)
        if history is not None:
            # A copy: later layers may change the frames in place.
            history[self] = whole[:, :, whole.shape[2] - self.before :].clone()
        return whole

    def _one_row(self, frames: Tensor, history: dict[Any, Any]) -> Tensor:
        """Exactly as many frames (N, C, K, H, W) as there are taps to the row (N, O, H', W') they give.

        A convolution over time would arrange all weights anew for every frame of a stream, which takes longer
        than the arithmetic. Taps are as good as channels here; and where a map is small, the product with its
        patches reads the weights as they lie. They are laid out once a stream.
        """
        margins = cast("tuple[int, int]", self.margins)
        images = frames.flatten(1, 2)
        weight = history.get((self, "taps as channels"))
        if weight is None:
            weight = history[self, "taps as channels"] = self.weight.detach().flatten(1, 2).contiguous()
        height, width = (
            (side + 2 * margin - dilation * (kernel - 1) - 1) // stride + 1
            for side, margin, dilation, kernel, stride in zip(
                frames.shape[-2:], margins, self.dilation, self.kernel_size, self.spatial_stride, strict=True
            )
        )
        if len(frames) * height * width > _SMALL_MAP:
            return F.conv2d(images, weight, self.bias, self.spatial_stride, margins, self.dilation)
        patches = F.unfold(images, self.kernel_size, self.dilation, margins, self.spatial_stride)
        row = F.linear(patches.transpose(1, 2), weight.flatten(1), self.bias)  # (N, H' * W', O)
        return row.transpose(1, 2).reshape(len(frames), -1, height, width)

    def extra_repr(self) -> str:
        """What printing a network shows of it."""
        size = f"{self.kernel}x{self.kernel_size[0]}x{self.kernel_size[1]}"
        return f"{self.in_channels}, {self.out_channels}, {size}, stride={self.stride}, {self.padding}"


def spread_in_time(weight: Tensor, kernel: int, init: Init, *, causal: bool) -> Tensor:
    """(O, C, kh, kw) to (O, C, kernel, kh, kw) that give a video of one still image what the image gave.

    "tile": weight / kernel at every tap (I3D, Carreira and Zisserman 2017, section 2.4, "bootstrapping 3D
    filters from 2D filters"). "centre": the weight at the middle tap, the earlier of two, zero elsewhere, so
    that any video is seen frame by frame at first (ViViT, Arnab et al. 2021, "central frame initialisation");
    causal: at the last tap.
    """
    if init == "tile":
        return (weight / kernel).unsqueeze(2).repeat(1, 1, kernel, 1, 1)
    taps = weight.new_zeros(*weight.shape[:2], kernel, *weight.shape[2:])
    taps[:, :, kernel - 1 if causal else (kernel - 1) // 2] = weight
    return taps
