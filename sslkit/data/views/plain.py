"""The plain view of evaluation: nothing random."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sslkit.data.views.resample import centre_windows, resample
from sslkit.errors import ConfigError


@torch.no_grad()
def evaluation_view(
    pixels: Tensor,
    rectangles: Tensor,
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    crop: float = 0.875,
) -> Tensor:
    """Centre crops, normalised: uint8 (N, C, S, S) and int64 (N, 4) to float32 (N, C, size, size).

    Of video, uint8 (N, M, T, C, S, S), the first moment is seen: (N, T, C, size, size), a still where T is 1.

    The shorter side of the valid rectangle is resized to size / crop, antialiased; the central square stays.
    A rectangle of exactly size x size keeps its very pixels, whatever `crop` is. Raises ConfigError unless
    0 < crop <= 1.
    """
    if not 0 < crop <= 1:
        raise ConfigError(
            f"crop is {crop}; it is the share of the shorter side to keep, above 0 and at most 1."
        )
    if pixels.dim() == 6:
        clips = pixels[:, 0]
        count, frames = clips.shape[:2]
        seen = evaluation_view(
            clips.flatten(0, 1),
            rectangles.repeat_interleave(frames, dim=0),
            size=size,
            mean=mean,
            std=std,
            crop=crop,
        )
        return seen if frames == 1 else seen.view(count, frames, *seen.shape[1:])
    # Nothing to resample; of a GPU this is not asked, which would wait for it.
    if pixels.device.type == "cpu" and bool((rectangles[:, 2:] == size).all()):
        cut = zip(pixels, rectangles[:, :2].tolist(), strict=True)
        images = torch.stack([row[:, y : y + size, x : x + size] for row, (y, x) in cut]).float().div_(255)
    else:
        images = resample(pixels, centre_windows(rectangles, size, crop), size).div_(255)
    means = torch.tensor(mean, dtype=torch.float32, device=pixels.device).view(-1, 1, 1)
    deviations = torch.tensor(std, dtype=torch.float32, device=pixels.device).view(-1, 1, 1)
    return images.sub_(means).div_(deviations)
