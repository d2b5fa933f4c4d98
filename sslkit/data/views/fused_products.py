"""The fused part of a view as two products of matrices for a whole batch: for accelerators, and small images.

Resampling, mirroring and blur are linear along each axis: one matrix for rows, one for columns. Nothing waits
for the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslkit.data.views.filters import gaussian_weights
from sslkit.data.views.fusion import Amounts, Fusion
from sslkit.data.views.threads import in_parallel

_PIECE = {"cpu": 3 * 2**16}  # 64 pictures of 32 px
"""Values of the canvases of one product, by type of device; _PIECE_ELSEWHERE for others."""
_PIECE_ELSEWHERE = 2**25


def render_products(
    fusion: Fusion, canvases: Tensor, amounts: Amounts, mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    """Canvases, uint8 (N, C, S, S), to normalised float32 (N, C, size, size), clamped to what is in [0, 1].

    Libraries choose how to form a product by its shape. So all products have the same number of rows, the
    last ones repeated where they do not fill it, and a row is the same in any batch.
    """
    rows, channels, side, _ = canvases.shape
    size = fusion.view.size
    device = canvases.device
    out = torch.empty((rows, channels, size, size), device=device)
    piece = max(1, _PIECE.get(device.type, _PIECE_ELSEWHERE) // (channels * side**2))
    places = torch.arange(-(-rows // piece) * piece, device=device).clamp_(max=max(0, rows - 1))

    def render(number: int) -> None:
        start = number * piece
        stop = min(rows, start + piece)
        chosen: slice | Tensor = slice(start, stop)
        if stop - start < piece:
            chosen = places[start : start + piece]
        some = amounts.rows(chosen)
        images = _resampled(fusion, canvases[chosen], some)
        _colour(fusion, images, some, mean, std, out[start:stop])

    count = -(-rows // piece)
    if device.type == "cpu":
        in_parallel(render, count)
    else:
        for number in range(count):
            render(number)
    return out


def _resampled(fusion: Fusion, canvases: Tensor, amounts: Amounts) -> Tensor:
    """Everything that moves or mixes pixels: levels, float32 (N, C, size, size)."""
    rows, channels, side, _ = canvases.shape
    size, device = fusion.view.size, canvases.device
    # Levels 0..255 and sums of them fit float16, with three bits to spare.
    kind = torch.float32 if device.type == "cpu" else torch.float16
    # A quarter turn is a mirror and the exchange of the axes.
    quarters = amounts.quarters
    mirrored = quarters >= 2, amounts.mirrored ^ (quarters == 1) ^ (quarters == 2)
    vertical, horizontal = (_resampling(amounts.boxes, axis, size, side, mirrored[axis]) for axis in (0, 1))
    if fusion.blur is not None:
        blur = _blur(amounts, fusion.blur.radius(size), size)
        vertical, horizontal = torch.bmm(blur, vertical), torch.bmm(blur, horizontal)
    # Channels stand beside each other within a row, so that one product serves all.
    wide = canvases.transpose(1, 2).to(kind, memory_format=torch.contiguous_format).view(rows, side, -1)
    tall = torch.bmm(vertical.to(kind), wide).view(rows, size * channels, side)
    made = torch.bmm(tall, horizontal.mT.to(kind)).view(rows, size, channels, size)
    images = torch.empty((rows, channels, size, size), device=device).copy_(made.transpose(1, 2))
    if fusion.turns:
        images = torch.where((quarters % 2 == 1)[:, None, None, None], images.mT, images)
    return images


def _colour(
    fusion: Fusion,
    images: Tensor,
    amounts: Amounts,
    mean: Sequence[float],
    std: Sequence[float],
    out: Tensor,
) -> None:
    """Write normalised values to out, the first rows if it has fewer; contrast takes the blurred mean."""
    pixels = images.flatten(2)
    scale = torch.tensor(std, device=pixels.device)[:, None]
    lowest = -torch.tensor(mean, device=pixels.device)[:, None] / scale
    means = pixels.mean(dim=2, keepdim=True)
    constant = (amounts.carried / (255 * scale) * means.mT).sum(dim=2, keepdim=True) + lowest
    values = torch.baddbmm(constant, amounts.own / (255 * scale), pixels)
    for channel, (m, s) in enumerate(zip(mean, std, strict=True)):
        low, high = -m / s, (1 - m) / s
        plane = values[:, channel].clamp_(low, high)
        if fusion.solarize is not None:
            inverted = (plane >= low + fusion.solarize.threshold / s) & amounts.solarised[:, None]
            plane.copy_(torch.where(inverted, low + high - plane, plane))
    out.copy_(values.view(images.shape)[: out.shape[0]])


def _resampling(boxes: Tensor, axis: int, size: int, side: int, mirrored: Tensor) -> Tensor:
    """What resample.py does along an axis, as a matrix a sample: (N, size, side)."""
    place = torch.arange(size, device=boxes.device)
    place = torch.where(mirrored[:, None], size - 1 - place, place)[:, :, None]
    start, length = boxes[:, axis, None, None].float(), boxes[:, axis + 2, None, None].float()
    step = length / size
    centre = start + (place + 0.5) * step
    pixel = torch.arange(side, device=boxes.device)
    weights = (1 - (pixel + 0.5 - centre).abs() / step.clamp(min=1.0)).clamp_(min=0.0)
    weights *= (pixel >= start) & (pixel < start + length)
    return weights / weights.sum(dim=2, keepdim=True)


def _blur(amounts: Amounts, reach: int, size: int) -> Tensor:
    """Gaussian blur along an axis, borders reflected, as a matrix a sample: (N, size, size)."""
    half = gaussian_weights(amounts.sigma, reach)[:, reach:]
    nothing = torch.zeros_like(half)
    nothing[:, 0] = 1.0
    half = torch.where(amounts.blurred[:, None], half, nothing)
    place = torch.arange(size, device=half.device)
    here, there, distance = place[:, None], place, torch.arange(reach + 1, device=half.device)[:, None, None]
    # A pixel is read at its own place, and mirrored at the first and at the last: how often at each distance.
    times = ((here - there).abs() == distance).float()
    times += (here + there == distance) & (there > 0)
    times += (2 * (size - 1) - here - there == distance) & (there < size - 1)
    return (half @ times.flatten(1)).view(-1, size, size)
