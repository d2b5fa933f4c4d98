"""Clips of a video file through torchcodec, where it is installed: the frames that pyav.py gives.

They are made RGB at full size and shrunk by torch, so pixels differ a little from pyav.py's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sslkit.data.decode.image import PIXEL_LIMIT, Rectangle, fitting
from sslkit.data.decode.packets import ROUNDING
from sslkit.errors import ConfigError, DecodeError

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow has it
_END = 1e-6  # seconds before the end that still show the last frame


def decode(
    content: Path | bytes, times: np.ndarray, *, canvas: int, channels: int
) -> tuple[np.ndarray, Rectangle]:
    """Arguments, result and errors as `video.decode_clips` has them; ConfigError if not installed."""
    try:
        from torchcodec.decoders import VideoDecoder  # type: ignore[import-not-found, unused-ignore]

        decoder: Any = VideoDecoder(content)
    except Exception as error:
        # Without FFmpeg's libraries it is imported and fails with the first video.
        if isinstance(error, ImportError) or "libtorchcodec" in str(error):
            raise ConfigError(
                "data.clip.decoder=torchcodec cannot be loaded: install torchcodec and FFmpeg, or take "
                "decoder=pyav"
            ) from error
        raise DecodeError(f"{_name(content)}: {error}") from error
    header = decoder.metadata
    if header.width * header.height > PIXEL_LIMIT:
        shape = f"{header.width}x{header.height}"
        raise DecodeError(f"{_name(content)}: {shape} is more than {PIXEL_LIMIT:,} pixels a frame")
    seconds, places = np.unique(times, return_inverse=True)
    begin, end = header.begin_stream_seconds, header.end_stream_seconds
    asked = np.clip(seconds + begin + ROUNDING, begin, max(begin, end - _END))
    try:
        frames: Tensor = decoder.get_frames_played_at(asked.tolist()).data
    except Exception as error:  # a decoder fed damaged bytes may raise anything
        raise DecodeError(f"{_name(content)}: {error}") from error
    size = fitting(_square(frames, float(header.pixel_aspect_ratio or 1), header.rotation), canvas)
    stack, rectangle = _on_canvas(frames, size, canvas, channels)
    return stack[places.reshape(times.shape)], rectangle


def _name(content: Path | bytes) -> str:
    return f"video of {len(content)} bytes" if isinstance(content, bytes) else str(content)


def _square(frames: Tensor, aspect: float, rotation: float | None) -> tuple[int, int]:
    """Width and height with square pixels; a quarter turn has turned the pixels too."""
    height, width = frames.shape[-2:]
    if round(rotation or 0) % 180 == 90:
        aspect = 1 / aspect
    return max(1, round(width * min(1.0, aspect))), max(1, round(height / max(1.0, aspect)))


def _on_canvas(
    frames: Tensor, size: tuple[int, int], canvas: int, channels: int
) -> tuple[np.ndarray, Rectangle]:
    width, height = size
    if tuple(frames.shape[-2:]) != (height, width):
        frames = interpolate(frames, (height, width), mode="bilinear", antialias=True)
    if channels == 1:
        luma = torch.tensor(_LUMA).view(1, 3, 1, 1)
        frames = (frames * luma).sum(1, keepdim=True).round().to(torch.uint8)
    pixels = np.zeros((len(frames), channels, canvas, canvas), np.uint8)
    pixels[:, :, :height, :width] = frames.numpy()
    return pixels, (0, 0, height, width)
