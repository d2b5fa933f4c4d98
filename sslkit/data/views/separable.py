"""Filters that work on one axis after the other: what resizing and blurring have in common.

A row of the result is a weighted sum of a few rows of the image: torch's `embedding_bag`, which reads each
row once and forms every sum on its own, so that no other sample has a part in its rounding. The second axis
is brought into the rows by transposing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Taps(NamedTuple):
    """What each place on an axis is made of; L places of K pixels each.

    places: int64 (N, L, K), pixels read. weights: float32 (N, L, K), broadcast from (N, 1, K) if need be.
    """

    places: Tensor
    weights: Tensor


def filtered(images: Tensor, vertical: Taps, horizontal: Taps) -> Tensor:
    """Images, float32 (N, C, H, W), with both axes replaced: (N, C, L of vertical, L of horizontal)."""
    tall = _weighted_rows(images, vertical)
    return _weighted_rows(tall.mT, horizontal).mT.contiguous()


def _weighted_rows(images: Tensor, taps: Taps) -> Tensor:
    count, channels, height, width = images.shape
    length, reach = taps.places.shape[1:]
    first = torch.arange(count * channels, device=images.device).view(count, channels, 1, 1) * height
    rows = first + taps.places[:, None]
    sums = F.embedding_bag(
        rows.view(-1, reach),
        images.reshape(-1, width),
        per_sample_weights=taps.weights[:, None].expand(rows.shape).reshape(-1, reach),
        mode="sum",
    )
    return sums.view(count, channels, length, width)
