"""Any video file to clips on square uint8 canvases, and nothing but DecodeError when that fails."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from sslkit.data.decode import pyav
from sslkit.data.decode.image import Rectangle
from sslkit.data.decode.pyav import VideoHeader
from sslkit.errors import ConfigError

__all__ = ["Decoder", "VideoHeader", "decode_clips", "probe_video"]

Decoder = Literal["pyav", "torchcodec"]


def probe_video(content: Path | bytes) -> VideoHeader:
    """Size, length and rate of a video; raises DecodeError.

    One frame is decoded; all packets are read where the container does not know its length.
    """
    return pyav.probe(content)


def decode_clips(
    content: Path | bytes, times: np.ndarray, *, canvas: int, channels: int = 3, decoder: Decoder = "pyav"
) -> tuple[np.ndarray, Rectangle]:
    """Decode M clips of T frames: uint8 (M, T, channels, canvas, canvas), and the valid rectangle in all.

    times: float64 (M, T), seconds from the first frame, in any order. At each the last frame is shown that
    began by then, half a millisecond forgiven: the first one before the beginning, the last one behind the
    end. As of images, the longer side is shrunk to fit the canvas, never enlarged; frames lie at the top
    left, stand upright, have square pixels, and the rest is zero.

    decoder: "pyav" is faster for clips; with "torchcodec" the frames are the same and their
    pixels differ by rounding and resampling. Raises DecodeError whatever is wrong with the content; of a file
    that was cut off, only for times that are missing.
    """
    if channels not in (1, 3) or canvas < 1:
        raise ConfigError(
            f"canvas={canvas}, channels={channels}: use a side >= 1 and 1 (grey) or 3 (RGB) channels"
        )
    if times.ndim != 2 or times.size == 0 or not np.isfinite(times).all():
        raise ConfigError(f"times of shape {times.shape}: use finite seconds (M, T) with M, T >= 1")
    if decoder == "torchcodec":
        from sslkit.data.decode import torchcodec

        return torchcodec.decode(content, times, canvas=canvas, channels=channels)
    return pyav.decode(content, times, canvas=canvas, channels=channels)
