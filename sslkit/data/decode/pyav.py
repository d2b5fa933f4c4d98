"""Clips of a video file through PyAV, and nothing but DecodeError when that fails.

No frame is decoded twice in a call, and none that the wanted ones do not need; only these are made RGB.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from sslkit.data.decode.image import PIXEL_LIMIT, Rectangle, fitting
from sslkit.data.decode.packets import Packets, first_pts, plan, read, reorder_depth, seconds_per_tick, seek
from sslkit.errors import DecodeError

Matrix = tuple[int, int, int, int]  # a, b, c, d

# The content decides which of these readers runs. A playlist renamed to .mp4 must not open other files, and a
# photo is no video of one frame.
FORMATS = "mov, mp4, 3gp, 3g2, matroska, webm, avi, mpegts, mpeg, mpegvideo, m4v, flv, asf, ogg, nut"
_OPTIONS = {"format_whitelist": FORMATS.replace(" ", ""), "protocol_whitelist": "file"}
_SLACK = 0.2  # seconds by which the declared length may exceed what is there
# Averaging like image.py's filter, 44 to 46 dB from it on real clips at a tenth of its time.
_FILTER = Interpolation.AREA
_PLANES = {1: ("gray", (0,)), 3: ("gbrp", (2, 0, 1))}  # pixel format, and its planes in the order R, G, B
_PACKED = "rgb24"  # for frames kept at their size: made planar, some (180 wide) keep columns unwritten


@dataclass(frozen=True)
class VideoHeader:
    """What a video file says of itself; what it does not say is measured.

    width, height: as displayed, upright and with square pixels. duration: seconds. rate: frames a second, on
    average. frames: how many, None where only reading all would tell. codec, format: FFmpeg's names.
    rotation: degrees counterclockwise, already applied to width and height.
    """

    width: int
    height: int
    duration: float
    rate: float
    frames: int | None
    codec: str
    format: str
    rotation: int


def probe(content: Path | bytes) -> VideoHeader:
    """Read the header and the first frame, and all packets where the container does not know its length."""
    with _opened(content) as (container, stream):
        first = first_pts(container, stream)
        seek(container, stream, None)
        frame = next(container.decode(stream), None)
        if frame is None:
            raise ValueError("no frame can be decoded")
        width, height = _displayed(stream, frame, _display_matrix(frame))
        duration = _declared(container, stream)
        rate = float(stream.average_rate or 0)
        frames = stream.frames or None
        if duration is None or not rate:
            seek(container, stream, None)
            spans = [(packet.pts or 0, packet.duration or 0) for packet in read(container, stream)]
            span = (max(pts + length for pts, length in spans) - first) * seconds_per_tick(stream)
            frames = len(spans)
            duration = duration or span
            rate = rate or frames / (duration or 1.0)
        return VideoHeader(
            width,
            height,
            duration or 1 / rate,
            rate,
            frames,
            stream.codec_context.codec.canonical_name,
            container.format.name,
            frame.rotation,
        )


def decode(
    content: Path | bytes, times: np.ndarray, *, canvas: int, channels: int
) -> tuple[np.ndarray, Rectangle]:
    """Arguments, result and errors as `video.decode_clips` has them."""
    seconds, places = np.unique(times, return_inverse=True)
    with _opened(content) as (container, stream):
        todo = plan(container, stream, seconds.tolist())
        if todo.overrun is not None:
            _refuse_truncated(container, stream, todo.first, todo.end, todo.overrun)
        wanted = set(todo.shown)
        in_order = reorder_depth(container, stream) > 0
        pixels = np.zeros((times.size, channels, canvas, canvas), np.uint8)
        slots: dict[int, list[int]] = {}
        for slot, place in enumerate(places.ravel()):
            slots.setdefault(todo.shown[place], []).append(slot)
        painter = _Painter(stream, canvas, channels)
        for run in todo.runs:
            for pts, frame in _wanted_frames(stream, run, wanted, in_order):
                slot, *again = slots.pop(pts)
                painter.paint(frame, pixels[slot])
                for other in again:
                    pixels[other] = pixels[slot]
        if slots:
            at = (min(slots) - todo.first) * seconds_per_tick(stream)
            raise ValueError(f"the frame at {at:.3f} s cannot be decoded; the file is damaged there")
        return pixels.reshape(*times.shape, channels, canvas, canvas), painter.rectangle


def _wanted_frames(
    stream: VideoStream, run: Packets, wanted: set[int], in_order: bool
) -> Iterator[tuple[int, VideoFrame]]:
    """Decode a run and give its wanted frames; where the codec drops one, the one before it is shown.

    in_order: frames come out in the order of the run's sorted pts, whatever their own say.
    """
    codec = stream.codec_context
    times = sorted(packet.pts or 0 for packet in run)
    due = [pts for pts in times if pts in wanted]
    order = iter(times)
    before: VideoFrame | None = None
    for packet in [*run, None]:
        if packet is not None and not in_order:  # what nobody sees and no other refers to is passed over
            codec.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
        for frame in codec.decode(packet):
            if in_order:
                frame.pts = next(order, None)
            if frame.pts is None or frame.is_corrupt:
                continue
            while due and due[0] < frame.pts and before is not None:
                yield due.pop(0), before
            if due and due[0] == frame.pts:
                yield due.pop(0), frame
            before = frame
    codec.flush_buffers()  # drained; now it takes packets again


class _Painter:
    """Puts frames on square canvases as image.py does; the first one decides how all of them lie."""

    def __init__(self, stream: VideoStream, canvas: int, channels: int) -> None:
        self._stream, self._canvas, self._channels = stream, canvas, channels
        self._reformatter = VideoReformatter()
        self._matrix: Matrix | None = None
        self._size: tuple[int, int] | None = None

    @property
    def rectangle(self) -> Rectangle:
        width, height = self._size or (0, 0)
        return 0, 0, height, width

    def paint(self, frame: VideoFrame, pixels: np.ndarray) -> None:
        """A frame onto uint8 (C, S, S) zeros."""
        if self._size is None:
            self._matrix = _display_matrix(frame)
            self._size = fitting(_displayed(self._stream, frame, self._matrix), self._canvas)
        width, height = reversed(self._size) if _is_sideways(self._matrix) else self._size
        format, order = _PLANES[self._channels]
        packed = self._channels == 3 and (frame.width, frame.height) == (width, height)
        if packed:
            format = _PACKED
        # One thread: the workers already share the cores, and a small frame is done before another wakes up.
        small = self._reformatter.reformat(
            frame, width=width, height=height, format=format, interpolation=_FILTER, threads=1
        )
        planes = _unpacked(small) if packed else [_rows(small.planes[place], width) for place in order]
        for channel, rows in enumerate(planes):
            upright = _upright(rows, self._matrix)
            pixels[channel, : upright.shape[0], : upright.shape[1]] = upright


def _rows(plane: VideoPlane, width: int) -> np.ndarray:
    """A plane as uint8 (H, width), without what pads its lines."""
    rows = np.frombuffer(cast(memoryview, plane), np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, :width]


def _unpacked(frame: VideoFrame) -> np.ndarray:
    """R, G and B, uint8 (3, H, W), of a frame that holds them pixel by pixel."""
    pixels = _rows(frame.planes[0], 3 * frame.width).reshape(frame.height, frame.width, 3)
    return pixels.transpose(2, 0, 1)


# ------------------------------------------------------------------------------------------- geometry


def _display_matrix(frame: VideoFrame) -> Matrix | None:
    """The first two rows and columns of the QuickTime display matrix: x' = a x + c y, y' = b x + d y."""
    if not frame.rotation:  # asked first, for a frame and its side data hold each other until the next gc
        return None
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return None
    a, b, _, c, d = np.frombuffer(cast(memoryview, data), np.int32)[:5].tolist()
    return a, b, c, d


def _is_sideways(matrix: Matrix | None) -> bool:
    return matrix is not None and abs(matrix[1]) > abs(matrix[0])


def _upright(rows: np.ndarray, matrix: Matrix | None) -> np.ndarray:
    """Rows (H, W) as they are displayed: quarter turns and mirrors, other angles by the nearest of them."""
    if matrix is None:
        return rows
    a, b, c, d = matrix
    if _is_sideways(matrix):
        rows, right, down = rows.T, c, b
    else:
        right, down = a, d
    return rows[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]


def _displayed(stream: VideoStream, frame: VideoFrame, matrix: Matrix | None) -> tuple[int, int]:
    """Width and height upright and with square pixels; the side that is too long for that is shortened."""
    aspect = float(stream.sample_aspect_ratio or 1) or 1.0
    width = max(1, round(frame.width * min(1.0, aspect)))
    height = max(1, round(frame.height / max(1.0, aspect)))
    return (height, width) if _is_sideways(matrix) else (width, height)


# -------------------------------------------------------------------------------- opening and lengths


@contextmanager
def _opened(content: Path | bytes) -> Iterator[tuple[InputContainer, VideoStream]]:
    try:
        file = io.BytesIO(content) if isinstance(content, bytes) else f"file:{content}"
        with av.open(file, "r", options=_OPTIONS) as container:
            if len(container.streams) == 0:
                raise av.InvalidDataError(0, "no streams")
            stream = container.streams.best("video")
            if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
                held = sorted({stream.type for stream in container.streams})
                raise ValueError(f"no video in it, only {', '.join(held)}")
            context = stream.codec_context
            if context.width * context.height > PIXEL_LIMIT:
                size = f"{context.width}x{context.height}"
                raise ValueError(f"{size} is more than {PIXEL_LIMIT:,} pixels a frame; store it smaller")
            context.thread_count = 1  # the workers of a loader already keep every core busy
            context.options = {"max_pixels": str(PIXEL_LIMIT)}  # the stream may say more than the header
            yield container, stream
    except Exception as error:  # a reader fed damaged bytes may raise anything
        raise DecodeError(f"{name(content)}: {_reason(content, error)}") from error


def _declared(container: InputContainer, stream: VideoStream) -> float | None:
    """Seconds from the first frame to the end as the container has them, None where it does not know."""
    base = seconds_per_tick(stream)
    if container.format.name == "mpeg":  # guessed from the bit rate
        return None
    if "matroska" in container.format.name:  # ends are counted from 0, wherever the first frame is
        start = (stream.start_time or 0) * base
        tag = stream.metadata.get("DURATION")
        if tag is not None and tag.count(":") == 2:
            hours, minutes, seconds = tag.split(":")
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - start
        return container.duration / av.time_base - start if container.duration else None
    if stream.duration:
        return stream.duration * base
    return container.duration / av.time_base if container.duration else None


def _refuse_truncated(
    container: InputContainer, stream: VideoStream, first: int, end: int, overrun: int
) -> None:
    base = seconds_per_tick(stream)
    there, asked, declared = (end - first) * base, (overrun - first) * base, _declared(container, stream)
    if declared is not None and min(asked, declared) > there + _SLACK:
        raise ValueError(f"truncated: {there:.2f} of {declared:.2f} s are there; copy the file anew")


def name(content: Path | bytes) -> str:
    """What a message calls a video."""
    return f"video of {len(content)} bytes" if isinstance(content, bytes) else str(content)


def _reason(content: Path | bytes, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file; it was moved or deleted"
    if isinstance(error, PermissionError):
        return "permission denied; make the file readable"
    if isinstance(error, IsADirectoryError) or (isinstance(content, Path) and content.is_dir()):
        return "a folder; decode_frames_folder reads folders of frames"
    head = content[:12] if isinstance(content, bytes) else _head(content)
    if not head:
        return "the file is empty (0 bytes)"
    if isinstance(error, (av.InvalidDataError, av.ArgumentError)):  # the latter: a format that is not ours
        if head[4:8] == b"ftyp":
            return "damaged: it was cut off before its index (moov), which mp4 has at the end; copy it anew"
        return f"not a video, or damaged; readable are {FORMATS}"
    return str(error) if isinstance(error, (OSError, ValueError)) and str(error) else repr(error)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(12)
    except OSError:
        return b"?"
