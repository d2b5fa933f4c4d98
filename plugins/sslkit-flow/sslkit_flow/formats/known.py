"""Displacements as stored to a flow field: what is unknown in them, and what is wrong."""

from __future__ import annotations

import numpy as np
import torch

from sslkit.contracts import FlowField
from sslkit.errors import DataError

UNKNOWN = 1e9
"""A displacement above this, along either axis, is not known (Baker et al. 2011; their files hold 1e10)."""


def known(vectors: np.ndarray, valid: np.ndarray | None = None) -> FlowField:
    """Displacements (H, W, 2) in pixels to a field with `valid` set; vectors are 0 where it is false.

    valid: bool (H, W), where a format says it beside the vectors. Raises DataError where a valid pixel is
    NaN or infinite, with how many and the first.
    """
    given = np.ones(vectors.shape[:2], bool) if valid is None else valid
    broken = given & ~np.isfinite(vectors).all(axis=-1)
    if broken.any():
        row, column = np.argwhere(broken)[0].tolist()
        raise DataError(
            f"holds {int(broken.sum())} vectors that are NaN or infinite, the first at row {row}, column "
            f"{column}; pixels whose motion is not known hold {UNKNOWN:g} or more, or are not valid"
        )
    sound = given & (np.abs(np.where(given[..., None], vectors, 0)) <= UNKNOWN).all(axis=-1)
    kept = np.where(sound[..., None], vectors, 0).astype(np.float32)
    return FlowField(
        torch.from_numpy(np.ascontiguousarray(kept.transpose(2, 0, 1))),
        torch.from_numpy(np.ascontiguousarray(sound)),
    )
