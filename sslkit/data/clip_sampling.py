"""Which frames of a labelled video are looked at: one clip drawn while training, several views in a test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np

from sslkit.contracts import Content, Frames, LabelledSource, Moment, Refused
from sslkit.errors import ConfigError, UnknownNameError

Short = Literal["refuse", "repeat"]


@dataclass(frozen=True)
class ClipSampling:
    """How clips are taken from a labelled video; frames are numbered from 0.

    frames: T. stride: frames of the video from one to the next. drawn: one clip that begins anywhere;
    otherwise `views` of them, the first at the beginning, the last at the end, a single one in the middle,
    and of each `crops`: 1 is the whole picture, 3 are the beginning, middle and end of its longer side.
    short: what has fewer frames than a clip spans is refused, or its last frame repeated. Raises ConfigError
    for numbers that cannot work.
    """

    frames: int
    stride: float = 1.0
    views: int = 1
    crops: int = 1
    short: Short = "refuse"
    drawn: bool = False

    def __post_init__(self) -> None:
        if self.short not in get_args(Short):
            raise UnknownNameError("short", str(self.short), get_args(Short))
        rules = {
            "frames": (self.frames >= 1, "a whole number >= 1"),
            "stride": (0 < self.stride < math.inf, "a number above 0, such as 2"),
            "views": (self.views >= 1, "a whole number >= 1"),
            "crops": (self.crops in (1, 3), "1, the whole picture, or 3"),
        }
        for name, (holds, mend) in rules.items():
            if not holds:
                raise ConfigError(f"clip: {name}={getattr(self, name)}: use {mend}")

    @property
    def rows(self) -> int:
        """Rows that a sample has in an epoch."""
        return 1 if self.drawn else self.views * self.crops

    @property
    def span(self) -> int:
        """Frames from the first to the last of a clip, both counted."""
        return math.floor((self.frames - 1) * self.stride) + 1

    def numbers(self, content: Content, draw: float = 0.5) -> np.ndarray:
        """The frames of each clip, int64 (M, T): M is `views`, or one that a number in [0, 1) draws.

        A clip lies inside its part of a video, around it where it spans more than that, and goes on with the
        last frame where it spans more than the video.
        """
        first, count, whole = _extent(content)
        room = count - self.span
        if room < 0:
            first = max(0, min(first + room // 2, whole - self.span))
            room = 0
        if self.drawn:
            starts = [first + int(draw * (room + 1))]
        elif self.views == 1:
            starts = [first + room // 2]
        else:
            starts = [first + round(room * view / (self.views - 1)) for view in range(self.views)]
        steps = np.floor(np.arange(self.frames) * self.stride).astype(np.int64)
        numbers: np.ndarray = np.minimum(np.array(starts)[:, None] + steps, whole - 1)
        return numbers

    def lacks(self, content: Content) -> str:
        """What a sample lacks of a clip's frames, in words; "" where it has them or may repeat its last."""
        whole = _extent(content)[2]
        if self.short == "repeat" or whole >= self.span or isinstance(content, Refused):
            return ""
        return f"{whole} frames, and {self.frames} at stride {self.stride:g} span {self.span}"


class ClipLength(Protocol):
    """How long a clip is, and what becomes of a video that is shorter."""

    @property
    def frames(self) -> int: ...

    @property
    def stride(self) -> float: ...

    @property
    def short(self) -> Short: ...


def too_short(source: LabelledSource, clip: ClipLength) -> list[str]:
    """The samples with fewer frames than a clip spans, one line each; none where frames may be repeated."""
    wanted = ClipSampling(clip.frames, clip.stride, short=clip.short)
    items = (source[id] for id in range(len(source)))
    return [f"{item.name}: {lacking}" for item in items if (lacking := wanted.lacks(item.content))]


def seconds(moment: Moment, numbers: np.ndarray) -> np.ndarray:
    """When frames of these numbers are shown, float64: in the middle of their time, where no rounding hurts.

    What is painted has no frames between which to round; it is painted at the beginning of each.
    """
    times: np.ndarray = (numbers + (0.5 if isinstance(moment.path, Path) else 0.0)) / moment.rate
    return times


def _extent(content: Content) -> tuple[int, int, int]:
    """The first frame that belongs to a sample, how many do, and how many there are in all."""
    if isinstance(content, Frames):
        return 0, len(content.images), len(content.images)
    if not isinstance(content, Moment):
        return 0, 1, 1
    whole = max(1, round(content.duration * content.rate))
    first = min(round(content.start * content.rate), whole - 1)
    return first, max(1, min(round(content.length * content.rate), whole - first)), whole
