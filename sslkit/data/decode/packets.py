"""Which packets of a video stream must be decoded for the frames shown at some times, and no others.

Packets are read before any of them is decoded. A group of pictures is a keyframe and what follows up to the
next one; pts is when a frame is shown, dts when it is decoded, both in ticks of the stream's time base.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

Packets = list["Packet[VideoStream]"]

_JUMP = 5.0  # seconds to the next wanted time above which seeking is cheaper than reading on
_BACK = (0.0, 2.0, 10.0, 50.0, math.inf)  # seconds before a time at which its keyframe is looked for
# Seconds by which a frame may be shown early. Matroska rounds to milliseconds: of 30 frames a second number 2
# begins at 0.067, and must be the one at 2 / 30.
ROUNDING = 0.0005


@dataclass(frozen=True)
class Plan:
    """first: pts of the first frame. runs: packets to decode in this order, each run from a keyframe on.

    shown: for each wanted second the pts of its frame. end: pts behind the last frame that was read;
    overrun: the latest wanted pts, where it lies behind all that can be read, else None.
    """

    first: int
    runs: list[Packets]
    shown: list[int]
    end: int
    overrun: int | None


def plan(container: InputContainer, stream: VideoStream, seconds: list[float]) -> Plan:
    """What to decode for sorted seconds from the first frame: each shows the last frame with pts <= it."""
    base = seconds_per_tick(stream)
    first = first_pts(container, stream)
    ticks = [max(first, math.floor(first + (second + ROUNDING) / base)) for second in seconds]
    stretches = _collected(container, stream, ticks, first)
    frames = [_frame_times(stretch) for stretch in stretches]
    shown: list[int] = []
    for tick in ticks:
        known = next((times for times in reversed(frames) if times[0] <= tick), frames[0])
        shown.append(known[max(0, bisect_right(known, tick) - 1)])
    wanted = set(shown)
    late = reorder_depth(container, stream)
    runs = [run for stretch in stretches for run in _runs(stretch, wanted, late)]
    end = max(_pts(packet) + (packet.duration or 0) for packet in stretches[-1])
    return Plan(first, runs, shown, end, ticks[-1] if ticks[-1] >= end else None)


def seconds_per_tick(stream: VideoStream) -> float:
    """The stream's time base."""
    return float(stream.time_base or 1)


def reorder_depth(container: InputContainer, stream: VideoStream) -> int:
    """How many packets late a frame is decoded where its pts does not tell: H.264 in AVI; else 0.

    There pts follow the order of decoding, though frames are shown in another.
    """
    codec = stream.codec_context
    blind = container.format.name == "avi" and codec.codec.canonical_name in ("h264", "hevc")
    return codec.reorder_depth if blind else 0


def first_pts(container: InputContainer, stream: VideoStream) -> int:
    """The pts of the first frame that is shown; the header's start time is not it in every container.

    Reads on from where the container stands, which must be its beginning.
    """
    key: int | None = None
    least: int | None = None
    for packet in islice(read(container, stream), 1000):
        key = packet.pts if key is None else key
        if least is not None and packet.dts is not None and packet.dts >= least:
            break
        if _pts(packet) >= (key or 0) and not packet.is_discard:  # an edit list may hide the first ones
            least = _pts(packet) if least is None else min(least, _pts(packet))
    if key is None:
        raise ValueError("no packet of the video has a time; copied into an .mp4 by ffmpeg it would")
    return key if least is None else least


def read(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """The stream's packets from where the container stands; all have a pts."""
    for packet in container.demux(stream):
        if packet.pts is None:
            packet.pts = packet.dts
        if packet.size and packet.pts is not None:
            yield packet


def seek(container: InputContainer, stream: VideoStream, tick: int | None) -> None:
    """Go near the last keyframe at or before a tick, or to the beginning."""
    if tick is None:
        container.seek(0)
        return
    try:
        container.seek(tick, stream=stream)
    except av.FFmpegError:  # some readers refuse what lies before their first keyframe
        container.seek(0)


def _collected(container: InputContainer, stream: VideoStream, ticks: list[int], first: int) -> list[Packets]:
    """Unbroken stretches of packets, each from a keyframe on, that hold what is shown at the sorted ticks."""
    jump = _JUMP / seconds_per_tick(stream)
    stretches: list[Packets] = []
    seen: set[int] = set()
    reached = -math.inf  # the latest pts read
    decoding = -math.inf  # no packet that is still to come has a pts below this
    packets: Iterator[Packet[VideoStream]] = iter(())
    joined = False  # whether the next new packet follows the last one of the last stretch
    for tick in ticks:
        if not stretches or tick - reached > jump:
            packets = _from_keyframe(container, stream, tick, first)
            joined, decoding = False, -math.inf
        while decoding <= tick and (packet := next(packets, None)) is not None:
            decoding = decoding if packet.dts is None else packet.dts
            if _pts(packet) in seen:  # the seek went back to what was read before
                joined = True
                continue
            if not joined and _pts(packet) <= reached:
                continue
            if not joined:
                stretches.append([])
                joined = True
            stretches[-1].append(packet)
            seen.add(_pts(packet))
            reached = max(reached, _pts(packet))
    if not stretches:
        raise ValueError("no packet of the video can be read; it is damaged or cut off")
    return stretches


def _from_keyframe(
    container: InputContainer, stream: VideoStream, tick: int, first: int
) -> Iterator[Packet[VideoStream]]:
    """Packets from a keyframe at or before a tick; a seek by dts, or into a missing part, lands elsewhere."""
    for back in _BACK:
        target = tick - back / seconds_per_tick(stream)
        seek(container, stream, int(target) if target > first else None)
        packets = read(container, stream)
        head = next((packet for packet in packets if packet.is_keyframe), None)
        if head is not None and (_pts(head) <= tick or target <= first):
            return chain([head], packets)
    raise ValueError("no keyframe of the video can be read; it is damaged or cut off")


def _frame_times(stretch: Packets) -> list[int]:
    """Sorted pts of the frames a stretch shows; what leads its keyframe refers to frames before it."""
    head = _pts(stretch[0])
    times = sorted(_pts(p) for p in stretch if _pts(p) >= head and not p.is_discard and not p.is_corrupt)
    return times or [head]


def _runs(stretch: Packets, wanted: set[int], late: int) -> list[Packets]:
    """The groups of pictures with wanted frames, cut `late` behind the last; whole neighbours are one run."""
    groups: list[Packets] = []
    for packet in stretch:
        if packet.is_keyframe or not groups:
            groups.append([])
        groups[-1].append(packet)
    runs: list[Packets] = []
    needed = 0  # packets of the group behind that are decoded
    leading = False  # whether these refer to the group at hand
    for group in reversed(groups):
        last = max((place for place, packet in enumerate(group) if _pts(packet) in wanted), default=-1)
        kept = group if leading else group[: last + 1 + late if last >= 0 else 0]
        if kept and needed and len(kept) == len(group):
            runs[0] = kept + runs[0]  # a codec that runs on loses nothing, one that starts anew little
        elif kept:
            runs.insert(0, kept)
        needed = len(kept)
        leading = any(_pts(packet) < _pts(group[0]) for packet in kept)
    return runs


def _pts(packet: Packet[VideoStream]) -> int:
    assert packet.pts is not None
    return packet.pts
