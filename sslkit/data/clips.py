"""When to look at a video: the times of the frames of each clip, a function of (seed, epoch, id)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from sslkit.contracts import Moment
from sslkit.data.decode.video import Decoder
from sslkit.errors import ConfigError, UnknownNameError
from sslkit.keyed_random import word

Positives = Literal["crop", "temporal", "both"]

_OPERATION = word("clip")
_MASK = 2**64 - 1
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


@dataclass(frozen=True)
class Clips:
    """How clips are taken from a moment of a video.

    frames: T, frames of a clip. stride: frames of the video from one to the next, at its own rate.
    positives: "crop", both views from one clip; "temporal", from two clips of the same video, drawn alike so
    that they differ by time alone; "both", two clips with a draw for each.
    max_gap: seconds between the starts of the two clips at most (temporal crop); the second start is uniform
    over all that lie so near and leave the clip inside the video.
    stride_jitter: the stride is multiplied by a number drawn from [1 / (1 + jitter), 1 + jitter], uniform in
    its logarithm (stride jitter). reversal: probability that a clip is played backwards (reversal). Both are
    drawn for each clip, or once for the two of "temporal".

    decoder: what reads video files. A clip longer than its video starts at 0 and ends on its last frame again
    and again. Raises ConfigError for numbers that cannot work.
    """

    frames: int = 1
    stride: float = 1.0
    positives: Positives = "crop"
    max_gap: float = 1.0
    stride_jitter: float = 0.0
    reversal: float = 0.0
    decoder: Decoder = "pyav"

    def __post_init__(self) -> None:
        if self.positives not in get_args(Positives):
            raise UnknownNameError("positives", str(self.positives), get_args(Positives))
        rules = {
            "frames": (isinstance(self.frames, int) and self.frames >= 1, "a whole number >= 1"),
            "stride": (0 < self.stride < math.inf, "a number above 0, such as 2"),
            "max_gap": (0 <= self.max_gap < math.inf, "seconds >= 0, such as 1.0"),
            "stride_jitter": (0 <= self.stride_jitter < math.inf, "a number >= 0, such as 0.5"),
            "reversal": (0 <= self.reversal <= 1, "a probability, 0 to 1"),
        }
        for name, (holds, mend) in rules.items():
            if not holds:
                raise ConfigError(f"clips: {name}={getattr(self, name)}: use {mend}")

    @property
    def moments(self) -> int:
        """M, the clips that are taken of a sample: one that both views show, or one for each."""
        return 1 if self.positives == "crop" else 2

    def times(self, moment: Moment, seed: int, epoch: int, id: int) -> np.ndarray:
        """Seconds from the first frame of the video, float64 (M, T), drawn for one sample in one epoch.

        The first clip's middle lies in the moment, uniformly, where that leaves the clip inside the video,
        and as near to it as it can elsewhere.
        """
        draws = _uniform(seed, epoch, id, 2 + 2 * self.moments)
        of_each = 0 if self.positives == "temporal" else 1  # where the second clip's own draws are
        steps, backwards = [], []
        for clip in range(self.moments):
            factor, turn = draws[2 + 2 * clip * of_each : 4 + 2 * clip * of_each]
            steps.append(self._step(moment) * (1 + self.stride_jitter) ** (2 * factor - 1))
            backwards.append(turn < self.reversal)
        # One room for both, so that the second clip is never pushed further away by being longer.
        room = max(0.0, moment.duration - (self.frames - 1) * max(steps))
        start = _between(*self._starts(moment, steps[0], room), draws[0])
        starts = [start, _between(max(0.0, start - self.max_gap), min(room, start + self.max_gap), draws[1])]
        clips = [
            self._clip(moment, begin, step)[:: -1 if back else 1]
            for begin, step, back in zip(starts[: self.moments], steps, backwards, strict=True)
        ]
        return np.stack(clips)

    def still(self, moment: Moment) -> np.ndarray:
        """Seconds, float64 (1, T), of the clip in the middle of the moment, for evaluation; none is drawn."""
        step = self._step(moment)
        span = (self.frames - 1) * step
        middle = moment.start + (moment.length - span) / 2
        return self._clip(moment, max(0.0, min(middle, moment.duration - span)), step)[None]

    def _step(self, moment: Moment) -> float:
        """Seconds from a frame of a clip to the next."""
        return self.stride / moment.rate

    def _starts(self, moment: Moment, step: float, room: float) -> tuple[float, float]:
        """The earliest and the latest start of a clip whose middle is in the moment; both in 0..room."""
        earliest = moment.start - (self.frames - 1) * step / 2
        return min(max(0.0, earliest), room), min(max(0.0, earliest + moment.length), room)

    def _clip(self, moment: Moment, start: float, step: float) -> np.ndarray:
        times: np.ndarray = np.minimum(start + step * np.arange(self.frames), moment.duration)
        return times


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def _uniform(seed: int, epoch: int, id: int, count: int) -> list[float]:
    """What `Keys(seed, epoch, ids).stream(0, "clip").uniform(count)` holds for one id, in plain integers.

    It is asked for once a sample; tensors of one number would take longer than all the rest of it.
    """
    state = 0
    for part in (seed, epoch, id, 0, _OPERATION):
        state = _mix((state * _GOLDEN + part + _GOLDEN) & _MASK)
    return [(_mix((state + turn * _GOLDEN) & _MASK) >> 40) * 2.0**-24 for turn in range(1, count + 1)]


def _mix(state: int) -> int:
    state = ((state ^ (state >> 30)) * _FIRST) & _MASK
    state = ((state ^ (state >> 27)) * _SECOND) & _MASK
    return state ^ (state >> 31)
