"""Ways back from a coarse map to a fine one, by name.

Shapes: N images, C channels, h x w cells before, H x W after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor

from sslkit.errors import ModelError

Size = tuple[int, int]


def nearest(values: Tensor, size: Size) -> Tensor:
    """Each cell repeated over those it becomes."""
    return F.interpolate(values, size=size, mode="nearest")


def bilinear(values: Tensor, size: Size) -> Tensor:
    """Between the centres of the cells; at the edge as the outermost cell."""
    return F.interpolate(values, size=size, mode="bilinear", align_corners=False)


def bed_of_nails(values: Tensor, size: Size) -> Tensor:
    """Each cell at the top left of those it becomes, zeros elsewhere.

    Raises ModelError unless `size` is a multiple of the map's.
    """
    down, right = (fine // coarse for fine, coarse in zip(size, values.shape[-2:], strict=True))
    if (values.shape[-2] * down, values.shape[-1] * right) != size:
        raise ModelError(
            f"bed_of_nails from {tuple(values.shape[-2:])} to {size} cells; it needs a multiple of the "
            "first, use nearest or bilinear"
        )
    nails = values.new_zeros(*values.shape[:2], *size)
    nails[..., ::down, ::right] = values
    return nails


UNPOOLING: Mapping[str, Callable[[Tensor, Size], Tensor]] = {
    "nearest": nearest,
    "bed_of_nails": bed_of_nails,
    "bilinear": bilinear,
}
