"""Rows that are the frames of clips, clip by clip."""

from __future__ import annotations

from torch import Tensor

from sslkit.contracts import ClipRows
from sslkit.errors import ModelError


def as_clips(rows: Tensor, clip_rows: ClipRows) -> Tensor:
    """(N * T, ...) to (N, T, ...), without a copy; raises ModelError where they are no such clips."""
    clips = clip_rows.clips
    if len(rows) % clips:
        raise ModelError(f"{len(rows)} rows are not the frames of {clips} clips of one length")
    return rows.view(clips, len(rows) // clips, *rows.shape[1:])
