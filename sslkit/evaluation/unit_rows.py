"""Embeddings on the unit sphere, where a product of two is their cosine similarity."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sslkit.errors import DataError
from sslkit.evaluation.metrics import check_finite


def unit_rows(embeddings: Tensor, *, centre: bool = False) -> Tensor:
    """Embeddings (N, D) to float32 rows of length 1; centre: less their mean. A row of zeros stays one.

    Raises DataError for another shape, or values that are not finite.
    """
    if embeddings.dim() != 2:
        raise DataError(f"embeddings have the shape {tuple(embeddings.shape)}; (N, D) is needed")
    check_finite(embeddings)
    rows = embeddings.float()
    return F.normalize(rows - rows.mean(dim=0) if centre else rows, dim=1)
