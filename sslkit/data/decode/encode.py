"""Frames to a video file, for pictures, demonstrations and tests."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from sslkit.errors import ConfigError

_QUALITY: dict[str, dict[str, object]] = {
    "libx264": {"crf": "18", "preset": "fast"},
    "mpeg4": {"qscale": "3"},
}
_RATE_STEPS = 1001  # largest denominator of a rate: 30000 / 1001 is the usual broken one


def write_video(path: Path, frames: np.ndarray, rate: float) -> None:
    """Write uint8 (T, H, W, 3) frames, `rate` a second, in the container that the file's ending names.

    The codec is H.264, or MPEG-4 where this build of FFmpeg has none; the same frames give the same bytes.
    Colours are stored at half the resolution, so sides must be even. Raises ConfigError for other arrays and
    for a place that cannot be written.
    """
    sound = frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[-1] == 3 and frames.size
    if not sound or frames.shape[1] % 2 or frames.shape[2] % 2 or not rate > 0:
        given = f"frames of {frames.dtype} {frames.shape} at rate={rate}"
        raise ConfigError(f"{given}: use uint8 (T, H, W, 3) with even sides, and frames a second above 0")
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    try:
        with av.open(f"file:{path}", "w") as container:
            stream = container.add_stream(codec, Fraction(rate).limit_denominator(_RATE_STEPS))
            assert isinstance(stream, VideoStream)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            stream.options = _QUALITY[codec]
            stream.codec_context.thread_count = 1
            for frame in frames:
                container.mux(stream.encode(VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")))
            container.mux(stream.encode())
    except (OSError, ValueError) as error:  # av's own errors are both
        raise ConfigError(f"cannot write {path}: {error}; choose another place or ending") from error
