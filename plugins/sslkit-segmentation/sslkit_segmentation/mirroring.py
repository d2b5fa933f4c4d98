"""Maps continued beyond their edge by their mirror image."""

from __future__ import annotations

import torch
from torch import Tensor


def mirrored(values: Tensor, margin: int) -> Tensor:
    """(N, C, h, w) to (N, C, h + 2 margin, w + 2 margin), mirrored at the edge of the outermost cells.

    Margins larger than the map go back and forth (torch's own reflection refuses them).
    """
    for dim in (-2, -1) if margin else ():
        cells = values.shape[dim]
        places = torch.arange(-margin, cells + margin, device=values.device) % (2 * cells)
        values = values.index_select(dim, torch.minimum(places, 2 * cells - 1 - places))
    return values
