"""Which frames of a labelled video a clip shows."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sslkit.contracts import Frames, Moment, Refused
from sslkit.data.clip_sampling import ClipSampling, seconds, too_short
from sslkit.errors import ConfigError, UnknownNameError
from tests.data.painted import Contents, video


def whole(frames: int, rate: float = 25.0) -> Moment:
    return Moment(Path("walk.avi"), 0.0, frames / rate, frames / rate, rate)


def part(first: int, count: int, frames: int, rate: float = 25.0) -> Moment:
    return Moment(Path("walk.avi"), first / rate, count / rate, frames / rate, rate)


def slowly(clip: ClipSampling, first: int, count: int, frames: int, draw: float) -> list[list[int]]:
    """The words of the docstring in loops."""
    span = 1 + math.floor((clip.frames - 1) * clip.stride)
    inside = [start for start in range(first, first + count) if start + span <= first + count]
    if inside:
        if clip.drawn:
            starts = [inside[math.floor(draw * len(inside))]]
        elif clip.views == 1:
            starts = [inside[(len(inside) - 1) // 2]]
        else:
            last = len(inside) - 1
            starts = [inside[round(last * view / (clip.views - 1))] for view in range(clip.views)]
    else:
        around = first + (count - span) // 2
        fitting = [start for start in range(frames) if start + span <= frames] or [0]
        nearest = min(fitting, key=lambda start: abs(start - around))
        starts = [nearest] * (1 if clip.drawn else clip.views)
    clips = []
    for start in starts:
        shown = [start + math.floor(place * clip.stride) for place in range(clip.frames)]
        clips.append([min(number, frames - 1) for number in shown])
    return clips


@pytest.mark.parametrize("drawn", [False, True])
@pytest.mark.parametrize("views", [1, 2, 3, 10])
def test_clips_are_those_of_the_words(drawn: bool, views: int) -> None:
    places = [(0, 50, 50), (10, 20, 50), (0, 3, 50), (40, 10, 50), (20, 4, 50), (0, 5, 5), (0, 1, 1)]
    for (first, count, frames), length, stride in product(places, (1, 4, 8), (1, 2, 2.5)):
        clip = ClipSampling(length, stride, views, drawn=drawn, short="repeat")
        for draw in (0.0, 0.37, 0.999):
            found = clip.numbers(part(first, count, frames), draw).tolist()
            assert found == slowly(clip, first, count, frames, draw)


def test_a_drawn_clip_begins_anywhere_equally_often() -> None:
    clip = ClipSampling(4, 3, drawn=True)
    starts = [clip.numbers(whole(20), draw)[0, 0] for draw in np.linspace(0, 1, 1100, endpoint=False)]
    assert np.bincount(starts).tolist() == [100] * 11
    assert clip.numbers(whole(20), 1 - 2**-24).max() == 19


def test_views_reach_from_the_first_to_the_last_frame() -> None:
    numbers = ClipSampling(4, 2, views=3).numbers(whole(27))
    assert numbers.tolist() == [[0, 2, 4, 6], [10, 12, 14, 16], [20, 22, 24, 26]]
    assert ClipSampling(4, 2).numbers(whole(27)).tolist() == [[10, 12, 14, 16]]


def test_files_are_asked_in_the_middle_of_a_frame_and_painters_at_its_beginning() -> None:
    numbers = np.array([0, 3])
    assert seconds(whole(9), numbers).tolist() == [0.5 / 25, 3.5 / 25]
    assert seconds(video(9), numbers).tolist() == [0.0, 0.3]


def test_what_is_too_short_is_named_before_training() -> None:
    still = np.zeros((4, 4, 3), np.uint8)
    source = Contents(video(7), video(6), Frames((still,) * 7), Frames((still,) * 2), still, Refused("no"))
    assert too_short(source, ClipSampling(4, 2)) == [
        "video 1: 6 frames, and 4 at stride 2 span 7",
        "video 3: 2 frames, and 4 at stride 2 span 7",
        "video 4: 1 frames, and 4 at stride 2 span 7",
    ]
    assert too_short(source, ClipSampling(4, 2, short="repeat")) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"frames": 0}, "frames=0: use a whole number >= 1"),
        ({"stride": 0}, "stride=0: use a number above 0"),
        ({"views": 0}, "views=0"),
        ({"crops": 2}, "crops=2: use 1, the whole picture, or 3"),
    ],
)
def test_numbers_that_cannot_work_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ClipSampling(**{"frames": 8, **given})


def test_what_becomes_of_short_videos_is_one_of_two() -> None:
    with pytest.raises(UnknownNameError, match="short 'loop'"):
        ClipSampling(8, short="loop")  # type: ignore[arg-type]
