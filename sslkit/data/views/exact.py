"""The reference engine: every operation as its paper, torchvision or kornia has it, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from sslkit.data.views.engine import Renderer, View
from sslkit.data.views.operation import Parameters

# Values worked on at once on a CPU: larger pieces leave the cache, smaller ones drown in call overhead.
_PIECE = 2**21


class ExactEngine:
    """Applies the operations of a view in their order to float32 images in [0, 1]; computes every view."""

    name = "exact"
    exact_rows = True

    def renderer(self, view: View, mean: Sequence[float], std: Sequence[float]) -> Renderer:
        """What computes this view."""
        return partial(_rendered, view, mean, std)


def _rendered(
    view: View, mean: Sequence[float], std: Sequence[float], canvases: Tensor, numbers: Sequence[Parameters]
) -> Tensor:
    rows, channels, side, _ = canvases.shape
    result = torch.empty((rows, channels, view.size, view.size), device=canvases.device)
    for part in pieces(canvases, max(side, view.size)):
        images = view.crop.apply(canvases[part].float(), rows_of(numbers[0], part), view.size)
        for operation, parameters in zip(view.operations, numbers[1:], strict=True):
            images = operation.apply(images, rows_of(parameters, part))
        normalise(images, mean, std, out=result[part])
    return result


def pieces(images: Tensor, side: int) -> Iterator[slice]:
    """Rows to work on at once, of images (N, C, ., .) up to side pixels; all of them on an accelerator."""
    rows, channels = images.shape[:2]
    piece = max(1, rows)
    if images.device.type == "cpu":
        piece = max(1, _PIECE // (channels * side**2))
    return (slice(start, start + piece) for start in range(0, rows, piece))


def rows_of(parameters: Parameters, part: slice) -> Parameters:
    """The numbers that belong to some rows."""
    return {name: values[part] for name, values in parameters.items()}


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float], *, out: Tensor) -> None:
    """Write (images - mean) / std, channel by channel, to out; both (N, C, H, W), and may be one tensor."""
    means = torch.tensor(mean, dtype=torch.float32, device=images.device).view(-1, 1, 1)
    deviations = torch.tensor(std, dtype=torch.float32, device=images.device).view(-1, 1, 1)
    torch.sub(images, means, out=out).div_(deviations)
