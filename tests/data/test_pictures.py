"""What a person sees of an item, whatever it is stored as."""

from __future__ import annotations

import numpy as np
import pytest

from sslkit.contracts import Frames, Item, Refused
from sslkit.data.clip_sampling import ClipSampling
from sslkit.data.pictures import picture, pictures
from sslkit.errors import DecodeError
from tests.data.painted import video

FIRST, SECOND = np.full((8, 16, 3), 20, np.uint8), np.full((8, 16, 3), 60, np.uint8)


def test_of_several_images_the_first_is_shown_or_all() -> None:
    item = Item(Frames((FIRST, SECOND)), "pair")
    assert np.array_equal(picture(item, side=16), FIRST)
    assert np.array_equal(pictures(item, None, side=16), np.stack([FIRST, SECOND]))
    assert pictures(item, None, side=8).shape == (2, 4, 8, 3)
    assert pictures(Item(SECOND, "one"), None, side=16).shape == (1, 8, 16, 3)


def test_of_a_video_the_middle_is_shown_or_the_frames_of_its_first_clip() -> None:
    item = Item(video(21, height=8, width=16), "video")
    assert np.unique(picture(item, side=16)).tolist() == [5 * 10]
    shown = pictures(item, ClipSampling(3, 4, views=2), side=16)
    assert [np.unique(frame).tolist() for frame in shown] == [[0], [20], [40]]
    shown = pictures(item, ClipSampling(3, 4), side=16)
    assert [np.unique(frame).tolist() for frame in shown] == [[30], [50], [70]]
    frames = Frames((FIRST, SECOND) * 4)
    shown = pictures(Item(frames, "frames"), ClipSampling(3, 3, views=2), side=16)
    assert [np.unique(frame).tolist() for frame in shown] == [[20], [60], [20]]


def test_what_cannot_be_read_says_why() -> None:
    for show in (lambda item: picture(item, side=8), lambda item: pictures(item, None, side=8)):
        with pytest.raises(DecodeError, match="empty file"):
            show(Item(Refused("empty file"), "x"))
