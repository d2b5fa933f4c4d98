"""Small video files for tests: every frame shows its own number, in any codec and container of PyAV."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np

TICKS = 1000  # of the time base the frames are given in
CLOSED = {"x264-params": "scenecut=0:b-adapt=0:bframes=2:keyint=12"}
OPEN = {"x264-params": "scenecut=0:b-adapt=0:bframes=2:keyint=12:open-gop=1"}


def numbered(index: int, width: int, height: int) -> np.ndarray:
    """uint8 RGB (H, W, 3): six bars, light for each bit of the number, over a red gradient."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = np.linspace(40, 200, width).astype(np.uint8)
    for bit in range(6):
        left, right = bit * width // 6, (bit + 1) * width // 6
        picture[: height // 2, left:right] = 220 if index >> bit & 1 else 30
    return picture


def number(pixels: np.ndarray) -> int:
    """The number that upright pixels (C, H, W) show."""
    _, height, width = pixels.shape
    grey = pixels[:, : height // 2].mean((0, 1))
    columns = [(2 * bit + 1) * width // 12 for bit in range(6)]
    return sum(int(grey[column] > 125) << bit for bit, column in enumerate(columns))


def video(
    codec: str = "mpeg4",
    format: str = "mp4",
    *,
    count: int = 40,
    size: tuple[int, int] = (96, 64),
    times: Sequence[int] | None = None,
    rate: int = 25,
    gop: int = 12,
    b_frames: int | None = None,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    picture: Callable[[int, int, int], np.ndarray] = numbered,
    change: Callable[[Any], None] = lambda stream: None,
    audio: bool = False,
) -> bytes:
    """An encoded video. times: milliseconds of the frames, else `rate` of them a second from 0."""
    with (
        TemporaryDirectory() as folder,  # an index at the front is moved there when the file is closed
        av.open(f"{folder}/video", "w", format=format, options=dict(container_options or {})) as container,
    ):
        stream: Any = container.add_stream(codec, rate=rate, options=dict(options or {}))
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = gop
        stream.codec_context.bit_rate = 2_000_000
        stream.codec_context.thread_count = 1
        if times is not None:
            stream.codec_context.time_base = Fraction(1, TICKS)
        if b_frames is not None:
            stream.max_b_frames = b_frames
        change(stream)
        sound = container.add_stream("aac", rate=8000, layout="mono") if audio else None
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24")
            frame = frame.reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = (
                (index, Fraction(1, rate)) if times is None else (times[index], Fraction(1, TICKS))
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _mux_silence(container, sound, count / rate)
        container.close()
        return Path(folder, "video").read_bytes()


def sound_only() -> bytes:
    """A second of silence."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        _mux_silence(container, container.add_stream("aac", rate=8000, layout="mono"), 1.0)
    return buffer.getvalue()


def _mux_silence(container: Any, stream: Any, seconds: float) -> None:
    for start in range(0, int(8000 * seconds), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, start, Fraction(1, 8000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
