"""The fused part of a view, image by image: for a processor, whose cache holds one image at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from sslkit.data.views.filters import gaussian_weights
from sslkit.data.views.fusion import Amounts, Fusion
from sslkit.data.views.threads import in_parallel

# Pixels that one product of the blur computes along an axis; more of a band's products are with zeros.
_BLOCK = 32


def render_images(
    fusion: Fusion, canvases: Tensor, amounts: Amounts, mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """Canvases, uint8 (N, C, S, S), to normalised float32 (N, C, size, size), clamped to what is in [0, 1].

    Every product reads memory allocated for it alone, so nothing depends on a row's place in the batch.
    """
    rows, channels = canvases.shape[:2]
    size = fusion.view.size
    out = torch.empty((rows, channels, size, size))
    scale = torch.tensor(std)[:, None]
    own = (amounts.own / (255 * scale)).tolist()
    carried = (amounts.carried / (255 * scale)).tolist()
    pulled = amounts.carried.flatten(1).any(dim=1).tolist()
    boxes, mirrored, quarters, blurred, _, _, _, solarised = (values.tolist() for values in amounts)
    kernels = _kernels(fusion, amounts.sigma)
    ends = [(-m / s, (1 - m) / s) for m, s in zip(mean, std, strict=True)]

    def render(row: int) -> None:
        image = _cut(canvases[row], boxes[row], size, mirrored[row], quarters[row])
        values, gain = image.float().view(channels, -1), 1.0
        constant = [low for low, _ in ends]
        if pulled[row]:
            means = values.mean(dim=1).tolist()
            for channel, weights in enumerate(carried[row]):
                constant[channel] += sum(w * m for w, m in zip(weights, means, strict=True))
        if blurred[row]:
            values, gain = _blurred(image, kernels[row])
        matrix = torch.tensor(own[row]).div_(gain)
        levels = torch.addmm(torch.tensor(constant)[:, None], matrix, values.view(channels, -1))
        for channel, (low, high) in enumerate(ends):
            plane = out[row, channel].view(-1)
            torch.clamp(levels[channel], low, high, out=plane)
            if solarised[row] and fusion.solarize is not None:
                threshold = low + fusion.solarize.threshold / std[channel]
                torch.where(plane >= threshold, low + high - plane, plane, out=plane)

    in_parallel(render, rows)
    return out


def _cut(canvas: Tensor, box: list[int], size: int, mirrored: bool, quarters: int) -> Tensor:
    """A box of a canvas, resized to (C, size, size), mirrored, turned; uint8 and contiguous."""
    top, left, height, width = box
    image = canvas[:, top : top + height, left : left + width]
    if (height, width) != (size, size):
        image = F.interpolate(image[None], size=(size, size), mode="bilinear", antialias=True)[0]
    if mirrored:
        image = image.flip(2)
    if quarters:
        image = image.rot90(quarters, (1, 2))
    return image.contiguous()


def _kernels(fusion: Fusion, sigma: Tensor) -> Tensor:
    """Weights of the blur, (N, K), in the type it is computed in."""
    if fusion.blur is None:
        return sigma[:, None]
    kind = torch.bfloat16 if _has_bfloat16() else torch.float32
    return gaussian_weights(sigma, fusion.blur.radius(fusion.view.size)).to(kind)


def _blurred(image: Tensor, kernel: Tensor) -> tuple[Tensor, float]:
    """Gaussian blur of uint8 (C, H, H) with borders reflected: float32 (C, H, H), and how much too bright.

    Along an axis, blocks of pixels are products of the same band of weights with overlapping blocks.
    """
    channels, size, _ = image.shape
    kind = kernel.dtype
    count = -(-size // _BLOCK)
    block = -(-size // count)
    reach = kernel.shape[0] // 2
    length, padded = block + 2 * reach, count * block + 2 * reach
    # Each row of a band is the one above moved by one: written in rows one longer than they are read.
    band = torch.zeros((block, length + 1), dtype=kind)
    band[:, : 2 * reach + 1] = kernel
    bands = band.flatten()[: block * length].view(block, length).repeat(count, 1, 1)
    margins = (reach, padded - size - reach) * 2
    framed = F.pad(image.to(kind), margins, mode="reflect").transpose(0, 1).contiguous()
    line = channels * padded
    tall = torch.bmm(bands, framed.as_strided((count, length, line), (block * line, line, 1)))
    rows = count * block * channels
    wide = torch.bmm(tall.as_strided((count, rows, length), (block, padded, 1)), bands.mT.contiguous())
    result = torch.empty((channels, count * block, count, block))
    result.copy_(wide.view(count, count * block, channels, block).permute(2, 1, 0, 3))
    # Rounded weights do not add up to one.
    gain = sum(kernel.tolist()) ** 2
    return result.view(channels, count * block, -1)[:, :size, :size].contiguous(), gain


@cache
def _has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 by itself; emulating it is slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported())
